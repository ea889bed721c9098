"""What the server is and can do: versions, capabilities, well-known files. spec: client-server-api/#server-discovery"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from homeserver.config import Config
from homeserver.core.errors import NotFound, Unavailable
from homeserver.core.identifiers import UserId
from homeserver.core.operators import Permission
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.rooms.commands.delaying import PER_USER_MAX
from homeserver.web.endpoint import Access, Caller, Json, endpoint

SPEC_VERSIONS = ("r0.5.0", "r0.6.0", "r0.6.1", *(f"v1.{minor}" for minor in range(1, 20)))
# What clients probe. A path: it is so where that is served.
UNSTABLE_FEATURES: Mapping[str, bool | str] = {
    "fi.mau.msc2246.stable": "/_matrix/media/v1/create",
    "fi.mau.msc2815": True,
    "im.nheko.summary": "/_matrix/client/v1/room_summary/{}",
    "io.element.msc4388": "/_matrix/client/unstable/io.element.msc4388/rendezvous",
    "m.id_access_token": True,
    "m.lazy_load_members": True,
    "m.require_identity_server": False,
    "m.separate_add_and_bind": True,
    "org.matrix.e2e_cross_signing": True,
    "org.matrix.msc2285.stable": True,
    "org.matrix.msc2432": True,
    "org.matrix.msc2946.stable": "/_matrix/client/v1/rooms/{}/hierarchy",
    "org.matrix.msc3030.stable": "/_matrix/client/v1/rooms/{}/timestamp_to_event",
    "org.matrix.msc3391": "/_matrix/client/unstable/org.matrix.msc3391/user/{}/account_data/{}",
    "org.matrix.msc3440.stable": "/_matrix/client/v1/rooms/{}/threads",
    "org.matrix.msc3771": True,
    "org.matrix.msc3773": True,
    "org.matrix.msc3814": True,
    "org.matrix.msc3827.stable": True,
    "org.matrix.msc3856.stable": "/_matrix/client/v1/rooms/{}/threads",
    "org.matrix.msc3874": True,
    "org.matrix.msc3881": True,
    "org.matrix.msc3882": "/_matrix/client/v1/login/get_token",
    "org.matrix.msc3890": True,
    "org.matrix.msc3916.stable": True,
    "org.matrix.msc4108": "/_matrix/client/unstable/org.matrix.msc4108/rendezvous",
    "org.matrix.msc4140": True,
    "org.matrix.msc4143": "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports",
    "org.matrix.msc4151": "/_matrix/client/v3/rooms/{}/report",
    "org.matrix.msc4155": True,
    "org.matrix.msc4222": True,
    "org.matrix.msc4260.stable": "/_matrix/client/v3/users/{}/report",
    "org.matrix.msc4293": True,
    "org.matrix.msc4306": "/_matrix/client/unstable/io.element.msc4306/rooms/{}/thread/{}/subscription",
    "org.matrix.msc4354": True,
    "org.matrix.msc4380.stable": True,
    "org.matrix.simplified_msc3575": True,
    "uk.half-shot.msc2666.query_mutual_rooms": True,
    "uk.half-shot.msc2666.query_mutual_rooms.stable": True,
    "uk.tcpip.msc4133": True,
    "uk.tcpip.msc4133.stable": True,
    "uk.timedout.msc4323": True,
}
# What an operator switches for one user, where clients look for it under another name.
_SPELT = {"msc3575": "simplified_msc3575"}
_FEATURES = tuple(UNSTABLE_FEATURES.items())
# Rooms that clients make by preset, and the settings under which those start encrypted.
_FORCED = (("public", ("all",)), ("private", ("all", "invite")), ("trusted_private", ("all", "invite")))
_PARAMETER = re.compile(r"\{[a-z_]+\}")


class ServerInfo:
    """GET /versions, /capabilities and /.well-known/matrix/…"""

    # Both are set by the assembly.
    # Where people sign in, if not here: its address and its page for accounts.
    sign_in: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
    # What an operator switched on or off for one user.
    features_of: Callable[[UserId], Awaitable[Mapping[str, bool]]] | None = None

    def __init__(self, config: Config, served: Collection[str], transports: Sequence[Mapping[str, Any]] = ()) -> None:
        """`served` fills with the paths of all endpoints before the first request."""
        self._config = config
        self._served = served
        self._transports = transports
        self._features: dict[str, bool] = {}

    @endpoint(
        "GET",
        "/_matrix/client/versions",
        access=Access.OPTIONAL,
        spec="client-server-api/#get_matrixclientversions",
    )
    async def versions(self, caller: Caller | None) -> Json:
        if not self._features:
            paths = {_PARAMETER.sub("{}", path) for path in self._served}
            self._features = {name: has if isinstance(has, bool) else has in paths for name, has in _FEATURES}
            encrypts = self._config.rooms.encrypt_by_default
            self._features |= {f"io.element.e2ee_forced.{kind}": encrypts in kinds for kind, kinds in _FORCED}
        features = self._features
        if caller is not None and self.features_of is not None:
            own = await self.features_of(caller.user_id)
            features = {**features, **{f"org.matrix.{_SPELT.get(name, name)}": on for name, on in own.items()}}
        return {"versions": list(SPEC_VERSIONS), "unstable_features": features}

    @endpoint(
        "GET",
        "/_matrix/client/v3/capabilities",
        "/_matrix/client/r0/capabilities",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3capabilities",
    )
    async def capabilities(self, caller: Caller) -> Json:
        versions = {one.id: "stable" if one.stable else "unstable" for one in ROOM_VERSIONS.values()}
        profile: Json = {"enabled": True, **({"allowed": ["displayname"]} if caller.is_guest else {})}
        found: Json = {
            "m.change_password": {"enabled": self._config.password.login and not caller.is_guest},
            "m.room_versions": {"default": self._config.rooms.default_version, "available": versions},
            "m.set_displayname": {"enabled": True},
            "m.set_avatar_url": {"enabled": not caller.is_guest},
            "m.profile_fields": profile,
            "uk.tcpip.msc4133.profile_fields": profile,
            "m.3pid_changes": {"enabled": self._changes_contacts and not caller.is_guest},
            "m.get_login_token": {"enabled": self.sign_in is None},
            "m.forget_forced_upon_leave": {"enabled": False},
        }
        if self._config.rooms.event_delay_max_s:
            delays = {"max_delay_ms": self._config.rooms.event_delay_max_s * 1000, "max_scheduled": PER_USER_MAX}
            found["org.matrix.msc4140.delayed_events"] = delays
        if caller.holds(Permission.MODERATE_USERS) and not caller.bounds.has_rooms:
            found["m.account_moderation"] = {"suspend": True, "lock": True}
        return {"capabilities": found}

    @endpoint(
        "GET",
        "/.well-known/matrix/client",
        access=Access.NONE,
        spec="client-server-api/#getwell-knownmatrixclient",
    )
    async def client(self) -> Json:
        base_url = self._config.well_known.client_base_url or self._config.base_url
        calls = {"org.matrix.msc4143.rtc_foci": list(self._transports)} if self._transports else {}
        if self.sign_in is not None:
            calls = {**calls, **await self._elsewhere(self.sign_in)}
        return {**calls, **self._config.well_known.client_extra, "m.homeserver": {"base_url": base_url.rstrip("/")}}

    @property
    def _changes_contacts(self) -> bool:
        return self._config.email.smtp_host is not None and self.sign_in is None

    async def _elsewhere(self, sign_in: Callable[[], Awaitable[Mapping[str, Any]]]) -> Json:
        """For clients of before auth_metadata; nothing while the service can't be asked."""
        try:
            said = await sign_in()
        except Unavailable:
            return {}
        where = {"issuer": said["issuer"], "account": said["account_management_uri"]}
        return {"org.matrix.msc2965.authentication": where}

    @endpoint(
        "GET",
        "/.well-known/matrix/server",
        access=Access.NONE,
        spec="server-server-api/#getwell-knownmatrixserver",
    )
    async def server(self) -> Json:
        if self._config.well_known.server is None:
            raise NotFound("this server is reached by its own name")
        return {"m.server": self._config.well_known.server}

    @endpoint(
        "GET",
        "/.well-known/matrix/support",
        access=Access.NONE,
        spec="client-server-api/#getwell-knownmatrixsupport",
    )
    async def support(self) -> Json:
        known = self._config.well_known
        if not known.support_contacts and known.support_page is None:
            raise NotFound("this server names nobody to turn to")
        answer: dict[str, Any] = {}
        if known.support_contacts:
            answer["contacts"] = [
                {
                    key: value
                    for key, value in (
                        ("role", contact.role),
                        ("email_address", contact.email_address),
                        ("matrix_id", contact.matrix_id),
                    )
                    if value is not None
                }
                for contact in known.support_contacts
            ]
        if known.support_page is not None:
            answer["support_page"] = known.support_page
        return answer

    @endpoint(
        "GET",
        "/.well-known/matrix/policy_server",
        access=Access.NONE,
        spec="client-server-api/#getwell-knownmatrixpolicy_server",
    )
    async def policy_server(self) -> Json:
        key = self._config.well_known.policy_server_key
        if key is None:
            raise NotFound("there is no policy server of this name")
        return {"public_keys": {"ed25519": key}}
