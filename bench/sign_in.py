"""What registration and login cost, by HTTP.

CPU time of the process, with what asking it takes and without the database's. The password hash is the cheapest that
there is, about 20 µs.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.harness import report
from homeserver.runtime.logging import configure_logging
from tests.kit.postgres import running_postgres
from tests.kit.server import config_for_tests, running_server

USERS = 40


async def _cpu_ms(work: Callable[[], Awaitable[object]]) -> float:
    start = time.process_time()
    await work()
    return (time.process_time() - start) * 1e3


async def _sign_in(dsn: str, folder: Path) -> None:
    async with running_server(dsn, config=config_for_tests(folder)) as server:
        await server.user("warm")
        registered = [await _cpu_ms(lambda n=n: server.user(f"u{n}")) for n in range(USERS)]  # type: ignore[misc]
        report("registration, median", USERS, statistics.median(registered), "ms")
        logged_in = [await _cpu_ms(lambda n=n: server.login(f"u{n}")) for n in range(USERS)]  # type: ignore[misc]
        report("login, median", USERS, statistics.median(logged_in), "ms")


async def _run() -> None:
    with running_postgres() as postgres, tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder:
        async with postgres.fresh() as dsn:
            await _sign_in(dsn, Path(folder))


def run() -> None:
    configure_logging(level="warning")
    asyncio.run(_run())
