"""Registration. spec: client-server-api/#legacy-account-registration"""

from __future__ import annotations

from typing import Any

import msgspec

from homeserver.accounts.bridged import LOGIN_TYPE as APPSERVICE_LOGIN
from homeserver.accounts.bridged import BridgedAccounts
from homeserver.accounts.registration import Registration, SharedSecretRegistration, Wish
from homeserver.accounts.users import Users
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError
from homeserver.web.endpoint import Access, Json, Request, endpoint
from homeserver.web.rate_limits import RateLimiter


class RegisterQuery(msgspec.Struct, frozen=True):
    kind: str = "user"


class RegisterBody(msgspec.Struct, frozen=True):
    type: str | None = None
    username: str | None = None
    password: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    inhibit_login: bool = False
    refresh_token: bool = False
    guest_access_token: str | None = None
    auth: dict[str, Any] | None = None


class AvailableQuery(msgspec.Struct, frozen=True):
    username: str


class ValidityQuery(msgspec.Struct, frozen=True):
    token: str


class SharedSecretBody(msgspec.Struct, frozen=True):
    nonce: str
    username: str
    password: str
    mac: str
    admin: bool = False
    user_type: str | None = None
    displayname: str | None = None


class RegistrationEndpoints:
    """POST /register and what helps with it; `/_synapse/admin/v1/register` as scripts call it."""

    def __init__(
        self,
        registration: Registration,
        by_secret: SharedSecretRegistration,
        bridged: BridgedAccounts,
        users: Users,
        limiter: RateLimiter,
    ) -> None:
        self._registration = registration
        self._by_secret = by_secret
        self._bridged = bridged
        self._users = users
        self._limiter = limiter

    @endpoint(
        "POST",
        "/_matrix/client/v3/register",
        "/_matrix/client/r0/register",
        access=Access.NONE,
        spec="client-server-api/#post_matrixclientv3register",
    )
    async def register(self, request: Request, query: RegisterQuery, body: RegisterBody) -> Json:
        if query.kind not in ("user", "guest"):
            raise InvalidParam("kind must be user or guest", errcode="M_UNRECOGNIZED")
        wish = Wish(
            username=body.username,
            password=body.password,
            device_id=body.device_id,
            display_name=body.initial_device_display_name,
            inhibit_login=body.inhibit_login,
            refreshable=body.refresh_token,
            guest_token=body.guest_access_token,
            network=request.network,
        )
        if body.type == APPSERVICE_LOGIN and query.kind == "user":
            return await self._bridged.register(request.access_token(), wish)
        if body.auth is None or query.kind == "guest":
            self._limiter.check("registration", request.network)
        if query.kind == "guest":
            return await self._registration.register_guest(wish)
        return await self._registration.register(wish, body.auth)

    @endpoint(
        "GET",
        "/_matrix/client/v3/register/available",
        "/_matrix/client/r0/register/available",
        access=Access.NONE,
        spec="client-server-api/#get_matrixclientv3registeravailable",
    )
    async def available(self, request: Request, query: AvailableQuery) -> Json:
        self._limiter.check("username_available", request.network)
        await self._registration.check_available(query.username)
        return {"available": True}

    @endpoint(
        "GET",
        "/_matrix/client/v1/register/m.login.registration_token/validity",
        access=Access.NONE,
        spec="client-server-api/#get_matrixclientv1registermloginregistration_tokenvalidity",
    )
    async def token_validity(self, request: Request, query: ValidityQuery) -> Json:
        self._limiter.check("registration_token_check", request.network)
        self._registration.check_open()
        return {"valid": await self._users.is_registration_token(query.token)}

    @endpoint("GET", "/_matrix/client/v3/password_policy", access=Access.NONE, spec="")
    async def password_policy(self) -> Json:
        """What a password must be, for clients that say it before one is chosen (MSC2000)."""
        return self._registration.password_policy()

    @endpoint("GET", "/_synapse/admin/v1/register", access=Access.NONE, acts=True, spec="")
    async def nonce(self) -> Json:
        return {"nonce": self._by_secret.nonce()}

    @endpoint("POST", "/_synapse/admin/v1/register", access=Access.NONE, spec="")
    async def register_by_secret(self, body: SharedSecretBody) -> Json:
        return await self._by_secret.register(
            nonce=body.nonce,
            username=body.username,
            password=body.password,
            mac=body.mac,
            is_admin=body.admin,
            user_type=body.user_type,
            display_name=body.displayname,
        )


class AppserviceRegistration:
    """What is left of POST /register where a service beside this server makes the accounts."""

    def __init__(self, bridged: BridgedAccounts) -> None:
        self._bridged = bridged

    @endpoint(
        "POST",
        "/_matrix/client/v3/register",
        "/_matrix/client/r0/register",
        access=Access.NONE,
        spec="client-server-api/#post_matrixclientv3register",
    )
    async def register(self, request: Request, query: RegisterQuery, body: RegisterBody) -> Json:
        """For application services alone, and without a session: the service opens those."""
        if body.type != APPSERVICE_LOGIN:
            raise Forbidden(
                "Registration has been disabled. Only m.login.application_service registrations are allowed."
            )
        if not body.inhibit_login:
            raise MatrixError(
                "This server uses OAuth2, so the inhibit_login parameter must be set to true for appservice "
                "registrations.",
                errcode="M_APPSERVICE_LOGIN_UNSUPPORTED",
            )
        if query.kind == "guest":
            raise MatrixError("Guest access is disabled", status=403)
        if query.kind != "user":
            raise InvalidParam("kind must be user or guest", errcode="M_UNRECOGNIZED")
        wish = Wish(username=body.username, inhibit_login=True, network=request.network)
        answer = await self._bridged.register(request.access_token(), wish)
        return {"user_id": answer["user_id"]}
