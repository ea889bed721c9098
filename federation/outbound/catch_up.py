"""What a server that was away is sent: of each room a little, the rooms with the newest events first.

A room in which little happened is told in full; of one in which much did, the newest event, from which the server
asks back. So the work for whoever comes back is bounded by its rooms, not by what it missed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from federation.outbound.destination import PDUS_PER_TRANSACTION, QueuedPdu
from federation.storage import lagging_servers
from federation.storage.lagging_servers import MissedRoom
from homeserver.core.identifiers import ServerName, domain_of
from homeserver.rooms.event_store import EventStore
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

ROOMS_MAX = 10_000
ROOMS_AT_ONCE = 25
EVENTS_PER_ROOM = 20


class CatchUp:
    """Reads, in three queries for 25 rooms."""

    def __init__(self, db: Database, event_store: EventStore, server_name: ServerName) -> None:
        self._db = db
        self._events = event_store
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
        chosen: list[StoredEvent] = []
        for nids in windows.values():
            window = [stored[nid] for nid in nids if nid in stored]
            own = [entry for entry in window if domain_of(entry.event.sender) == self._server_name]
            if len(nids) <= EVENTS_PER_ROOM:
                chosen += own
            elif window:
                chosen.append(window[-1])
        # Room by room, oldest first within each: what a server takes in one after the other has its prev_events.
        return [QueuedPdu(entry.ordering or entry.nid, entry.event.canonical) for entry in chosen]
