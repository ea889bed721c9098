"""What registration, login and telling an application service cost, by HTTP.

CPU time of the process, with what asking it takes and without the database's. The password hash is the cheapest that
there is, about 20 µs. The application service is another process; what it adds is the difference to the same sends
without it, one after the other (a transaction for each) and ten at once (a transaction for some).
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

from aiohttp import web

from bench.harness import report
from homeserver.runtime.logging import configure_logging
from tests.kit.bridge import BridgeForTests
from tests.kit.listening import listening
from tests.kit.postgres import PostgresForTests, running_postgres
from tests.kit.server import Client, config_for_tests, running_server

USERS, SENDS, SETTLE_S = 40, 200, 2.0


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


async def _sends_ms(client: Client, room_id: str, at_once: int) -> float:
    """Of each message, with what was still under way of it after the last."""

    async def work() -> None:
        for _ in range(SENDS // at_once):
            await asyncio.gather(*(client.send(room_id) for _ in range(at_once)))
        await asyncio.sleep(SETTLE_S)

    return await _cpu_ms(work) / SENDS


async def _sends(dsn: str, folder: Path, registrations: list[Path]) -> dict[int, float]:
    paths = ", ".join(f'"{path}"' for path in registrations)
    toml = f"[appservices]\nregistration_paths = [{paths}]\n"
    async with running_server(dsn, config=config_for_tests(folder, toml)) as server:
        client = await server.user("sender")
        room_id = await client.create_room(preset="public_chat")
        await _sends_ms(client, room_id, 10)
        return {at_once: await _sends_ms(client, room_id, at_once) for at_once in (1, 10)}


def _serve(ready: Connection) -> None:
    """The application service: takes every transaction."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({})

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", take)
        async with listening(app) as port:
            ready.send(port)
            await asyncio.Event().wait()

    asyncio.run(serve())


async def _appservices(postgres: PostgresForTests, folder: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    service = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    service.start()
    try:
        bridge = BridgeForTests()
        bridge.port = await asyncio.to_thread(ours.recv)
        everybody = {"users": [{"exclusive": False, "regex": "@.*"}], "aliases": [], "rooms": []}
        file = bridge.register(folder, namespaces=everybody)
        async with postgres.fresh() as without, postgres.fresh() as with_it:
            plain = await _sends(without, folder, [])
            told = await _sends(with_it, folder, [file])
    finally:
        service.terminate()
        service.join()
    for at_once, cost in told.items():
        report(f"a send, {at_once} at once", SENDS, plain[at_once], "ms")
        report(f"an application service adds, {at_once} at once", SENDS, cost - plain[at_once], "ms")


async def _run() -> None:
    with running_postgres() as postgres, tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder:
        async with postgres.fresh() as dsn:
            await _sign_in(dsn, Path(folder))
        await _appservices(postgres, Path(folder))


def run() -> None:
    configure_logging(level="warning")
    asyncio.run(_run())
