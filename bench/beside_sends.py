"""What a send costs beside itself: the decision whom to notify, and telling an application service.

Servers of the production composition in this process, each with a database of its own, do the same sends by HTTP in
turns; what is added is the difference of what two of them need in their best turns, which is what others on the machine
disturb least. CPU time of the process and of PostgreSQL.
The application service is another process. What a push gateway is told isn't counted: it can't be reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

from bench.harness import report
from homeserver.runtime.logging import configure_logging
from tests.kit.bridge import BridgeForTests
from tests.kit.listening import listening
from tests.kit.postgres import PostgresForTests, running_postgres
from tests.kit.push_gateway import PushGateway
from tests.kit.server import RunningServer, config_for_tests, running_server

ROUNDS, BEST, SENDS, ALONE, AFTER_S = 24, 6, 20, 4, 0.06
MESSAGE = b'{"msgtype":"m.text","body":"a message as people write them, more or less"}'


class Cpu:
    """CPU time of this process and of a PostgreSQL's, in ms."""

    def __init__(self, postgres: PostgresForTests) -> None:
        self._postmaster = int((postgres.folder / "postmaster.pid").read_text().splitlines()[0])

    def ms(self) -> float:
        return time.process_time() * 1e3 + self._database_ns() / 1e6

    def _database_ns(self) -> int:
        """Of those that run: none ends while this is measured."""
        spent = 0
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                pid = int(folder.name)
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if self._postmaster in (pid, parent):
                    spent += int((folder / "schedstat").read_text().split()[0])
        return spent


@dataclass(slots=True)
class Variant:
    """A server whose sends are measured."""

    server: RunningServer
    session: aiohttp.ClientSession
    url: str
    sent: int = 0

    async def send(self) -> None:
        self.sent += 1
        async with self.session.put(f"{self.url}{self.sent}", data=MESSAGE) as answer:
            assert answer.status == 200
            await answer.read()

    async def send_ms(self, cpu: Cpu, at_once: int) -> float:
        """Of each of some sends, with what was still under way of them."""
        before = cpu.ms()
        for _ in range(SENDS // at_once):
            await asyncio.gather(*(self.send() for _ in range(at_once)))
        await asyncio.sleep(AFTER_S)
        return (cpu.ms() - before) / SENDS

    async def send_alone_ms(self, cpu: Cpu) -> float:
        """Of each of some sends that come slowly, so that nothing is done for several of them."""
        before = cpu.ms()
        for _ in range(ALONE):
            await self.send()
            await asyncio.sleep(AFTER_S)
        return (cpu.ms() - before) / ALONE


@contextlib.asynccontextmanager
async def _variant(postgres: PostgresForTests, *, files: list[Path], pusher: bool = False) -> AsyncIterator[Variant]:
    paths = ", ".join(f'"{path}"' for path in files)
    toml = f"[appservices]\nregistration_paths = [{paths}]\n"
    with tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder:
        config = config_for_tests(Path(folder), toml)
        async with postgres.fresh() as dsn, running_server(dsn, config=config) as server:
            sender, reader = await server.user("sender"), await server.user("reader")
            room_id = await sender.create_room(preset="public_chat")
            await reader.join(room_id)
            if pusher:
                gateway = PushGateway()
                gateway.port = 1
                (await reader.post("/pushers/set", body=gateway.pusher())).ok()
            headers = {"Authorization": f"Bearer {sender.token}"}
            async with aiohttp.ClientSession(headers=headers) as session:
                url = f"{server.base_url}/_matrix/client/v3/rooms/{room_id}/send/m.room.message/"
                variant = Variant(server, session, url)
                for _ in range(100):
                    await variant.send()
                yield variant


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


@contextlib.contextmanager
def running_service() -> Iterator[int]:
    """An application service in a process of its own; its port."""
    ours, theirs = multiprocessing.Pipe()
    service = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    service.start()
    try:
        yield ours.recv()
    finally:
        service.terminate()
        service.join()


async def _measure(cpu: Cpu, undecided: Variant, plain: Variant, pushed: Variant, told: Variant) -> None:
    gc.collect()
    gc.freeze()
    gc.disable()
    unread = undecided.server.hansa.live.unread
    undecided.server.hansa.rooms.journal.unlisten(unread.hear)
    variants = (undecided, plain, pushed, told)
    for at_once in (1, 10):
        costs = [[await variant.send_ms(cpu, at_once) for variant in variants] for _ in range(ROUNDS)]
        named = f"{at_once} at once"
        report(f"a send, {named}", SENDS, min(plain for _, plain, _, _ in costs), "ms")
        _report(f"deciding whom to notify adds, {named}", [(pushed, bare) for bare, _, pushed, _ in costs])
        _report(f"an application service adds, {named}", [(told, plain) for _, plain, _, told in costs])
    alone = [(await told.send_alone_ms(cpu), await plain.send_alone_ms(cpu)) for _ in range(ROUNDS // 3)]
    _report("a transaction for each message adds", alone)


def _report(name: str, pairs: list[tuple[float, float]]) -> None:
    best, other = (statistics.mean(sorted(side)[:BEST]) for side in zip(*pairs, strict=True))
    report(name, SENDS, (best - other) * 1e3, "µs")


async def _run(port: int) -> None:
    bridge = BridgeForTests()
    bridge.port = port
    with running_postgres() as postgres, tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder:
        everybody = {"users": [{"exclusive": False, "regex": "@.*"}], "aliases": [], "rooms": []}
        file = bridge.register(Path(folder), namespaces=everybody)
        async with (
            _variant(postgres, files=[]) as undecided,
            _variant(postgres, files=[]) as plain,
            _variant(postgres, files=[], pusher=True) as pushed,
            _variant(postgres, files=[file]) as told,
        ):
            await _measure(Cpu(postgres), undecided, plain, pushed, told)


def run() -> None:
    configure_logging(level="error")
    with running_service() as port:
        uvloop.run(_run(port))
