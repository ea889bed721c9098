"""Erasing users: /_hansa/admin/v1/erasures."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import orjson

from admin.actions.scrubbing import Scrubbing
from admin.actions.user_erasure import LISTED_MAX, UserErasure
from admin.storage.user_erasures import ErasureRow
from homeserver.core.errors import NotFound
from homeserver.core.identifiers import parse_user_id
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_ERASURES = "/_hansa/admin/v1/erasures"


class ErasureBody(msgspec.Struct, frozen=True):
    user_id: str
    reason: str
    room_names: bool = False


class ErasuresQuery(msgspec.Struct, frozen=True):
    user_id: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=LISTED_MAX)] = 100


class ErasureEndpoints:
    """Asked for, looked at, and the receipts."""

    def __init__(self, erasure: UserErasure, scrubbing: Scrubbing) -> None:
        self._erasure = erasure
        self._scrubbing = scrubbing

    @endpoint("POST", _ERASURES, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.END_USERS)
    async def begin(self, operator: Operator, body: ErasureBody) -> Json:
        user_id = parse_user_id(body.user_id)
        return as_json(await self._erasure.begin(user_id, reason=body.reason, room_names=body.room_names, by=operator))

    @endpoint("GET", _ERASURES, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_HOLDS)
    async def list_erasures(self, query: ErasuresQuery) -> Json:
        return {"erasures": [as_json(row) for row in await self._erasure.page(query.user_id, query.limit)]}

    @endpoint(
        "GET",
        _ERASURES + "/{erasure_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_HOLDS,
    )
    async def one(self, erasure_id: str) -> Json:
        return as_json(await self._erasure.one(erasure_id))

    @endpoint(
        "GET",
        _ERASURES + "/{erasure_id}/receipt",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_HOLDS,
    )
    async def receipt(self, erasure_id: str) -> Json:
        row = await self._erasure.one(erasure_id)
        if row.receipt is None:
            raise NotFound("this erasure isn't done yet")
        receipt: Json = orjson.loads(row.receipt)
        return receipt

    @endpoint(
        "POST",
        "/_hansa/admin/v1/scrub",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_SERVER,
    )
    async def scrub(self, operator: Operator) -> Json:
        return {"job_id": await self._scrubbing.begin(by=operator)}


def as_json(row: ErasureRow) -> dict[str, Any]:
    """An erasure as pages and tools have it."""
    return {
        "id": row.erasure_id,
        "user_id": row.user_id,
        "asked_by": row.asked_by,
        "asked_ts": row.asked_ts,
        "reason": row.reason,
        "state": row.state,
        "waits_for": "a legal hold" if row.state == "waiting" else None,
        "has_receipt": row.receipt is not None,
    }
