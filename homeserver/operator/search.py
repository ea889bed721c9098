"""The search's index as an operator looks after it. The running server does the work; this asks for it and watches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from homeserver.assembly.archive import archive_reader
from homeserver.assembly.search import engine_of, readers_of
from homeserver.config import Config
from homeserver.operator import archive
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


@dataclass(frozen=True, slots=True)
class Verified:
    """What was wrong in the index; what still is after it was put right (None: nothing had to be); and of the archive
    what `hansa archive verify` says, where there is one and it was asked."""

    found: Verdict
    left: Verdict | None
    archive: Mapping[str, Any] | None


async def verify(config: Config, clock: Clock, progress: Progress, *, repairs: bool) -> Verified:
    """Compares; with `repairs`, the server puts right what is wrong, the archive first. Raises NoServer, TierFault."""
    archived: Mapping[str, Any] | None = None
    if repairs and await archive.status(config, clock):
        try:
            archived = (await archive.do(config, clock, progress, "verify")).result
        except archive.NobodyWorks:
            raise NoServer from None
    found, left = await _compared(config, clock, progress, repairs=repairs)
    return Verified(found, left, archived)


async def _compared(
    config: Config, clock: Clock, progress: Progress, *, repairs: bool
) -> tuple[Verdict, Verdict | None]:
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
