"""What GET /members of a room of 100 costs: asked by HTTP, each time by somebody who just joined.

CPU time of the process, with what asking it takes and without the database's. "first" is the first request after
somebody joined, which works out the room's state anew; the others find it.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp

from bench.harness import report
from homeserver.runtime.logging import configure_logging
from tests.kit.postgres import running_postgres
from tests.kit.server import Client, RunningServer, config_for_tests, running_server

MEMBERS, NEWCOMERS, ROUNDS = 92, 8, 3
_CODINGS = ("identity", "gzip", "zstd")


async def _cpu_ms(session: aiohttp.ClientSession, url: str, client: Client, coding: str) -> float:
    headers = {"Authorization": f"Bearer {client.token}", "Accept-Encoding": coding}
    start = time.process_time()
    async with session.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        await response.read()
    return (time.process_time() - start) * 1e3


async def _round(server: RunningServer, session: aiohttp.ClientSession, number: int, coding: str) -> list[float]:
    owner = await server.user(f"owner{number}{coding}")
    room_id = await owner.create_room(preset="public_chat")
    for member in range(MEMBERS - 1):
        await (await server.user(f"m{number}{coding}{member}")).join(room_id)
    newcomers = [await server.user(f"n{number}{coding}{index}") for index in range(NEWCOMERS)]
    for newcomer in newcomers:
        await newcomer.join(room_id)
    url = f"{server.base_url}/_matrix/client/v3/rooms/{room_id}/members?membership=join"
    return [await _cpu_ms(session, url, newcomer, coding) for newcomer in newcomers]


async def _run() -> None:
    with running_postgres() as postgres, tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder:
        async with (
            postgres.fresh() as dsn,
            running_server(dsn, config=config_for_tests(Path(folder))) as server,
            aiohttp.ClientSession(auto_decompress=False) as session,
        ):
            await _round(server, session, 0, "warm")
            for coding in _CODINGS:
                rounds = [await _round(server, session, number, coding) for number in range(1, 1 + ROUNDS)]
                size = MEMBERS + NEWCOMERS
                name = f"GET /members, {coding}"
                report(f"{name}, first", size, statistics.median(asked[0] for asked in rounds), "ms")
                report(f"{name}, mean", size, statistics.fmean(one for asked in rounds for one in asked), "ms")


def run() -> None:
    configure_logging(level="warning")
    asyncio.run(_run())
