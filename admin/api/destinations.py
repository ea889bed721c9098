"""Other servers: `/_synapse/admin/v1/federation/destinations`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from admin.actions.destinations import Destinations
from admin.storage import destinations
from admin.storage.destinations import ORDERS, DestinationRow
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import ServerName
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_ALL = "/_synapse/admin/v1/federation/destinations"
_ONE = _ALL + "/{destination}"
_PAGE_MAX = 1_000

From = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]


class DestinationsQuery(msgspec.Struct, frozen=True):
    from_: From = msgspec.field(default=0, name="from")
    limit: Annotated[int, msgspec.Meta(ge=0)] = 100
    destination: str | None = None
    order_by: str = "destination"
    dir: Literal["f", "b"] = "f"


class RoomsQuery(msgspec.Struct, frozen=True):
    from_: From = msgspec.field(default=0, name="from")
    limit: Annotated[int, msgspec.Meta(ge=0)] = 100
    dir: Literal["f", "b"] = "f"


class DestinationEndpoints:
    """List, one, its rooms, and trying it again."""

    def __init__(self, db: Database, actions: Destinations) -> None:
        self._db = db
        self._actions = actions

    @endpoint("GET", _ALL, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_FEDERATION)
    async def list_all(self, query: DestinationsQuery) -> Json:
        if query.order_by not in ORDERS:
            raise InvalidParam(f"Unknown value for order_by: {query.order_by[:50]}")
        rows, total = await destinations.page(
            self._db,
            self._actions.server_name,
            term=query.destination,
            order_by=query.order_by,
            backwards=query.dir == "b",
            limit=min(query.limit, _PAGE_MAX),
            offset=query.from_,
        )
        answer: Json = {"destinations": [as_json(row) for row in rows], "total": total}
        if query.from_ + len(rows) < total:
            answer["next_token"] = str(query.from_ + len(rows))
        return answer

    @endpoint("GET", _ONE, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_FEDERATION)
    async def one(self, destination: ServerName) -> Json:
        return as_json(await self._actions.one(destination))

    @endpoint(
        "GET", _ONE + "/rooms", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_FEDERATION
    )
    async def rooms(self, destination: ServerName, query: RoomsQuery) -> Json:
        await self._actions.one(destination)
        rows, total = await destinations.rooms(
            self._db,
            destination,
            backwards=query.dir == "b",
            limit=min(query.limit, _PAGE_MAX),
            offset=query.from_,
        )
        answer: Json = {
            "rooms": [{"room_id": room_id, "stream_ordering": position} for room_id, position in rows],
            "total": total,
        }
        if query.from_ + len(rows) < total:
            answer["next_token"] = str(query.from_ + len(rows))
        return answer

    @endpoint(
        "POST",
        _ONE + "/reset_connection",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_FEDERATION,
    )
    async def reset(self, operator: Operator, destination: ServerName) -> Json:
        await self._actions.reset(destination, by=operator)
        return {}


def as_json(row: DestinationRow) -> dict[str, Any]:
    """A server as tools have it. How long is waited has some chance in it: `retry_interval` is the wait without."""
    interval_ms = min(86_400, 5 * 4 ** min(row.failures - 1, 12)) * 1000 if row.failures else 0
    return {
        "destination": row.destination,
        "retry_last_ts": row.retry_at_ms - interval_ms if row.retry_at_ms is not None else 0,
        "retry_interval": interval_ms,
        "failure_ts": row.failing_since_ms,
        "last_successful_stream_ordering": row.sent_position,
    }
