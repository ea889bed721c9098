"""What /sync costs this process: nothing new, one message told to each member of a room, a first sync of many rooms.

The production composition on a real database, asked without HTTP. CPU time of the process, the database's not counted.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.harness import report
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.runtime.logging import configure_logging
from homeserver.sync.service import SyncService, SyncWish
from tests.kit.postgres import running_postgres
from tests.kit.server import Client, config_for_tests, running_server

ROOMS, MEMBERS, ROUNDS = 100, 30, 20


async def _ask(service: SyncService, client: Client, since: str | None = None) -> str:
    """One answer's next_batch."""
    wish = SyncWish(since=since, set_presence="offline")
    answer = await service.sync(UserId(client.user_id), DeviceId(client.device_id), wish)
    return answer.rsplit(b'"next_batch":"', 1)[1].split(b'"', 1)[0].decode()


async def _cpu_ms(work: Callable[[], Awaitable[object]]) -> float:
    start = time.process_time()
    await work()
    return (time.process_time() - start) * 1e3


async def _measure(dsn: str, folder: Path) -> None:
    async with running_server(dsn, config=config_for_tests(folder)) as server:
        service = server.hansa.sync.service
        clients = [await server.user(f"u{number}") for number in range(MEMBERS)]
        first, others = clients[0], clients[1:]
        room_ids = [await first.create_room(preset="public_chat", name=f"r{number}") for number in range(ROOMS)]
        for room_id in room_ids:
            for _ in range(10):
                await first.send(room_id)
        initial = [await _cpu_ms(lambda: _ask(service, first)) for _ in range(ROUNDS)]
        report("sync: first, median ms of CPU", ROOMS, statistics.median(initial), "ms")
        report("sync: first, the very first time", ROOMS, initial[0], "ms")

        tokens = {first: await _ask(service, first)}
        quiet = [await _cpu_ms(lambda: _ask(service, first, tokens[first])) for _ in range(10 * ROUNDS)]
        report("sync: nothing new", ROOMS, statistics.median(quiet) * 1e3, "µs")

        for other in others:
            await other.join(room_ids[0])
        for client in clients:
            tokens[client] = await _ask(service, client)
        delivered = []
        for _ in range(ROUNDS):
            await first.send(room_ids[0])
            start = time.process_time()
            for client in clients:
                tokens[client] = await _ask(service, client, tokens[client])
            delivered.append((time.process_time() - start) / MEMBERS * 1e6)
        report("sync: one message, each member", MEMBERS, statistics.median(delivered), "µs")


async def _run() -> None:
    with running_postgres() as postgres, tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder:
        async with postgres.fresh() as dsn:
            await _measure(dsn, Path(folder))


def run() -> None:
    configure_logging(level="warning")
    asyncio.run(_run())
