"""Who keeps how much here: /_synapse/admin/v1/statistics/users/media."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from admin.storage import media_statistics
from admin.storage.media_statistics import MediaUseFilter
from homeserver.core.errors import InvalidParam
from homeserver.core.operators import Permission
from homeserver.storage.database import Reader
from homeserver.web.endpoint import Access, Json, Reach, endpoint

LIMIT_MAX = 1_000
Counted = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class StatisticsQuery(msgspec.Struct, frozen=True, rename={"start": "from", "direction": "dir"}):
    start: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    limit: Annotated[int, msgspec.Meta(ge=0)] = 100
    order_by: Literal["media_length", "media_count", "user_id", "displayname"] = "user_id"
    direction: Literal["f", "b"] = "f"
    from_ts: Counted = 0
    until_ts: Counted | None = None
    search_term: str | None = None


class MediaStatistics:
    """Over what users of this server uploaded."""

    def __init__(self, db: Reader) -> None:
        self._db = db

    @endpoint(
        "GET",
        "/_synapse/admin/v1/statistics/users/media",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_SERVER,
    )
    async def by_user(self, query: StatisticsQuery) -> Json:
        if query.until_ts is not None and query.until_ts <= query.from_ts:
            raise InvalidParam("until_ts must be greater than from_ts")
        if query.search_term == "":
            raise InvalidParam("search_term must not be empty")
        limit = min(query.limit, LIMIT_MAX)
        wanted = MediaUseFilter(from_ts=query.from_ts, until_ts=query.until_ts, term=query.search_term)
        found, total = await media_statistics.page(
            self._db,
            wanted,
            order=query.order_by,
            backwards=query.direction == "b",
            limit=limit,
            offset=query.start,
        )
        answer: Json = {
            "users": [
                {
                    "user_id": one.user_id,
                    "displayname": one.displayname,
                    "media_count": one.count,
                    "media_length": one.bytes,
                }
                for one in found
            ],
            "total": total,
        }
        if query.start + limit < total:
            answer["next_token"] = query.start + len(found)
        return answer
