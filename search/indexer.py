"""Keeps a tier: a durable consumer of the journal, never part of a write.

`hear` notes which events' words may have changed; a background task (or the next search) works out anew what each of
them says now and writes it. The cursor moves when the tier has it. Doing so twice ends in the same place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from homeserver.core.events import Event
from homeserver.core.identifiers import EventId
from homeserver.core.relations import REPLACE, relation_of
from homeserver.journal.journal import PURGED, Entry, Journal
from homeserver.rooms.building import PAST, Written
from homeserver.runtime.clock import Clock
from homeserver.storage import journal_cursors
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from search import storage
from search.documents import key_of
from search.reading import Said, concerned_by, read_events
from search.tiers import Document, Gone, Refused, Tier, TierFault, TierLost

log = structlog.get_logger()

# A search takes in what was heard before it looks, so this is what others wait for who are told; each costs a commit.
FLUSH_S = 1.0
# How long a search waits for what was said last: a slow tier makes answers partial, not slow.
FLUSH_PATIENCE_S = 2.0
# Events that are read from the database at once, and those that the journal brought whole: each write is a commit of
# the index, which costs some milliseconds, however much it holds.
BATCH, BATCH_FRESH = 500, 2_000
# Beyond so many that wait, what the journal brought is let go of, and read again.
FRESH_MAX = 5_000
RETRY_MAX_S = 60.0
# So many events of a backlog that a tier can't take are noted; beyond that it is read from the journal again.
NOTED_MAX = 50_000


class RenewableTier(Tier, Protocol):
    """A tier that is made anew when it was lost or damaged."""

    async def clear(self) -> None:
        """Empties it."""
        ...

    async def adopt(self) -> None:
        """From now on it counts as filled up to the cursor, which begins anew."""
        ...


@dataclass(frozen=True, slots=True)
class _Past:
    """What was said after a position, up to another; `span` is that position, and the end of all that is to be read."""

    span: tuple[int, int]
    upto: int
    said: Said


class Indexer:
    """Takes in what rooms say."""

    def __init__(self, db: Database, journal: Journal, clock: Clock, tier: RenewableTier, consumer: str) -> None:
        self._db = db
        self._journal = journal
        self._clock = clock
        self._tier = tier
        self._consumer = consumer
        # What was just written, where nothing else has changed it since; else it is read again.
        self._changed: dict[EventId, StoredEvent | None] = {}
        self._redacted: dict[int, None] = {}
        self._purged: dict[int, Gone] = {}
        self._letters = 0
        self._behind_since_ms: int | None = None
        self._heard = 0
        self._caught_up = 0
        self._catch_up_to = 0
        self._position = 0  # of the cursor
        self._failures = 0
        self._needs_mending = False
        self._writing = asyncio.Lock()
        # Who hears what was just written, before the cursor moves.
        self.followers: list[Callable[[Sequence[Document]], Awaitable[None]]] = []

    async def start(self, *, is_empty: bool) -> None:
        """Learns how far an earlier run came; `run` takes in what came since, beside the requests."""
        found = await journal_cursors.position(self._db, self._consumer)
        self._letters = await storage.count_letters(self._db, self._consumer)
        if is_empty or found is None:
            # Beside the requests: the tier may not be there yet.
            self._needs_mending = True
        self._caught_up = self._position = 0 if is_empty or found is None else found
        self._catch_up_to = self._heard = self._journal.visible
        self._journal.listen(self.hear)
        self._follow()

    @property
    def heard(self) -> int:
        """The journal's position up to which it knows what changed."""
        return self._heard

    @property
    def lag_s(self) -> float:
        """How old the oldest thing is that isn't in the tier."""
        if self._behind_since_ms is None or not (self._is_behind or self._has_noted):
            return 0.0
        return max(0.0, (self._clock.now_ms() - self._behind_since_ms) / 1000)

    @property
    def dead_letters(self) -> int:
        """How many events the tier won't take."""
        return self._letters

    @property
    def failures(self) -> int:
        """How many rounds failed since the last one that didn't."""
        return self._failures

    def failed(self, fault: TierFault) -> None:
        """A search found the tier failing. If it is lost, the next round empties it and fills it again."""
        self._needs_mending |= isinstance(fault, TierLost)

    async def run(self) -> None:
        """One round of a background task."""
        try:
            if self._needs_mending:
                await self._begin_anew()
                self._caught_up, self._catch_up_to = 0, self._heard
                self._needs_mending = False
            await self._catch_up()
            await self.flush()
            self._failures = 0
            self._behind_since_ms = None
        except TierFault as fault:
            self._failures += 1
            self.failed(fault)
            log.warning("search_index_behind", error=str(fault), failures=self._failures)
        await self._clock.sleep(min(RETRY_MAX_S, FLUSH_S * 2 ** min(self._failures, 10)))

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener."""
        for entry in entries:
            if isinstance(entry.payload, Written):
                self._note(entry.payload.event, entry.payload.stored)
                if entry.payload.redacts is not None:
                    self._note(entry.payload.redacts.event)
            elif entry.kind == PAST:
                for past in entry.payload:
                    self._note(past.event)
            elif entry.kind == "redacted":
                self._redacted.update(dict.fromkeys(entry.payload))
            elif entry.kind == PURGED:
                gone = entry.payload
                self._purged.update(
                    (nid, Gone(nid, gone.room_nid, entry.position, event_id, None))
                    for nid, event_id in zip(gone.event_nids, gone.event_ids, strict=True)
                )
            self._heard = entry.position
        if self._behind_since_ms is None and self._has_noted:
            self._behind_since_ms = self._clock.now_ms()
        if len(self._changed) > NOTED_MAX and not self._is_behind:
            self._caught_up, self._catch_up_to = self._written, self._heard
            self._changed.clear()

    async def flushed(self) -> bool:
        """Takes in all that was heard, unless the tier can't be written now: whether it did."""
        if self._failures or self._needs_mending:
            return False
        try:
            async with asyncio.timeout(FLUSH_PATIENCE_S):
                await self.flush()
        except (TierFault, TimeoutError):
            return False
        return not self._is_behind

    async def flush(self) -> None:
        """Takes in all that was heard, with the cursor. Raises TierFault."""
        # Who holds the lock may have taken some that aren't in the tier yet.
        if not self._has_noted and not self._writing.locked():
            return
        async with self._writing:
            while self._purged:
                gone = list(self._purged.values())[:BATCH]
                await self._tier.write((), gone)
                for one in gone:
                    del self._purged[one.event_nid]
            if self._redacted:
                nids = list(self._redacted)[:BATCH]
                for event_id in await storage.concerned(self._db, nids, ()):
                    self._changed[EventId(event_id)] = None
                for nid in nids:
                    del self._redacted[nid]
            while self._changed:
                heard, taken = self._heard, self._first_changed()
                is_last = len(taken) == len(self._changed) and not self._redacted
                for event_id in taken:
                    del self._changed[event_id]
                try:
                    await self._write(taken, heard)
                    if is_last and not self._is_behind:
                        await self._advance(heard)
                except BaseException:
                    self._changed.update(dict.fromkeys(taken))
                    raise

    @property
    def _is_behind(self) -> bool:
        return self._caught_up < self._catch_up_to

    @property
    def _written(self) -> int:
        """Nothing noted means that the tier has all of it."""
        return self._position if self._has_noted else self._heard

    @property
    def _has_noted(self) -> bool:
        return bool(self._changed or self._redacted or self._purged)

    def _first_changed(self) -> dict[EventId, StoredEvent | None]:
        """Those that are written next."""
        taken: dict[EventId, StoredEvent | None] = {}
        others = 0
        for event_id, stored in self._changed.items():
            others += stored is None
            if others > BATCH or len(taken) == BATCH_FRESH:
                break
            taken[event_id] = stored
        return taken

    def _note(self, event: Event, stored: StoredEvent | None = None) -> None:
        if key_of(event) is None:
            return
        relation = relation_of(event)
        if relation is not None and relation.rel_type == REPLACE:
            self._changed[relation.event_id] = None
        elif event.event_id in self._changed or len(self._changed) >= FRESH_MAX:
            self._changed[event.event_id] = None
        else:
            self._changed[event.event_id] = stored

    async def _begin_anew(self) -> None:
        # In this order: a crash between two of these steps begins anew once more.
        async with self._writing:
            await self._tier.clear()
            async with self._db.transaction() as tx:
                await storage.reset(tx, self._consumer)
            await self._tier.adopt()
            self._letters = self._position = 0

    async def _catch_up(self) -> None:
        """Writes the past, batch by batch; while a tier takes one, the next is read."""
        ahead: asyncio.Task[_Past] | None = None
        try:
            while self._is_behind:
                async with self._writing:
                    past = await ahead if ahead is not None else await self._past(self._caught_up, self._catch_up_to)
                    ahead = None
                    if past.span != (self._caught_up, self._catch_up_to):
                        continue  # another tier took this one's place meanwhile
                    if past.upto < self._catch_up_to:
                        ahead = asyncio.create_task(self._past(past.upto, self._catch_up_to))
                    await self._take(past.said)
                    await self._advance(past.upto)
                    self._caught_up = past.upto
        finally:
            if ahead is not None:
                ahead.cancel()

    async def _past(self, position: int, end: int) -> _Past:
        heard = self._heard
        nids = await storage.after(self._db, position, end, BATCH)
        said = await read_events(self._db, await concerned_by(self._db, nids), heard)
        return _Past((position, end), nids[-1] if len(nids) == BATCH else end, said)

    def repair(self, changed: Collection[EventId], gone: Collection[Gone]) -> None:
        """These are to be written again, those to be taken out."""
        self._changed.update(dict.fromkeys(changed))
        self._purged.update((one.event_nid, one) for one in gone)

    @property
    def is_level(self) -> bool:
        """Whether the tier has all that happened, but for what was noted a moment ago."""
        return not (self._is_behind or self._needs_mending or self._failures or self._writing.locked())

    @property
    def catches_up_to(self) -> int:
        """Where it stops to read the past: what came later it hears."""
        return self._catch_up_to

    async def succeed(self, successor: Indexer, switch: Callable[[], Awaitable[None]]) -> bool:
        """Goes on with the tier of another, which is no more, once that is level: whether it was.

        `switch` makes the new tier the one that this one writes to; both wait meanwhile.
        """
        async with self._writing:
            if not successor.is_level:
                return False
            await switch()
            self._journal.unlisten(successor.hear)
            self._journal.unfollow(self._consumer)
            self._consumer = successor._consumer
            self._position, self._letters = successor._position, successor._letters
            self._changed.update(successor._changed)
            self._redacted.update(successor._redacted)
            self._purged.update(successor._purged)
            self._caught_up = self._catch_up_to = 0
            self._needs_mending, self._failures = False, 0
            self._follow()
        return True

    def _follow(self) -> None:
        self._journal.follow(self._consumer, lambda: self._caught_up if self._is_behind else self._written)

    async def _advance(self, position: int) -> None:
        async with self._db.transaction() as tx:
            await journal_cursors.advance(tx, self._consumer, position)
        self._position = max(self._position, position)

    async def _write(self, changed: Mapping[EventId, StoredEvent | None], version: int) -> None:
        await self._take(await read_events(self._db, changed, version))

    async def _take(self, said: Said) -> None:
        refused = [*said.refused, *await self._tier.write(said.documents, said.gone)]
        await self._note_letters(said.event_ids, refused)
        for follower in self.followers:
            await follower([one for one in said.documents if not one.later])

    async def _note_letters(self, event_ids: Collection[str], refused: Sequence[Refused]) -> None:
        if not refused and not self._letters:
            return
        taken = set(event_ids) - {one.event_id for one in refused}
        async with self._db.transaction() as tx:
            await storage.note_letters(tx, self._consumer, taken, refused, self._clock.now_ms())
        self._letters = await storage.count_letters(self._db, self._consumer)
        for one in refused:
            log.warning("search_event_refused", event_id=one.event_id, reason=one.reason)
