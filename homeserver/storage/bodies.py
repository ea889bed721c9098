"""What events said, where the table `events` doesn't have it any more: `json` is empty, and the archive has it.

Every function that reads `json` of events that may be messages passes its rows through `whole`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog

from homeserver.core.errors import Unavailable
from homeserver.core.identifiers import EventId
from homeserver.storage.database import Database, Reader, Row, Tx

log = structlog.get_logger()
# A row, or what `whole` made of it.
Line = Row | dict[str, Any]

_BACK = """
    UPDATE events SET json = back.json FROM unnest($1::text[], $2::bytea[]) AS back(event_id, json)
    WHERE events.event_id = back.event_id AND events.json = ''
"""


async def whole(db: Reader, rows: Sequence[Row]) -> Sequence[Line]:
    """These rows (with `event_id` and `json`) with what was said in them.

    One that can't be had is logged and left out, as a damaged one is. Raises Unavailable where the archive is away.
    """
    empty = [EventId(row["event_id"]) for row in rows if row["json"] == b""]
    if not empty:
        return rows
    found = await of(db, empty)
    return [
        row if row["json"] != b"" else {**row, "json": found[row["event_id"]]}
        for row in rows
        if row["json"] != b"" or row["event_id"] in found
    ]


async def of(db: Reader, event_ids: Collection[EventId]) -> Mapping[EventId, bytes]:
    """What these events said, which is elsewhere: all that can be had. Raises Unavailable."""
    elsewhere = db.elsewhere if isinstance(db, Database) else None
    if elsewhere is None:
        raise Unavailable("what these events said is in the archive, which isn't open here, or not yet")
    found = await elsewhere.bodies(event_ids)
    for event_id in event_ids:
        if event_id not in found:
            log.error("event_unreadable", event_id=event_id)
    return found


async def put_back(tx: Tx, bodies: Mapping[EventId, bytes]) -> None:
    """The table has them again; where they were erased meanwhile, that stays."""
    await tx.execute(_BACK, list(bodies), list(bodies.values()))
