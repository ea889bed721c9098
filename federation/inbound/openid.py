"""Whose OpenID token one is: for services that our users were sent to. spec: server-server-api/#openid"""

from __future__ import annotations

from typing import Protocol

import msgspec

from homeserver.core.identifiers import UserId
from homeserver.web.endpoint import Access, Json, endpoint


class OpenIdTokens(Protocol):
    """Implemented by accounts.openid."""

    async def holder(self, token: str) -> UserId:
        """Raises UnknownToken."""
        ...


class UserInfoQuery(msgspec.Struct, frozen=True):
    access_token: str


class OpenIdUserInfo:
    """GET /openid/userinfo."""

    def __init__(self, tokens: OpenIdTokens) -> None:
        self._tokens = tokens

    @endpoint(
        "GET",
        "/_matrix/federation/v1/openid/userinfo",
        access=Access.NONE,
        spec="server-server-api/#get_matrixfederationv1openiduserinfo",
    )
    async def user_info(self, query: UserInfoQuery) -> Json:
        return {"sub": await self._tokens.holder(query.access_token)}
