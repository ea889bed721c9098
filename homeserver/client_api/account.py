"""The account itself: password and end. spec: client-server-api/#account-management"""

from __future__ import annotations

from typing import Any

import msgspec

from homeserver.accounts.deactivation import Deactivation
from homeserver.accounts.password_change import PasswordChange
from homeserver.accounts.uia import Uia
from homeserver.core.errors import Forbidden
from homeserver.ports import AbuseCheck
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
    """POST /account/password and /account/deactivate."""

    def __init__(self, passwords: PasswordChange, uia: Uia, deactivation: Deactivation, abuse: AbuseCheck) -> None:
        self._abuse = abuse
        self._passwords = passwords
        self._uia = uia
        self._deactivation = deactivation

    @endpoint(
        "POST",
        "/_matrix/client/v3/account/password",
        "/_matrix/client/r0/account/password",
        access=Access.OPTIONAL,
        spec="client-server-api/#post_matrixclientv3accountpassword",
        limit="password_change",
    )
    async def password(self, caller: Caller | None, body: PasswordBody) -> Json:
        """Without a token: for whoever forgot theirs and has confirmed an e-mail address."""
        if caller is None:
            await self._passwords.by_mail(body.new_password, body.auth, logout_devices=body.logout_devices)
            return {}
        if caller.is_guest:
            raise Forbidden("guests have no password", errcode="M_GUEST_ACCESS_FORBIDDEN")
        await self._passwords.by_user(
            caller.user_id, caller.device_id, body.new_password, body.auth, logout_devices=body.logout_devices
        )
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
        await self._uia.require_owner("account/deactivate", body.auth, caller.user_id)
        await self._abuse.check("deactivation", caller.user_id)
        unbound = await self._deactivation.deactivate(caller.user_id, erase=body.erase)
        return {"id_server_unbind_result": "success" if unbound else "no-support"}
