"""Searching in what everybody wrote: `POST /_hansa/admin/v1/search`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from admin.actions.content_search import RESULTS_MAX, TERM_CHARS_MAX, ContentSearch, ContentWish
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint


class ContentSearchBody(msgspec.Struct, frozen=True):
    term: Annotated[str, msgspec.Meta(min_length=1, max_length=TERM_CHARS_MAX)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
    room_id: str = ""
    sender: str = ""
    order_by: str = "recent"
    limit: Annotated[int, msgspec.Meta(ge=1, le=RESULTS_MAX)] = 100


class ContentSearchEndpoint:
    """By its reason it stands in the audit log; where the configuration says so, a second operator agrees first."""

    def __init__(self, search: ContentSearch) -> None:
        self._search = search

    @endpoint(
        "POST",
        "/_hansa/admin/v1/search",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.SEARCH_CONTENT,
    )
    async def find(self, operator: Operator, body: ContentSearchBody) -> Json:
        wish = ContentWish(
            term=body.term, room_id=body.room_id, sender=body.sender, order_by=body.order_by, limit=body.limit
        )
        found = await self._search.find(wish, by=operator, reason=body.reason)
        return {
            "count": found.count,
            "results": [
                {
                    "event_id": one.stored.event.event_id,
                    "room_id": one.stored.event.room_id,
                    "sender": one.stored.event.sender,
                    "type": one.stored.event.type,
                    "origin_server_ts": one.stored.event.origin_server_ts,
                    "content": one.source.event.content,
                }
                for one in found.found
            ],
            **({"is_partial": True} if found.is_partial else {}),
        }
