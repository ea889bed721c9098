"""POST /login/get_token: a token to log in with on another device.

spec: client-server-api/#post_matrixclientv1loginget_token
"""

from __future__ import annotations

from typing import Any

import msgspec

from homeserver.accounts.login_tokens import LoginTokens
from homeserver.accounts.uia import Uia
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class TokenBody(msgspec.Struct, frozen=True):
    auth: dict[str, Any] | None = None


class LoginTokenEndpoint:
    """Only whoever proves anew who they are gets one."""

    def __init__(self, tokens: LoginTokens, uia: Uia) -> None:
        self._tokens = tokens
        self._uia = uia

    @endpoint(
        "POST",
        "/_matrix/client/v1/login/get_token",
        access=Access.USER,
        spec="client-server-api/#post_matrixclientv1loginget_token",
        limit="login_token",
        while_suspended=False,
    )
    async def give(self, caller: Caller, body: TokenBody) -> Json:
        await self._uia.require_owner("login/get_token", body.auth, caller.user_id)
        token, lifetime_ms = await self._tokens.give(
            caller.user_id, await self._tokens.upstream_of(caller.user_id, caller.device_id)
        )
        return {"login_token": token, "expires_in_ms": lifetime_ms}
