"""spec: client-server-api/#server-administration"""

from __future__ import annotations

from homeserver.accounts.moderation import AccountModeration
from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import UserId
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class AdminEndpoints:
    """/admin/whois: also for users who look at themselves."""

    def __init__(self, moderation: AccountModeration) -> None:
        self._moderation = moderation

    @endpoint(
        "GET",
        "/_matrix/client/v3/admin/whois/{user_id}",
        "/_matrix/client/r0/admin/whois/{user_id}",
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3adminwhoisuserid",
    )
    async def whois(self, caller: Caller, user_id: UserId) -> Json:
        if caller.user_id != user_id and not caller.is_admin:
            raise Forbidden("only server administrators may look at others")
        return {"user_id": user_id, "devices": await self._moderation.whois(user_id)}
