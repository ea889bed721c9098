"""The search's index as an operator looks after it. The running server does the work; this asks for it and watches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from homeserver.assembly.archive import archive_reader
from homeserver.assembly.search import engine_of, readers_of
from homeserver.config import Config
from homeserver.operator.database import connected
from homeserver.runtime.clock import Clock
from homeserver.runtime.progress import Progress
from search.upkeep import storage
from search.upkeep.status import IndexStatus, built, status_of
from search.upkeep.verifying import Verdict, Verification

LOOK_S = 0.5
# A server that runs begins within seconds.
SERVER_WAIT_S = 15.0
REPAIR_WAIT_S = 120.0


class NoServer(Exception):
    """Nobody does what was asked for. It is done when the server starts."""


async def index_status(config: Config, clock: Clock) -> IndexStatus:
    async with connected(config, clock) as db:
        engine = engine_of(config)
        number = storage.live_number(await storage.generations(db, engine.name))
        tier = readers_of(config)(number)
        try:
            await tier.open()
            return await status_of(db, engine, tier)
        finally:
            await tier.close()


async def reindex(config: Config, clock: Clock, progress: Progress) -> None:
    """Asks for a new index and watches until it answers. Raises NoServer. Who stops to watch stops nothing."""
    async with connected(config, clock) as db:
        engine = engine_of(config)
        async with db.transaction() as tx:
            await storage.want(tx, engine.name, clock.now_ms())
        waited_s = 0.0
        while (part := await built(db, engine)) is not None:
            coming = [one.state for one in await storage.generations(db, engine.name)]
            if "wanted" in coming and waited_s >= SERVER_WAIT_S:
                raise NoServer
            progress("building the index", int(part * 999), 1_000)
            await clock.sleep(LOOK_S)
            waited_s += LOOK_S
        progress("building the index", 1_000, 1_000)


@asynccontextmanager
async def verification(config: Config, clock: Clock) -> AsyncIterator[Verification]:
    async with connected(config, clock) as db, archive_reader(config, db, clock) as cold:
        yield Verification(db, engine_of(config), clock, readers_of(config), cold.without_kept)


async def verify(config: Config, clock: Clock, progress: Progress, *, repairs: bool) -> tuple[Verdict, Verdict | None]:
    """What is wrong; with `repairs`, what is still wrong after the server put it right. Raises NoServer, TierFault."""
    async with verification(config, clock) as comparing:
        found = await comparing.compare(lambda done, total: progress("comparing", done, max(total, 1)))
        if not repairs or not found.repairs:
            return found, None
        await comparing.ask_for(found.repairs)
        waited_s = 0.0
        while left := await comparing.waiting():
            if waited_s >= (SERVER_WAIT_S if left == len(found.repairs) else REPAIR_WAIT_S):
                raise NoServer
            await clock.sleep(LOOK_S)
            waited_s += LOOK_S
        return found, await comparing.compare(lambda done, total: progress("comparing again", done, max(total, 1)))
