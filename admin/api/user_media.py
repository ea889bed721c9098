"""What users have uploaded: `/_synapse/admin/v1/users/{user_id}/media`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from admin.actions.media import MediaActions
from admin.api.media_shapes import as_json, deleted
from admin.storage import media as admin_media
from admin.storage.media import ORDERS
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.identifiers import UserId, domain_of
from homeserver.core.operators import Permission
from homeserver.storage import users
from homeserver.storage.database import Database
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_MEDIA = "/_synapse/admin/v1/users/{user_id}/media"
_PAGE_MAX = 1_000
_NOT_TOLD = frozenset({"media_origin", "user_id", "filesystem_id"})


class UserMediaQuery(msgspec.Struct, frozen=True):
    from_: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = msgspec.field(default=0, name="from")
    limit: Annotated[int, msgspec.Meta(ge=0)] = 100
    order_by: str | None = None
    dir: Literal["f", "b"] | None = None


class UserMedia:
    """List, delete, quarantine."""

    def __init__(self, db: Database, media: MediaActions) -> None:
        self._db = db
        self._media = media

    @endpoint("GET", _MEDIA, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_MEDIA)
    async def list_media(self, user_id: UserId, query: UserMediaQuery) -> Json:
        await self._check(user_id, "Can only look up local users")
        found, total = await self._page(user_id, query)
        media = [{key: value for key, value in as_json(one).items() if key not in _NOT_TOLD} for one in found]
        answer: Json = {"media": media, "total": total}
        if query.from_ + len(found) < total:
            answer["next_token"] = query.from_ + len(found)
        return answer

    @endpoint("DELETE", _MEDIA, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.DELETE_MEDIA)
    async def delete(self, operator: Operator, user_id: UserId, query: UserMediaQuery) -> Json:
        await self._check(user_id, "Can only look up local users")
        found, _ = await self._page(user_id, query)
        ids = [one.media_id for one in found]
        return deleted(await self._media.delete_some(ids, by=operator, target=user_id))

    @endpoint(
        "POST",
        "/_synapse/admin/v1/user/{user_id}/media/quarantine",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.MODERATE_MEDIA,
    )
    async def quarantine(self, operator: Operator, user_id: UserId) -> Json:
        return {"num_quarantined": await self._media.quarantine_user(user_id, by=operator)}

    async def _page(self, user_id: UserId, query: UserMediaQuery) -> tuple[list[admin_media.MediaInfo], int]:
        order_by, direction = query.order_by or "created_ts", query.dir
        if order_by not in ORDERS:
            raise InvalidParam(f"Unknown value for order_by: {order_by[:50]}")
        if direction is None:
            direction = "b" if query.order_by is None else "f"
        return await admin_media.of_user(
            self._db,
            self._media.server_name,
            user_id,
            order_by=order_by,
            backwards=direction == "b",
            limit=min(query.limit, _PAGE_MAX),
            offset=query.from_,
        )

    async def _check(self, user_id: UserId, otherwise: str) -> None:
        if domain_of(user_id) != self._media.server_name:
            raise MatrixError(otherwise)
        if await users.by_id(self._db, user_id) is None:
            raise NotFound("Unknown user")
