"""What a redacted event had said, for those who moderate its room, while it is kept (MSC2815).

Invariant: nobody gets it without a row that says who and when.
"""

from __future__ import annotations

from dataclasses import replace

from homeserver.core.errors import Forbidden, MatrixError
from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.core.redaction import redact
from homeserver.rooms.history import History
from homeserver.rooms.residents import Rooms
from homeserver.runtime.clock import Clock
from homeserver.storage import events, unredacted_reads
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent


class Unredacted:
    """Reads such events, and writes down that it did."""

    def __init__(self, db: Database, rooms: Rooms, history: History, clock: Clock, *, retention_s: int) -> None:
        self._db = db
        self._rooms = rooms
        self._history = history
        self._clock = clock
        self._retention_s = retention_s

    async def event_of(self, viewer: UserId, room_id: RoomId, event_id: EventId, *, is_admin: bool) -> StoredEvent:
        """The event as it was sent; one that wasn't redacted as it is.

        Raises NotFound as any look at an event, Forbidden for who may not redact in the room, and the proposal's own
        error where the content was erased.
        """
        stored = await self._history.event_of(viewer, room_id, event_id)
        if stored.redacted_by is None:
            return stored
        room = await self._rooms.get(room_id)
        levels = room.power_levels() if room is not None and room.membership(viewer) == "join" else None
        if not is_admin and (levels is None or levels.user(viewer) < levels.redact):
            raise Forbidden("only who may redact in this room sees what was redacted")
        found = await events.as_sent(self._db, [stored.nid])
        version = stored.event.version
        if not found or redact(version, found[0][1]) == found[0][1]:
            raise MatrixError(
                "what this event said is kept no more",
                errcode="FI.MAU.MSC2815_UNREDACTED_CONTENT_DELETED",
                status=404,
                extra={"fi.mau.msc2815.content_keep_ms": self._retention_s * 1000},
            )
        async with self._db.transaction() as tx:
            await unredacted_reads.insert(tx, self._clock.now_ms(), viewer, room_id, event_id)
        return replace(stored, event=Event(version, found[0][1], event_id), rendered=None)
