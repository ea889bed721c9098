"""What a server that was away is sent: of each room a little, the rooms with the newest events first.

A room in which little happened is told in full; of one in which much did, the newest event, from which the server
asks back. So the work for whoever comes back is bounded by its rooms, not by what it missed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Protocol

from federation.outbound.destination import PDUS_PER_TRANSACTION, QueuedPdu
from federation.storage import lagging_servers
from federation.storage.lagging_servers import MissedRoom
from homeserver.core.identifiers import RoomId, ServerName, domain_of
from homeserver.rooms.event_store import EventStore
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

ROOMS_MAX = 10_000
ROOMS_AT_ONCE = 25
EVENTS_PER_ROOM = 20
STICKY_MAX = 1_000


class StickyEvents(Protocol):
    """Events that every server is to have while they last (MSC4354)."""

    def has_some(self, room_id: RoomId) -> bool: ...

    async def sent_by(self, server: ServerName, room_nids: Collection[int], limit: int) -> list[StoredEvent]: ...


class CatchUp:
    """Reads, in three queries for 25 rooms."""

    def __init__(self, db: Database, event_store: EventStore, server_name: ServerName, sticky: StickyEvents) -> None:
        self._db = db
        self._events = event_store
        self._sticky = sticky
        self._server_name = server_name

    async def batches(self, server: ServerName, after: int, upto: int) -> AsyncIterator[list[QueuedPdu]]:
        """What it missed in (after, upto], in portions of a transaction each."""
        rooms = await lagging_servers.missed_rooms(self._db, server, after, upto, ROOMS_MAX)
        for at in range(0, len(rooms), ROOMS_AT_ONCE):
            found = await self._missed(rooms[at : at + ROOMS_AT_ONCE])
            for start in range(0, len(found), PDUS_PER_TRANSACTION):
                yield found[start : start + PDUS_PER_TRANSACTION]

    async def _missed(self, rooms: Sequence[MissedRoom]) -> list[QueuedPdu]:
        spans = {room.room_nid: (room.after, room.upto) for room in rooms}
        windows = await events.windows(self._db, spans, limit=EVENTS_PER_ROOM + 1)
        stored = await self._events.by_nids({nid for nids in windows.values() for nid in nids})
        lasting: dict[int, list[StoredEvent]] = {}
        for entry in await self._sticky.sent_by(self._server_name, spans, STICKY_MAX):
            lasting.setdefault(entry.room_nid, []).append(entry)
        chosen: list[StoredEvent] = []
        for room_nid in spans:
            nids = windows.get(room_nid, [])
            window = [stored[nid] for nid in nids if nid in stored]
            own = [entry for entry in window if domain_of(entry.event.sender) == self._server_name]
            told = own if len(nids) <= EVENTS_PER_ROOM else window[-1:]
            # What sticks is told in any case, even from before the server came into the room.
            more = [entry for entry in lasting.get(room_nid, ()) if entry not in told]
            chosen += sorted([*more, *told], key=lambda entry: entry.ordering or entry.nid)
        # Room by room, oldest first within each: what a server takes in one after the other has its prev_events.
        return [QueuedPdu(entry.ordering or entry.nid, entry.event.canonical) for entry in chosen]
