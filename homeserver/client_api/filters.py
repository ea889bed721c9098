"""Uploading and reading filters. spec: client-server-api/#filtering"""

from __future__ import annotations

from homeserver.accounts.filters import Filters
from homeserver.core.identifiers import UserId
from homeserver.web.endpoint import Access, Caller, Json, check_own, endpoint

_NOT_YOURS = "these are somebody else's filters"

_USER = ("/_matrix/client/v3/user/{user_id}", "/_matrix/client/r0/user/{user_id}")


class FilterEndpoints:
    """POST and GET of filters."""

    def __init__(self, filters: Filters) -> None:
        self._filters = filters

    @endpoint(
        "POST",
        _USER[0] + "/filter",
        _USER[1] + "/filter",
        access=Access.GUEST,
        spec="client-server-api/#post_matrixclientv3useruseridfilter",
    )
    async def add(self, caller: Caller, user_id: UserId, body: Json) -> Json:
        check_own(caller, user_id, _NOT_YOURS)
        return {"filter_id": await self._filters.add(user_id, body)}

    @endpoint(
        "GET",
        _USER[0] + "/filter/{filter_id}",
        _USER[1] + "/filter/{filter_id}",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3useruseridfilterfilterid",
    )
    async def get(self, caller: Caller, user_id: UserId, filter_id: str) -> Json:
        check_own(caller, user_id, _NOT_YOURS)
        return await self._filters.definition(user_id, filter_id)
