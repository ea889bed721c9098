"""Our users' devices and keys. spec: server-server-api/#device-management, #end-to-end-encryption"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from federation.outbound.device_updates import stream_id
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import DeviceId, ServerName, UserId, domain_of
from homeserver.encryption.keys import Keys, parse_users
from homeserver.web.endpoint import Access, Json, endpoint

DEVICES_PER_QUERY_MAX = 10_000
# Nobody's: with it only what the users themselves have signed is shown.
_STRANGER = UserId("")


class KeysQuery(msgspec.Struct, frozen=True):
    device_keys: dict[str, list[str]]


class KeysClaim(msgspec.Struct, frozen=True):
    one_time_keys: dict[str, dict[str, str]]


class UserDeviceEndpoints:
    """Only users of ours are answered for. Names of devices stay here unless the operator shows them."""

    def __init__(self, keys: Keys, server_name: ServerName, *, shows_names: bool = False) -> None:
        self._keys = keys
        self._server_name = server_name
        self._shows_names = shows_names

    @endpoint(
        "GET",
        "/_matrix/federation/v1/user/devices/{user_id}",
        access=Access.SERVER,
        spec="server-server-api/#get_matrixfederationv1userdevicesuserid",
    )
    async def devices(self, user_id: UserId) -> Json:
        self._check_ours([user_id])
        found = await self._shown({user_id: []})
        devices = found["device_keys"].get(user_id, {})
        if not devices and not await self._keys.is_known(user_id):
            raise NotFound("there is no such user")
        answer: Json = {
            "user_id": user_id,
            "stream_id": stream_id(await self._keys.list_version(user_id)),
            "devices": [{"device_id": device, "keys": keys} for device, keys in devices.items()],
        }
        for name, keys in (("master_key", "master_keys"), ("self_signing_key", "self_signing_keys")):
            if user_id in found[keys]:
                answer[name] = found[keys][user_id]
        return answer

    @endpoint(
        "POST",
        "/_matrix/federation/v1/user/keys/query",
        access=Access.SERVER,
        spec="server-server-api/#post_matrixfederationv1userkeysquery",
    )
    async def query(self, body: KeysQuery) -> Json:
        if sum(len(devices) for devices in body.device_keys.values()) > DEVICES_PER_QUERY_MAX:
            raise InvalidParam(f"at most {DEVICES_PER_QUERY_MAX} devices can be asked for at once")
        wanted = {parse_users(user): [DeviceId(d) for d in devices] for user, devices in body.device_keys.items()}
        self._check_ours(wanted)
        return await self._shown(wanted)

    @endpoint(
        "POST",
        "/_matrix/federation/v1/user/keys/claim",
        access=Access.SERVER,
        spec="server-server-api/#post_matrixfederationv1userkeysclaim",
    )
    async def claim(self, body: KeysClaim) -> Json:
        wanted = [
            (parse_users(user), DeviceId(device), algorithm)
            for user, devices in body.one_time_keys.items()
            for device, algorithm in devices.items()
        ]
        if any("\x00" in device or "\x00" in algorithm for _, device, algorithm in wanted):
            raise InvalidParam("device ids and algorithms must not hold NUL")
        self._check_ours(user for user, _, _ in wanted)
        return {"one_time_keys": (await self._keys.claim(wanted))["one_time_keys"]}

    def _check_ours(self, users: Iterable[UserId]) -> None:
        if any(domain_of(user) != self._server_name for user in users):
            raise InvalidParam("only users of this server can be asked for")

    async def _shown(self, wanted: Mapping[UserId, Collection[DeviceId]]) -> Json:
        found = await self._keys.query(_STRANGER, wanted)
        for devices in found["device_keys"].values():
            for keys in devices.values():
                unsigned = keys.pop("unsigned", {})
                if self._shows_names and isinstance(name := unsigned.get("device_display_name"), str):
                    keys["unsigned"] = {"device_display_name": name}
        return {name: found[name] for name in ("device_keys", "master_keys", "self_signing_keys")}
