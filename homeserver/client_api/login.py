"""Log-in, log-out, refreshing, and who one is. spec: client-server-api/#login"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from homeserver.accounts.bridged import LOGIN_TYPE as APPSERVICE_LOGIN
from homeserver.accounts.bridged import BridgedAccounts
from homeserver.accounts.jwt_login import LOGIN_TYPE as JWT_LOGIN
from homeserver.accounts.jwt_login import JwtLogin
from homeserver.accounts.login import Login
from homeserver.accounts.registration import Wish
from homeserver.accounts.sessions import Sessions
from homeserver.core.errors import MatrixError, MissingParam
from homeserver.web.endpoint import Access, Caller, Json, Request, endpoint
from homeserver.web.rate_limits import RateLimiter


class LoginBody(msgspec.Struct, frozen=True):
    type: str
    identifier: dict[str, Any] | None = None
    user: str | None = None
    medium: str | None = None
    address: str | None = None
    password: str | None = None
    token: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    refresh_token: bool = False


class RefreshBody(msgspec.Struct, frozen=True):
    refresh_token: str


@dataclass(frozen=True, slots=True)
class OtherWays:
    """Log-in by what other services say. `providers` are those at which people sign in with a browser."""

    jwt: JwtLogin | None
    providers: Sequence[Mapping[str, str]]
    limiter: RateLimiter
    is_password_login: bool

    @property
    def flows(self) -> list[Json]:
        sso: Json = {"type": "m.login.sso"}
        if self.providers:
            sso["identity_providers"] = list(self.providers)
        if not self.providers or not self.is_password_login:
            # Our pages take every way in. Not beside a list of services: apps would show those alone, and no password.
            # spec: client-server-api/#oauth-20-aware-clients; the second name is MSC3824's, from before it was stable.
            sso |= {"oauth_aware_preferred": True, "org.matrix.msc3824.delegated_oidc_compatibility": True}
        return [sso, *([{"type": JWT_LOGIN}] if self.jwt is not None else [])]


class LoginEndpoints:
    """GET and POST /login, /logout, /logout/all, /refresh, /account/whoami."""

    def __init__(self, login: Login, bridged: BridgedAccounts, sessions: Sessions, other: OtherWays) -> None:
        self._login = login
        self._bridged = bridged
        self._sessions = sessions
        self._other = other

    @endpoint(
        "GET",
        "/_matrix/client/v3/login",
        "/_matrix/client/r0/login",
        access=Access.NONE,
        spec="client-server-api/#get_matrixclientv3login",
    )
    async def flows(self) -> Json:
        password = [{"type": "m.login.password"}] if self._other.is_password_login else []
        token = {"type": "m.login.token", "get_login_token": True}
        return {"flows": [*password, token, *self._other.flows, {"type": APPSERVICE_LOGIN}]}

    @endpoint(
        "POST",
        "/_matrix/client/v3/login",
        "/_matrix/client/r0/login",
        access=Access.NONE,
        spec="client-server-api/#post_matrixclientv3login",
        needs_disk=False,
    )
    async def login(self, request: Request, body: LoginBody) -> Json:
        named = body.identifier or _named_as_before(body)
        if body.type == APPSERVICE_LOGIN:
            wish = Wish(
                device_id=body.device_id,
                display_name=body.initial_device_display_name,
                refreshable=body.refresh_token,
            )
            return await self._bridged.login(request.access_token(), named, wish)
        if body.type == "m.login.token":
            if body.token is None:
                raise MissingParam("the field token is missing")
            return await self._login.by_token(
                body.token,
                address=request.network,
                device_id=body.device_id,
                display_name=body.initial_device_display_name,
                refreshable=body.refresh_token,
            )
        if body.type == JWT_LOGIN and self._other.jwt is not None:
            if body.token is None:
                raise MissingParam("the field token is missing")
            self._other.limiter.check("login_address", request.network)
            return await self._login.open(
                await self._other.jwt.prove(body.token),
                device_id=body.device_id,
                display_name=body.initial_device_display_name,
                refreshable=body.refresh_token,
            )
        if body.type != "m.login.password" or not self._other.is_password_login:
            raise MatrixError("unknown type of log-in: ask GET /login for those there are", errcode="M_UNKNOWN")
        if body.password is None:
            raise MissingParam("the field password is missing")
        if named is None:
            raise MissingParam("the field identifier is missing")
        return await self._login.by_password(
            named,
            body.password,
            address=request.network,
            device_id=body.device_id,
            display_name=body.initial_device_display_name,
            refreshable=body.refresh_token,
        )

    @endpoint(
        "POST",
        "/_matrix/client/v3/refresh",
        "/_matrix/client/v1/refresh",
        access=Access.NONE,
        spec="client-server-api/#post_matrixclientv3refresh",
        needs_disk=False,
    )
    async def refresh(self, body: RefreshBody) -> Json:
        return await self._sessions.refresh(body.refresh_token)

    @endpoint(
        "POST",
        "/_matrix/client/v3/logout",
        "/_matrix/client/r0/logout",
        access=Access.GUEST,
        while_locked=True,
        spec="client-server-api/#post_matrixclientv3logout",
        needs_disk=False,
    )
    async def logout(self, caller: Caller) -> Json:
        await self._sessions.end(caller)
        return {}

    @endpoint(
        "POST",
        "/_matrix/client/v3/logout/all",
        "/_matrix/client/r0/logout/all",
        access=Access.GUEST,
        while_locked=True,
        spec="client-server-api/#post_matrixclientv3logoutall",
        needs_disk=False,
    )
    async def logout_all(self, caller: Caller) -> Json:
        await self._sessions.end_all(caller.user_id)
        return {}

    @endpoint(
        "GET",
        "/_matrix/client/v3/account/whoami",
        "/_matrix/client/r0/account/whoami",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3accountwhoami",
    )
    async def whoami(self, caller: Caller) -> Json:
        answer: Json = {"user_id": caller.user_id, "is_guest": caller.is_guest}
        if caller.device_id is not None:
            answer["device_id"] = caller.device_id
        return answer


def _named_as_before(body: LoginBody) -> dict[str, Any] | None:
    """Whom the fields name that older clients send in place of `identifier`."""
    if body.user is not None:
        return {"type": "m.id.user", "user": body.user}
    if body.medium is not None or body.address is not None:
        return {"type": "m.id.thirdparty", "medium": body.medium, "address": body.address}
    return None
