"""How much a room's states take on disk, and how long it takes to read any of them, as the room grows.

A room of n state events: one in five replaces a key, the rest are new members. Each size has a table of its own size.
"""

from __future__ import annotations

import asyncio
import random

from bench.harness import report
from homeserver.runtime.clock import SystemClock
from homeserver.storage import states
from homeserver.storage.database import Database
from homeserver.storage.states import Line, StateRow, first_line
from tests.kit.postgres import running_postgres

SIZES = (1_000, 10_000, 100_000)
READS = 30
_SIZE = "SELECT pg_total_relation_size('states')"


async def fill(db: Database, size: int, chance: random.Random) -> None:
    """Writes the states 1…size as the room writer does, a thousand a transaction."""
    line: Line | None = None
    rows: list[StateRow] = []
    for nid in range(1, size + 1):
        change = {chance.randrange(1, max(2, nid)) if nid % 5 == 0 else nid: nid}
        line = line.next(nid, change) if line else first_line(nid, change)
        rows.append(line.rows[0])
        if len(rows) == 1_000 or nid == size:
            async with db.transaction() as tx:
                await states.insert(tx, rows)
            rows = []


async def measure_size(db: Database, size: int) -> None:
    chance, clock = random.Random(size), SystemClock()
    before = await db.fetchval(_SIZE)
    started = clock.monotonic_s()
    await fill(db, size, chance)
    report("state: write, µs a state event", size, (clock.monotonic_s() - started) / size * 1e6, "µs")
    report("state: bytes on disk a state event", size, (await db.fetchval(_SIZE) - before) / size, "B")
    taken = []
    for nid in [size, *(chance.randrange(1, size + 1) for _ in range(READS))]:
        started = clock.monotonic_s()
        line = (await states.lines(db, [nid]))[nid]
        line.state()
        taken.append((clock.monotonic_s() - started) * 1e3)
    report("state: load a past state, median ms", size, sorted(taken)[len(taken) // 2], "ms")
    report("state: load a past state, slowest ms", size, max(taken), "ms")


def run() -> None:
    """One database for each size."""

    async def all_sizes() -> None:
        for size in SIZES:
            async with server.fresh() as dsn:
                db = await Database.connect(dsn, size_min=1, size_max=1)
                await measure_size(db, size)
                await db.close()

    with running_postgres() as server:
        asyncio.run(all_sizes())
