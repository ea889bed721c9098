"""What sliding sync costs this process: a first window of 20 rooms, nothing new, a message told to many members.

The production composition on a real database, asked without HTTP. CPU time of the process, the database's not counted.
"cold" is the first request of a user since the server started, "warm" a new connection after that.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import orjson

from bench.harness import report
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.runtime.logging import configure_logging
from homeserver.sync.sliding.request import SlidingBody
from homeserver.sync.sliding.service import SlidingSync, SlidingWish
from tests.kit.postgres import running_postgres
from tests.kit.server import Client, RunningServer, config_for_tests, running_server

SIZES, MEMBERS, ROUNDS, AT_ONCE = (100, 2_000, 10_000), 100, 20, 8
STATE = [["m.room.create", ""], ["m.room.name", ""], ["m.room.encryption", ""], ["m.room.member", "$LAZY"]]


def _body(conn_id: str) -> SlidingBody:
    window = {
        "ranges": [[0, 19]],
        "timeline_limit": 10,
        "required_state": STATE,
        "filters": {"not_room_types": ["m.space"]},
    }
    return msgspec.convert({"conn_id": conn_id, "lists": {"main": window}}, SlidingBody)


async def _ask(service: SlidingSync, client: Client, conn_id: str, pos: str | None = None) -> dict[str, Any]:
    wish = SlidingWish(pos=pos, timeout_ms=0, set_presence="offline")
    answer = await service.sync(UserId(client.user_id), DeviceId(client.device_id), _body(conn_id), wish)
    found: dict[str, Any] = orjson.loads(answer)
    return found


async def _cpu_ms(work: Callable[[], Awaitable[object]]) -> float:
    start = time.process_time()
    await work()
    return (time.process_time() - start) * 1e3


async def _rooms(client: Client, count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        made = [client.create_room(preset="public_chat", name=f"r{n}") for n in range(min(AT_ONCE, count - len(found)))]
        found += await asyncio.gather(*made)
    return found


async def _windows(server: RunningServer, clients: dict[int, Client]) -> None:
    service = server.hansa.sliding_sync
    for count, client in clients.items():
        cold = await _cpu_ms(lambda client=client: _ask(service, client, "cold"))  # type: ignore[misc]
        report("sliding sync: first window, cold, ms of CPU", count, cold, "ms")
        warm = [
            await _cpu_ms(lambda client=client, n=n: _ask(service, client, f"w{n % 10}"))  # type: ignore[misc]
            for n in range(ROUNDS)
        ]
        report("sliding sync: first window, warm, median ms of CPU", count, statistics.median(warm), "ms")
        pos = (await _ask(service, client, "quiet"))["pos"]
        quiet = [
            await _cpu_ms(lambda client=client, pos=pos: _ask(service, client, "quiet", pos))  # type: ignore[misc]
            for _ in range(10 * ROUNDS)
        ]
        report("sliding sync: nothing new", count, statistics.median(quiet) * 1e3, "µs")


async def _deliveries(server: RunningServer, sender: Client, room_id: str) -> None:
    service = server.hansa.sliding_sync
    members = [await server.user(f"m{number}") for number in range(MEMBERS)]
    positions: dict[Client, str] = {}
    for member in members:
        await member.join(room_id)
    for member in members:
        positions[member] = (await _ask(service, member, "main"))["pos"]
    delivered = []
    for _ in range(ROUNDS):
        await sender.send(room_id)
        start = time.process_time()
        for member in members:
            answer = await _ask(service, member, "main", positions[member])
            assert answer["rooms"][room_id]["timeline"]
            positions[member] = answer["pos"]
        delivered.append((time.process_time() - start) / MEMBERS * 1e6)
    report("sliding sync: one message, each member", MEMBERS, statistics.median(delivered), "µs")


async def _measure(dsn: str, folder: Path) -> None:
    config = config_for_tests(folder)
    clients: dict[int, Client] = {}
    rooms: list[str] = []
    async with running_server(dsn, config=config) as server:
        for count in SIZES:
            clients[count] = await server.user(f"u{count}")
            rooms = await _rooms(clients[count], count)
            for room_id in rooms[-20:]:
                for _ in range(10):
                    await clients[count].send(room_id)
    async with running_server(dsn, config=config) as server:
        await _windows(server, clients)
        sender = await server.user("sender")
        await _deliveries(server, sender, await sender.create_room(preset="public_chat"))


async def _run() -> None:
    with running_postgres() as postgres, tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder:
        async with postgres.fresh() as dsn:
            await _measure(dsn, Path(folder))


def run() -> None:
    configure_logging(level="warning")
    asyncio.run(_run())
