"""Builds the next generation of the index beside the one that answers, and puts it in its place.

What is asked for and how far it came is in the database, so that a restart goes on where it was. Both generations hear
the journal; the new one takes over when it has all that the old one has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from homeserver.journal.journal import Journal
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database
from search.hot.current import CurrentTier, Generational, Held
from search.indexer import Indexer
from search.tiers import TierFault
from search.upkeep import storage
from search.upkeep.storage import Generation

log = structlog.get_logger()

LOOK_S = 1.0
TIDY_EVERY_S = 600.0
REPAIRS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Engine:
    """What keeps the index: its name, and how one of its generations is opened and whether it was kept."""

    name: str
    open: Callable[[int, bool], Generational]

    def consumer(self, generation: int) -> str:
        """The name of its cursor."""
        base = "search" if self.name == "embedded" else f"search-{self.name}"
        return base if generation == 0 else f"{base}-{generation}"


class LiveIndex:
    """The index that answers, and what keeps it."""

    def __init__(self, tier: CurrentTier, indexer: Indexer) -> None:
        self.tier = tier
        self.indexer = indexer

    async def replace(self, tier: Generational, indexer: Indexer, switch: Callable[[], Awaitable[None]]) -> bool:
        """Puts another in its place, if that has all: whether it did. The old one is closed when nobody asks it."""

        old: list[Held] = []

        async def replaced() -> None:
            await switch()
            old.append(self.tier.replace(tier))

        if not await self.indexer.succeed(indexer, replaced):
            return False
        await old[0].idle()
        await old[0].tier.close()
        return True


class Tidiness:
    """A background task that keeps the index that answers small."""

    def __init__(self, clock: Clock, live: LiveIndex) -> None:
        self._clock = clock
        self._live = live

    async def run(self) -> None:
        """One round: not while it is filled."""
        await self._clock.sleep(TIDY_EVERY_S)
        try:
            if self._live.indexer.is_level and (months := await self._live.tier.tidy()):
                log.info("search_index_tidied", months=months)
        except TierFault as fault:
            log.warning("search_index_untidy", error=str(fault))


class Upkeep:
    """A background task that does what an operator asked for."""

    def __init__(self, db: Database, journal: Journal, clock: Clock, engine: Engine, live: LiveIndex) -> None:
        self._db = db
        self._journal = journal
        self._clock = clock
        self._engine = engine
        self._live = live
        self._building: tuple[int, Generational, Indexer] | None = None

    async def run(self) -> None:
        """One round."""
        try:
            if await storage.is_anything_wanted(self._db, self._engine.name) and await self._do():
                return
        except TierFault as fault:
            log.warning("search_upkeep_waits", error=str(fault))
        await self._clock.sleep(LOOK_S)

    async def _do(self) -> bool:
        """Whether a generation is being built, so that the next round follows at once."""
        await self._repair()
        for one in await storage.generations(self._db, self._engine.name):
            if one.state == "old":
                await self._remove(one.number)
            elif one.state in ("wanted", "building"):
                await self._build(one)
                return True
        return False

    async def close(self) -> None:
        """What was built so far stays."""
        if self._building is not None:
            await self._building[1].close()

    async def _repair(self) -> None:
        wanted = await storage.repairs(self._db, self._engine.name, REPAIRS_AT_ONCE)
        if not wanted:
            return
        indexer = self._live.indexer
        version = indexer.heard
        indexer.repair(storage.ids_of(wanted), [one.as_gone(version) for one in wanted if one.is_gone])
        await indexer.flush()
        async with self._db.transaction() as tx:
            await storage.repaired(tx, self._engine.name, [one.event_nid for one in wanted])
        log.info("search_index_repaired", events=len(wanted))

    async def _build(self, wanted: Generation) -> None:
        if self._building is None:
            self._building = await self._begun(wanted)
        number, tier, indexer = self._building
        await indexer.run()

        async def switch() -> None:
            # In this order: what fails in between is done again, and both answer the same.
            await tier.promote()
            async with self._db.transaction() as tx:
                await storage.enliven(tx, self._engine.name, number, self._clock.now_ms())

        if indexer.is_level and await self._live.replace(tier, indexer, switch):
            self._building = None
            log.info("search_index_replaced", generation=number)

    async def _begun(self, wanted: Generation) -> tuple[int, Generational, Indexer]:
        tier = self._engine.open(wanted.number, False)
        indexer = Indexer(self._db, self._journal, self._clock, tier, self._engine.consumer(wanted.number))
        await indexer.start(is_empty=not await tier.open())
        async with self._db.transaction() as tx:
            await storage.build(tx, self._engine.name, wanted.number, indexer.catches_up_to, self._clock.now_ms())
        return wanted.number, tier, indexer

    async def _remove(self, number: int) -> None:
        """What a newer one took the place of."""
        tier = self._engine.open(number, False)
        await tier.destroy()
        await tier.close()
        async with self._db.transaction() as tx:
            await storage.forget(tx, self._engine.name, number)
            await storage.forget_cursor(tx, self._engine.consumer(number))
