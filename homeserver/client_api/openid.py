"""spec: client-server-api/#openid"""

from __future__ import annotations

from homeserver.accounts.openid import OpenIdTokens
from homeserver.core.identifiers import UserId
from homeserver.web.endpoint import Access, Caller, Json, check_own, endpoint


class OpenIdEndpoint:
    """POST /user/{userId}/openid/request_token."""

    def __init__(self, tokens: OpenIdTokens) -> None:
        self._tokens = tokens

    @endpoint(
        "POST",
        "/_matrix/client/v3/user/{user_id}/openid/request_token",
        "/_matrix/client/r0/user/{user_id}/openid/request_token",
        access=Access.USER,
        limit="openid",
        spec="client-server-api/#post_matrixclientv3useruseridopenidrequest_token",
    )
    async def request_token(self, caller: Caller, user_id: UserId, body: Json) -> Json:
        check_own(caller, user_id, "this is somebody else's account")
        return await self._tokens.issue(user_id)
