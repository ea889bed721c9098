"""The auth graphs of rooms in memory: who cites whom among a room's state events, and the chain cover over it.

Read from the table `events` when a room's branches first meet, then kept up by reading on from the last number.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from homeserver.core import canonical_json
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import EventIdFormat, RoomVersion
from homeserver.core.state_resolution import ChainCover
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.storage.events import AuthRow

PAGE = 5_000
EVENTS_HELD_MAX = 1_000_000


@dataclass(slots=True)
class AuthGraph:
    """One room's: `upto` is the number of the last event taken in."""

    cover: ChainCover = field(default_factory=ChainCover)
    auth_ids: dict[EventId, tuple[EventId, ...]] = field(default_factory=dict)
    rejected: set[EventId] = field(default_factory=set)
    # The number of each event, and of its (type, state_key).
    places: dict[EventId, tuple[int, int]] = field(default_factory=dict)
    # The id of each event by its number.
    ids: dict[int, EventId] = field(default_factory=dict)
    # What cites events that aren't here: one that was rejected for that is allowed once they came, under later numbers.
    waiting: dict[EventId, tuple[Sequence[EventId], int, int]] = field(default_factory=dict)
    upto: int = 0

    def auth_of(self, event_id: EventId) -> Sequence[EventId]:
        return self.auth_ids.get(event_id, ())

    def put(self, event_id: EventId, auth_ids: Sequence[EventId], nid: int, key_nid: int) -> None:
        """Takes in an event with its number, and that of its (type, state_key)."""
        # What isn't here was purged: it leads nowhere.
        known = tuple(auth_id for auth_id in auth_ids if auth_id in self.auth_ids)
        self.auth_ids[event_id] = known
        self.cover.add(event_id, known)
        self.places[event_id] = (nid, key_nid)
        self.ids[nid] = event_id

    def take(self, row: AuthRow, auth_ids: Sequence[EventId]) -> None:
        """Takes in an event that is written; `settle` ends it."""
        if row.is_rejected:
            self.rejected.add(row.event_id)
        if all(auth_id in self.auth_ids for auth_id in auth_ids):
            self.put(row.event_id, auth_ids, row.nid, row.key_nid)
        else:
            self.waiting[row.event_id] = (auth_ids, row.nid, row.key_nid)

    def allow(self, event_id: EventId, auth_ids: Sequence[EventId], nid: int, key_nid: int) -> None:
        """Takes in an event that is being written, and may have been rejected before."""
        if event_id not in self.rejected and self.places.get(event_id) == (nid, key_nid):
            return
        self.rejected.discard(event_id)
        self.waiting.pop(event_id, None)
        self.put(event_id, auth_ids, nid, key_nid)
        self.settle()

    def settle(self) -> None:
        """Lets in those that waited for what is here by now. Of accepted events what they cite may have been purged."""
        while ready := [
            event_id
            for event_id, (auth_ids, *_) in self.waiting.items()
            if all(auth_id in self.auth_ids for auth_id in auth_ids)
        ]:
            for event_id in ready:
                self.put(event_id, *self.waiting.pop(event_id))
        for event_id in [event_id for event_id in self.waiting if event_id not in self.rejected]:
            self.put(event_id, *self.waiting.pop(event_id))


class AuthGraphs:
    """The auth graphs of the rooms whose branches met lately, bounded by the number of their events."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._graphs: OrderedDict[int, AuthGraph] = OrderedDict()
        self._locks: dict[int, asyncio.Lock] = {}

    async def of(self, room_nid: int, version: RoomVersion) -> AuthGraph:
        """The graph with all state events that are written. One query where nothing is new."""
        async with self._locks.setdefault(room_nid, asyncio.Lock()):
            graph = self._graphs.setdefault(room_nid, AuthGraph())
            self._graphs.move_to_end(room_nid)
            while rows := await events.state_events_after(self._db, room_nid, graph.upto, PAGE):
                if len(rows) > 100:
                    await asyncio.to_thread(_take_in, graph, version, rows)
                else:
                    _take_in(graph, version, rows)
                graph.upto = rows[-1].nid
                if len(rows) < PAGE:
                    break
            graph.settle()
        self._evict(room_nid)
        return graph

    def is_held(self, room_nid: int) -> bool:
        """Whether the room's graph is in memory: asking for it reads only what is new."""
        return room_nid in self._graphs

    def forget(self, room_nid: int) -> None:
        """Drops a graph whose events' fates have changed."""
        self._graphs.pop(room_nid, None)

    def _evict(self, keep: int) -> None:
        held = sum(len(graph.auth_ids) for graph in self._graphs.values())
        for room_nid in list(self._graphs):
            if held <= EVENTS_HELD_MAX:
                return
            if room_nid != keep:
                held -= len(self._graphs.pop(room_nid).auth_ids)
                self._locks.pop(room_nid, None)


def _take_in(graph: AuthGraph, version: RoomVersion, rows: Collection[AuthRow]) -> None:
    for row in rows:
        cited = canonical_json.decode(row.json)["auth_events"]
        ids = [entry[0] for entry in cited] if version.event_id_format is EventIdFormat.IN_EVENT else cited
        graph.take(row, ids)
