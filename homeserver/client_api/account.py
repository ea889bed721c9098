"""The account itself: password, end, and the addresses bound to it. spec: client-server-api/#account-management"""

from __future__ import annotations

from typing import Any

import msgspec

from homeserver.accounts.deactivation import Deactivation
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.uia import PASSWORD, Uia
from homeserver.accounts.users import Users
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class PasswordBody(msgspec.Struct, frozen=True):
    new_password: str
    logout_devices: bool = True
    auth: dict[str, Any] | None = None


class DeactivateBody(msgspec.Struct, frozen=True):
    auth: dict[str, Any] | None = None
    erase: bool = False
    id_server: str | None = None


class AccountEndpoints:
    """POST /account/password and /account/deactivate, GET /account/3pid."""

    def __init__(
        self, users: Users, passwords: Passwords, sessions: Sessions, uia: Uia, deactivation: Deactivation
    ) -> None:
        self._users = users
        self._passwords = passwords
        self._sessions = sessions
        self._uia = uia
        self._deactivation = deactivation

    @endpoint(
        "POST",
        "/_matrix/client/v3/account/password",
        "/_matrix/client/r0/account/password",
        access=Access.USER,
        spec="client-server-api/#post_matrixclientv3accountpassword",
        limit="password_change",
    )
    async def password(self, caller: Caller, body: PasswordBody) -> Json:
        self._passwords.check_new(body.new_password)
        await self._uia.require("account/password", body.auth, [(PASSWORD,)], user_id=caller.user_id)
        await self._users.set_password(caller.user_id, body.new_password)
        if body.logout_devices:
            await self._sessions.end_all(caller.user_id, but=caller.device_id)
        return {}

    @endpoint(
        "POST",
        "/_matrix/client/v3/account/deactivate",
        "/_matrix/client/r0/account/deactivate",
        access=Access.USER,
        spec="client-server-api/#post_matrixclientv3accountdeactivate",
        timeout_s=None,
    )
    async def deactivate(self, caller: Caller, body: DeactivateBody) -> Json:
        await self._uia.require("account/deactivate", body.auth, [(PASSWORD,)], user_id=caller.user_id)
        await self._deactivation.deactivate(caller.user_id, erase=body.erase)
        # No address is ever bound to an identity server here, so there is nothing to unbind.
        return {"id_server_unbind_result": "success"}
