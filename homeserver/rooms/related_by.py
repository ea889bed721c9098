"""Filters that ask for what others relate to: `related_by_rel_types`, `related_by_senders`.

spec: client-server-api/#filtering
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from homeserver.core.filters import RoomEventFilter
from homeserver.core.identifiers import RoomId
from homeserver.core.visibility import VisibilityTimeline
from homeserver.rooms.read_gate import NumberedRoom
from homeserver.storage import relations
from homeserver.storage.database import Reader


async def related(
    db: Reader,
    rooms: Collection[NumberedRoom],
    timelines: Mapping[RoomId, VisibilityTimeline],
    nids: Iterable[int],
    wanted: RoomEventFilter,
) -> set[int]:
    """Those of some events of these rooms to which one that the viewer sees relates as the filter wants. One query.

    `timelines`: what the viewer sees of each of the rooms.
    """
    spans = [(room.nid, *span) for room in rooms for span in timelines[room.room_id].visible_ranges()]
    return await relations.are_related(db, list(nids), spans, wanted.related_by_rel_types, wanted.related_by_senders)
