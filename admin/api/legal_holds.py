"""Legal holds: /_hansa/admin/v1/holds."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from admin.actions.legal_holds import LISTED_MAX, LegalHolds
from homeserver.core.operators import Permission
from homeserver.storage.legal_holds import Hold, Kind
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_HOLDS = "/_hansa/admin/v1/holds"


class HoldBody(msgspec.Struct, frozen=True):
    kind: Kind
    target: str
    reason: str


class ReleaseBody(msgspec.Struct, frozen=True):
    reason: str


class HoldsQuery(msgspec.Struct, frozen=True):
    released: bool = False  # those that were released as well
    target: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=LISTED_MAX)] = 100


class LegalHoldEndpoints:
    """Set, released, listed."""

    def __init__(self, holds: LegalHolds) -> None:
        self._holds = holds

    @endpoint("GET", _HOLDS, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_HOLDS)
    async def list_holds(self, operator: Operator, query: HoldsQuery) -> Json:
        found = await self._holds.page(in_force=not query.released, target=query.target, limit=query.limit, by=operator)
        return {"holds": [as_json(hold) for hold in found]}

    @endpoint("POST", _HOLDS, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_HOLDS)
    async def set(self, operator: Operator, body: HoldBody) -> Json:
        return as_json(await self._holds.set(body.kind, body.target, body.reason, by=operator))

    @endpoint(
        "POST",
        _HOLDS + "/{hold_id}/release",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_HOLDS,
    )
    async def release(self, operator: Operator, hold_id: str, body: ReleaseBody) -> Json:
        return as_json(await self._holds.release(hold_id, body.reason, by=operator))


def as_json(hold: Hold) -> dict[str, Any]:
    """A hold as pages and tools have it."""
    return {
        "id": hold.hold_id,
        "kind": hold.kind,
        "target": hold.target,
        "reason": hold.reason,
        "set_by": hold.set_by,
        "set_ts": hold.set_ts,
        "released_by": hold.released_by,
        "released_ts": hold.released_ts,
    }
