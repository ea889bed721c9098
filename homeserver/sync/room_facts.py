"""When each room was last active, of what type it is, and whether it is encrypted: for lists of rooms.

A consumer of the journal. What it hears is kept in memory, rooms in order of their newest event, and written in batches
with the cursor; what came after the cursor is read again at start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, UserId
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import Written
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.clock import Clock
from homeserver.storage import events, forks, journal_cursors, room_facts
from homeserver.storage.database import Database
from homeserver.storage.memberships import UserRoom
from homeserver.storage.room_facts import RoomFact

FLUSH_S = 2.0
HEARD_MAX = 100_000
CATCH_UP_EVENTS = 1_000
# Invites and knocks whose rooms' descriptions are kept, and how many are read at once.
TOLD_MAX, TOLD_AT_ONCE = 50_000, 50
# What makes a room move up in a client's list.
BUMPS = frozenset(
    "m.room.create m.room.message m.room.encrypted m.sticker m.call.invite m.poll.start "
    "org.matrix.msc3381.poll.start m.beacon_info org.matrix.msc3672.beacon_info".split()
)


RETENTION = ("m.room.retention", "")


class RoomFacts:
    """The facts of all rooms: those heard of since the start in memory, the others in the database."""

    def __init__(self, db: Database, journal: Journal, rooms: Rooms, event_store: EventStore, clock: Clock) -> None:
        self._db = db
        self._journal = journal
        self._rooms = rooms
        self._events = event_store
        self._clock = clock
        self._heard: OrderedDict[RoomId, RoomFact] = OrderedDict()  # the most lately active last
        self._unwritten: dict[int, RoomFact] = {}
        self._told: OrderedDict[int, RoomFact | None] = OrderedDict()  # by the number of the invite or knock
        self._floor = journal.visible

    async def start(self) -> None:
        """Takes in what happened after the cursor, then listens."""
        at = await journal_cursors.position(self._db, room_facts.CONSUMER) or 0
        upto = self._journal.visible
        while nids := await events.after_position(self._db, at, upto, CATCH_UP_EVENTS):
            stored = await self._events.by_nids(nids)
            rooms = await self._rooms.get_many({found.event.room_id for found in stored.values()})
            for nid in nids:
                found = stored.get(nid)
                room = rooms.get(found.event.room_id) if found is not None else None
                if found is not None and room is not None:
                    self._take(room, found.event, nids[nid])
            at = max(nids.values())
            await self._write(at)
        self._heard.clear()
        self._floor = upto
        self._journal.listen(self._hear)

    async def run(self) -> None:
        """One round of a background task: waits a moment, then writes what was heard."""
        await self._clock.sleep(FLUSH_S)
        if self._unwritten:
            await self._write(self._journal.visible)

    @property
    def position(self) -> int:
        """All up to here was heard."""
        return self._journal.visible

    async def of_user(self, user_id: UserId) -> dict[RoomId, RoomFact]:
        """The facts of all rooms that a user is or was in. One query."""
        found = await room_facts.of_user(self._db, user_id)
        for room_id in found.keys() & self._heard.keys():
            found[room_id] = merged(found[room_id], self._heard[room_id])
        return found

    async def told(self, waiting: Collection[UserRoom]) -> dict[RoomId, RoomFact]:
        """The facts of rooms on other servers that a user is invited to or knocks at, by what was told with that.

        Rooms of which nothing was told are left out. One query for each 50 that aren't known yet.
        """
        missing = [entry.event_nid for entry in waiting if entry.event_nid not in self._told]
        found = {entry.event_nid: self._told[entry.event_nid] for entry in waiting if entry.event_nid in self._told}
        for at in range(0, len(missing), TOLD_AT_ONCE):
            some = missing[at : at + TOLD_AT_ONCE]
            stripped = await forks.stripped(self._db, some)
            found.update((nid, _described(nid, stripped[nid]) if nid in stripped else None) for nid in some)
        self._told.update((nid, found[nid]) for nid in missing)
        while len(self._told) > TOLD_MAX:
            self._told.popitem(last=False)
        facts = {entry.room_id: found[entry.event_nid] for entry in waiting}
        return {room_id: fact for room_id, fact in facts.items() if fact is not None}

    def heard(self, room_id: RoomId) -> RoomFact | None:
        """What was heard of a room since the start; its `bump` is 0 if there was no activity since."""
        return self._heard.get(room_id)

    def changed(self, since: int, among: Collection[RoomId]) -> list[RoomId] | None:
        """Those of these rooms that had events after `since`, the most lately active first.

        Costs as much as rooms of the server changed since, or as `among` has if those are fewer. None if memory doesn't
        reach back so far.
        """
        if since < self._floor:
            return None
        found: list[RoomId] = []
        for seen, (room_id, fact) in enumerate(reversed(self._heard.items())):
            if fact.newest <= since:
                return found
            if seen > len(among):
                return self._sorted(since, among)
            if room_id in among:
                found.append(room_id)
        return found

    def _sorted(self, since: int, among: Iterable[RoomId]) -> list[RoomId]:
        heard = self._heard
        found = [room_id for room_id in among if room_id in heard and heard[room_id].newest > since]
        return sorted(found, key=lambda room_id: heard[room_id].newest, reverse=True)

    def _hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            written = entry.payload
            # Events from before what was here already are no news.
            if isinstance(written, Written) and (written.stored.ordering or 0) > 0 and written.stored.is_for_people:
                self._take(written.room, written.event, written.stored.ordering or written.stored.nid)

    def _take(self, room: Room, event: Event, position: int) -> None:
        room_id = room.room_id
        known = self._heard.pop(room_id, None)
        fact = RoomFact(
            newest=position,
            bump=position if event.type in BUMPS else known.bump if known else 0,
            room_type=room.known_text("m.room.create", "type"),
            is_encrypted=room.known_state("m.room.encryption") is not None,
            retention_ms=_retention(event, known.retention_ms if known else None),
        )
        self._heard[room_id] = self._unwritten[room.nid] = fact
        if len(self._heard) > 2 * HEARD_MAX and not self._unwritten:
            self._forget()

    def _forget(self) -> None:
        """Drops the least active rooms, whose facts are written."""
        while len(self._heard) > HEARD_MAX:
            self._floor = self._heard.popitem(last=False)[1].newest

    async def _write(self, upto: int) -> None:
        batch, self._unwritten = self._unwritten, {}
        try:
            async with self._db.transaction() as tx:
                if batch:
                    await room_facts.upsert(tx, batch)
                await journal_cursors.advance(tx, room_facts.CONSUMER, upto)
        except BaseException:
            self._unwritten = {**batch, **self._unwritten}
            raise
        if not self._unwritten:
            self._forget()


def _described(nid: int, stripped: Sequence[Mapping[str, Any]]) -> RoomFact:
    """What the stripped state of an invite or a knock tells of its room."""
    state = {(event.get("type"), event.get("state_key")): event.get("content") for event in stripped}
    created = state.get(("m.room.create", ""))
    room_type = created.get("type") if isinstance(created, dict) else None
    return RoomFact(
        newest=nid,
        bump=nid,
        room_type=room_type if isinstance(room_type, str) else None,
        is_encrypted=("m.room.encryption", "") in state,
    )


def _retention(event: Event, before: int | None) -> int | None:
    """spec: MSC1763; what isn't a number of milliseconds above 0 is no wish."""
    if (event.type, event.state_key) != RETENTION:
        return before
    value = event.content.get("max_lifetime")
    return value if type(value) is int and 0 < value < 2**53 else 0


def merged(known: RoomFact, heard: RoomFact) -> RoomFact:
    """What was known, with what was heard since."""
    return RoomFact(heard.newest, heard.bump or known.bump, heard.room_type, heard.is_encrypted)
