"""Compares the index with the database, and asks for what is wrong to be put right.

First by sums, for each room and month of receipt; then, where those differ, event by event, and again a moment later:
what was said meanwhile is no damage.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from homeserver.runtime.clock import Clock
from homeserver.storage import journal_cursors
from homeserver.storage.database import Database
from search import storage as letters
from search.hot.months import month_of
from search.reading import concerned_by, read_events
from search.storage import after
from search.tiers import Document
from search.upkeep import storage
from search.upkeep.counting import Census, CountedTier, Held, Tally
from search.upkeep.rebuilding import Engine
from search.upkeep.storage import Repair

BATCH = 1_000
LOOKS = 3
LOOK_S = 1.0
LETTERS_MAX = 100_000
Seen = Callable[[int, int], None]
Kept = TypeVar("Kept", Held, Document)


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong in one room's month: events that are missing, that say something else, that shouldn't be there."""

    month: str
    room_id: str
    missing: int
    wrong: int
    surplus: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one comparison. `repairs` are what would put it right."""

    groups: int
    events: int
    damages: list[Damage]
    repairs: list[Repair]


class Verification:
    """Of the generation that answers."""

    def __init__(
        self,
        db: Database,
        engine: Engine,
        clock: Clock,
        open_tier: Callable[[int], CountedTier],
        without_archived: Callable[[Sequence[Document]], Awaitable[Sequence[Document]]] | None = None,
    ) -> None:
        self._db = db
        self._engine = engine
        self._clock = clock
        self._open_tier = open_tier
        self._without_archived = without_archived

    async def compare(self, seen: Seen) -> Verdict:
        """Reads all of it; `seen` hears how far it is. Raises TierFault."""
        number = storage.live_number(await storage.generations(self._db, self._engine.name))
        consumer = self._engine.consumer(number)
        upto = await journal_cursors.position(self._db, consumer) or 0
        refused = frozenset(event_id for event_id, _, _ in await letters.letters(self._db, consumer, LETTERS_MAX))
        expected = await self._expected(upto, refused, seen)
        census = await self._census(number)
        suspects = {group for group in expected.keys() | census.keys() if expected.get(group) != census.get(group)}
        damages: list[Damage] = []
        repairs: list[Repair] = []
        for look in range(LOOKS):
            if look and suspects:
                await self._clock.sleep(LOOK_S)
            damages, repairs, suspects = await self._closely(number, suspects, refused, upto)
        return Verdict(
            len(expected.keys() | census.keys()), sum(one.documents for one in expected.values()), damages, repairs
        )

    async def ask_for(self, repairs: list[Repair]) -> None:
        """The server does it; at its start, if it doesn't run."""
        async with self._db.transaction() as tx:
            await storage.note_repairs(tx, self._engine.name, repairs)

    async def waiting(self) -> int:
        """How many repairs the server hasn't done yet."""
        return await storage.count_repairs(self._db, self._engine.name)

    async def _census(self, number: int) -> Census:
        tier = self._open_tier(number)
        try:
            return await tier.census() if await tier.open() else {}
        finally:
            await tier.close()

    async def _expected(self, upto: int, refused: frozenset[str], seen: Seen) -> dict[tuple[str, int], Tally]:
        tallies: dict[tuple[str, int], Tally] = {}
        position = 0
        while nids := await after(self._db, position, upto, BATCH):
            position, asked = nids[-1], frozenset(nids)
            for document in await self._said(nids, refused):
                # An edit leads to its original as well: each is counted where it stands itself.
                if document.event_nid in asked:
                    group = month_of(document.received_ms), document.room_nid
                    tallies[group] = tallies.get(group, Tally(0, 0)).plus(document.checksum)
            seen(position, upto)
        return tallies

    async def _closely(
        self, number: int, suspects: set[tuple[str, int]], refused: frozenset[str], upto: int
    ) -> tuple[list[Damage], list[Repair], set[tuple[str, int]]]:
        """What is wrong in these groups; which of them have anything wrong."""
        damages: list[Damage] = []
        repairs: list[Repair] = []
        rooms = await storage.room_ids(self._db, {room for _, room in suspects})
        tier = self._open_tier(number)
        try:
            is_there = await tier.open()
            for month, room in sorted(suspects):
                held = _by_event(await tier.held(month, room) if is_there else (), upto)
                wanted = _by_event([one async for one in self._of_group(month, room, refused)], upto)
                missing = [ones[0] for nid, ones in wanted.items() if nid not in held]
                wrong = [ones[0] for nid, ones in wanted.items() if nid in held and _differ(held[nid], ones)]
                surplus = [ones[0] for nid, ones in held.items() if nid not in wanted]
                if missing or wrong or surplus:
                    damages.append(Damage(month, rooms.get(room, ""), len(missing), len(wrong), len(surplus)))
                repairs += [Repair(one.event_nid, room, one.event_id, False) for one in (*missing, *wrong)]
                repairs += [Repair(one.event_nid, room, one.event_id, True) for one in surplus]
        finally:
            await tier.close()
        return damages, repairs, suspects if damages else set()

    async def _of_group(self, month: str, room_nid: int, refused: frozenset[str]) -> AsyncIterator[Document]:
        position = 0
        while nids := await storage.of_room(self._db, room_nid, position, BATCH):
            position = nids[-1]
            for document in await self._said(nids, refused):
                if month_of(document.received_ms) == month:
                    yield document

    async def _said(self, nids: list[int], refused: frozenset[str]) -> list[Document]:
        said = await read_events(self._db, await concerned_by(self._db, nids), 0)
        documents = said.documents
        if self._without_archived is not None:
            documents = await self._without_archived(documents)
        return [one for one in documents if one.event_id not in refused]


def _by_event(kept: Sequence[Kept], upto: int) -> dict[int, list[Kept]]:
    """Each event's. What came after the comparison began is on its way."""
    found: dict[int, list[Kept]] = {}
    for one in kept:
        if one.event_nid <= upto:
            found.setdefault(one.event_nid, []).append(one)
    return found


def _differ(held: Sequence[Held], wanted: Sequence[Document]) -> bool:
    return sorted(one.checksum for one in held) != sorted(one.checksum for one in wanted)
