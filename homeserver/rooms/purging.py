"""Deletes rooms and history for good: from the database, from memory, and from whoever follows the journal.

The journal's entries of kind `purged` say what is gone: indexes and archives delete it as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import EventId, RoomId, ServerName
from homeserver.journal.journal import PURGED, Journal
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.residents import Rooms
from homeserver.rooms.writer import RoomWriter
from homeserver.storage import legal_holds, purging
from homeserver.storage.database import Database

AT_ONCE = 500

Report = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Purged:
    """The payload of journal entries of kind `purged`: events that are no more, by number and by id."""

    room_nid: int
    event_nids: tuple[int, ...]
    event_ids: tuple[EventId, ...]


class Purging:
    """Deletes for good. Nobody writes to a room meanwhile."""

    def __init__(
        self, db: Database, journal: Journal, rooms: Rooms, event_store: EventStore, writer: RoomWriter
    ) -> None:
        self._db = db
        self._journal = journal
        self._rooms = rooms
        self._events = event_store
        self._writer = writer

    async def purge_room(self, room_id: RoomId, report: Report) -> int:
        """How many events are gone. May be begun again where it was cut short; `report` gets the count so far.

        Raises as `check_free`.
        """
        await self.check_free(room_id)
        return await self._writer.exclusively(room_id, lambda: self._purge_room(room_id, report))

    async def check_free(self, room_id: RoomId) -> None:
        """Raises MatrixError (409) for a room that a legal hold keeps, or in which somebody is or was who is held."""
        if await legal_holds.is_room_held(self._db, room_id):
            raise MatrixError("a legal hold keeps this room", status=409)
        member = await legal_holds.held_member(self._db, room_id)
        if member is not None:
            raise MatrixError(f"a legal hold keeps what {member} said in this room", status=409)

    async def purge_history(
        self, room_id: RoomId, before: int, *, keep_server: ServerName | None, report: Report
    ) -> int:
        """How many messages before a place are gone. State stays, and where the room goes on.

        With `keep_server`, what that server's users said stays too. What held users said stays; MatrixError (409) for
        a room that is held.
        """
        if await legal_holds.is_room_held(self._db, room_id):
            raise MatrixError("a legal hold keeps this room", status=409)
        room = await self._rooms.get(room_id)
        if room is None:
            return 0
        total, count = 0, 1
        while count:
            count = await self._writer.exclusively(room_id, lambda: self._history(room_id, before, keep_server))
            total += count
            await report(total)
        return total

    async def _purge_room(self, room_id: RoomId, report: Report) -> int:
        async with self._journal.write() as write:
            members = await purging.hide_room(write.tx, room_id)
            if members is not None:
                write.publish("room_purged", room_id=room_id, user_ids=members)
        self._rooms.drop(room_id)
        total = 0
        for left in await purging.marked(self._db, room_id):
            while gone := await self._some_events(room_id, left.room_nid):
                total += len(gone)
                await report(total)
            async with self._db.transaction() as tx:
                await purging.unmark(tx, left.room_nid)
        return total

    async def _some_events(self, room_id: RoomId, room_nid: int) -> dict[int, EventId]:
        async with self._journal.write() as write:
            gone = await purging.delete_events(write.tx, room_nid, AT_ONCE)
            if gone:
                write.publish(PURGED, room_id=room_id, payload=Purged(room_nid, tuple(gone), tuple(gone.values())))
        self._events.redacted(list(gone))
        return gone

    async def _history(self, room_id: RoomId, before: int, keep_server: ServerName | None) -> int:
        room = await self._rooms.get(room_id)
        if room is None:
            return 0
        kept = list(room.head_nids.values())
        place = min(before, room.newest)
        async with self._journal.write() as write:
            gone = await purging.delete_history(write.tx, room.nid, place, kept, keep_server, AT_ONCE)
            if gone:
                write.publish(PURGED, room_id=room_id, payload=Purged(room.nid, tuple(gone), tuple(gone.values())))
        self._events.redacted(list(gone))
        return len(gone)
