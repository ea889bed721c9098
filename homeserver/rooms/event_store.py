"""Events by number or id, through a cache bounded by bytes. The room writer puts in what it has written."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence

from homeserver.core.events import Event, is_content_intact
from homeserver.core.identifiers import EventId
from homeserver.storage import bodies, early_redactions, events
from homeserver.storage.database import Database
from homeserver.storage.early_redactions import EarlyRedaction
from homeserver.storage.events import StoredEvent

CACHE_BYTES_MAX = 64 * 1024 * 1024
# A parsed event takes about this many times its JSON's bytes, and this much beside.
_FACTOR, _OVERHEAD = 4, 1_500


class EventStore:
    """What is in the table `events`, from memory where it was used lately."""

    def __init__(self, db: Database, cache_bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._db = db
        self._bytes_max = cache_bytes_max
        self._bytes = 0
        self._by_nid: OrderedDict[int, StoredEvent] = OrderedDict()
        self._nids: dict[EventId, int] = {}
        # Raised by every redaction: what was read before one and arrives after it isn't kept.
        self._redactions = 0
        # Rooms in which redactions wait for their targets; all of them once they were asked for.
        self._with_early: set[int] = set()
        self._has_early = False

    async def by_nids(self, nids: Collection[int]) -> dict[int, StoredEvent]:
        """These events by number; those that don't exist are left out. At most one query.

        Where bodies can't be read, what stands for the events (`StoredEvent.is_lost`), by one query more.
        """
        found: dict[int, StoredEvent] = {}
        missing: list[int] = []
        for nid in nids:
            stored = self._by_nid.get(nid)
            if stored is None:
                missing.append(nid)
            else:
                self._by_nid.move_to_end(nid)
                found[nid] = stored
        if missing:
            before = self._redactions
            read = await events.known_by_nids(self._db, missing)
            found.update((stored.nid, stored) for stored in read)
            self._keep(read, before)
        return found

    async def by_ids(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        """The same by id."""
        found: dict[EventId, StoredEvent] = {}
        missing: list[EventId] = []
        for event_id in event_ids:
            nid = self._nids.get(event_id)
            if nid is None:
                missing.append(event_id)
            else:
                found[event_id] = self._by_nid[nid]
        if missing:
            before = self._redactions
            read = await events.known_by_ids(self._db, missing)
            found.update((stored.event.event_id, stored) for stored in read)
            self._keep(read, before)
        return found

    async def by_id(self, event_id: EventId) -> StoredEvent | None:
        return (await self.by_ids([event_id])).get(event_id)

    async def early_redactions(self, room_nid: int, targets: Collection[EventId]) -> list[EarlyRedaction]:
        """The redactions that came before these events. No query in rooms where none waits."""
        if not self._has_early:
            self._with_early |= await early_redactions.rooms(self._db)
            self._has_early = True
        if room_nid not in self._with_early:
            return []
        return await early_redactions.of(self._db, room_nid, targets)

    def early_redactions_wait(self, room_nid: int) -> None:
        """Such were just written."""
        self._with_early.add(room_nid)

    async def regain(self, told: Sequence[Event]) -> None:
        """Takes the bodies of lost events from who tells them once more: events that were checked against their ids."""
        found = {event.event_id: event.canonical for event in told if is_content_intact(event.version, event.pdu)}
        if found:
            async with self._db.transaction() as tx:
                await bodies.put_back(tx, found)

    def put(self, written: Iterable[StoredEvent]) -> None:
        """Takes in what was just committed."""
        for stored in written:
            self._add(stored)

    def promoted(self, nids: Collection[int]) -> None:
        """Drops events that got another place than they had."""
        for nid in nids:
            if nid in self._by_nid:
                self._drop(nid)

    def redacted(self, targets: Collection[int]) -> None:
        """Drops events that were just redacted, and what shows them: as replaced, or as the reason of a redaction."""
        self._redactions += 1
        wanted = set(targets)
        for nid in [
            stored.nid
            for stored in self._by_nid.values()
            if stored.nid in wanted or stored.replaces in wanted or stored.redacted_by in wanted
        ]:
            self._drop(nid)

    def _keep(self, read: Iterable[StoredEvent], redactions_before: int) -> None:
        if redactions_before == self._redactions:
            for stored in read:
                if not stored.is_lost:  # it may be read the next time
                    self._add(stored)

    def _add(self, stored: StoredEvent) -> None:
        if stored.nid in self._by_nid:
            return
        self._by_nid[stored.nid] = stored
        self._nids[stored.event.event_id] = stored.nid
        self._bytes += _cost(stored)
        while self._bytes > self._bytes_max and len(self._by_nid) > 1:
            self._drop(next(iter(self._by_nid)))

    def _drop(self, nid: int) -> None:
        stored = self._by_nid.pop(nid)
        self._nids.pop(stored.event.event_id, None)
        self._bytes -= _cost(stored)


def _cost(stored: StoredEvent) -> int:
    return stored.size_bytes * _FACTOR + _OVERHEAD
