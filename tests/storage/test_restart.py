"""A server that is told to stop, and one whose database goes away: nothing acknowledged is lost, nothing doubled."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import aiohttp
import asyncpg
import pytest

from homeserver.runtime.clock import SystemClock
from homeserver.storage.embedded import EmbeddedPostgres
from tests.kit.acknowledged import Messages, OneTimeKeys, Receipts, ToDevice
from tests.kit.load import Caller, Kind, Load
from tests.kit.process import ServerProcess
from tests.kit.small_disk import fill, small_disk

pytestmark = pytest.mark.slow

SHUTDOWN_S = 3.0
# Far more than stopping takes, far less than what would hold it up.
PATIENCE_S = 60.0


def kinds() -> list[Kind]:
    first = Messages("u0")
    return [first, Messages("u1", first), OneTimeKeys(), ToDevice(), Receipts(first)]


@asynccontextmanager
async def under_load(server: ServerProcess) -> AsyncIterator[tuple[aiohttp.ClientSession, Load]]:
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            load = Load(server, session, kinds())
            await load.begin()
            yield session, load
            await load.end()
    finally:
        await server.stop()


async def long_poll(caller: Caller) -> int:
    """The status of a /sync that has nothing to tell and would wait for five minutes."""
    since = (await caller.call("GET", "/sync?timeout=0"))["next_batch"]
    return (await caller.attempt("GET", f"/sync?timeout=300000&since={since}", None, None))[0]


async def test_it_stops_in_good_order(folder: Path) -> None:
    """SIGTERM: who waits is answered, what runs ends, what was acknowledged stays; in time, and with exit code 0."""
    server = ServerProcess(folder, f"limits = {{shutdown_time_s = {SHUTDOWN_S}}}")
    async with under_load(server) as (session, load):
        waiting = await Caller(server, session).registered("waiting")
        poll = asyncio.create_task(long_poll(waiting))
        await server.run_for(0.5)
        code, seconds = await server.terminate()
        assert (code, seconds < PATIENCE_S) == (0, True), (seconds, server.log[-2000:])
        assert await poll == 200, "a long poll is answered, not cut"
        assert '"event":"request_failed"' not in server.log and "Traceback" not in server.log
        await server.start()
        await load.check()


async def test_it_stops_although_a_request_hangs(folder: Path) -> None:
    """SIGTERM: a request that takes longer than it may is ended."""
    server = ServerProcess(folder, "limits = {shutdown_time_s = 1.0, body_read_time_s = 600}")
    await server.start()
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        await writer.drain()
        await server.run_for(0.2)
        code, seconds = await server.terminate()
        assert (code, seconds < PATIENCE_S) == (0, True), seconds
        writer.close()
    finally:
        await server.stop()


@pytest.mark.parametrize("blow", [signal.SIGQUIT, signal.SIGKILL])
async def test_its_own_database_may_crash(folder: Path, blow: signal.Signals) -> None:
    """T-O6, T-O19: it is started again; requests wait or are told to come again, and go on."""
    server = ServerProcess(folder)
    async with under_load(server) as (_, load):
        for _ in range(2):
            await server.run_for(0.4)
            before = list(load.steps)
            server.hurt_database(blow)
            while any(now <= then + 1 for now, then in zip(load.steps, before, strict=True)):
                await server.run_for(0.1)
            await load.check()
        said = [json.loads(line)["event"] for line in server.log.splitlines() if line.startswith("{")]
        assert said.count("own_database_started_again") == 2
        assert "request_failed" not in said


async def readiness(session: aiohttp.ClientSession, server: ServerProcess) -> tuple[int, int]:
    found = []
    for path in ("/health", "/ready"):
        async with session.get(server.base_url + path) as answer:
            found.append(answer.status)
    return found[0], found[1]


async def test_a_database_of_the_operator_may_restart(folder: Path) -> None:
    """T-O6: `pg_ctl restart -m immediate` under load. Meanwhile the server lives, isn't ready, and recovers alone."""
    cluster = EmbeddedPostgres(folder / "cluster", SystemClock())
    dsn = await cluster.start()
    server = ServerProcess(folder, f'database = {{dsn = "{dsn}"}}')
    try:
        async with under_load(server) as (session, load):
            assert await readiness(session, server) == (200, 200)
            for blow in (signal.SIGQUIT, signal.SIGINT):
                await server.run_for(0.3)
                before = list(load.steps)
                await cluster.stop(blow)
                assert await readiness(session, server) == (200, 503)
                await server.run_for(0.5)
                assert await cluster.start() == dsn
                while any(now <= then + 1 for now, then in zip(load.steps, before, strict=True)):
                    await server.run_for(0.1)
                assert await readiness(session, server) == (200, 200)
                await load.check()
    finally:
        await cluster.stop()


@pytest.mark.root
async def test_a_full_disk_under_the_events(folder: Path) -> None:
    """T-O12: the table of events lies on a disk that is really full: writes are refused, reads go on, it recovers."""
    cluster = EmbeddedPostgres(folder / "cluster", SystemClock())
    dsn = await cluster.start()
    server = ServerProcess(folder, f'database = {{dsn = "{dsn}"}}')
    with small_disk(folder / "small", 8 * 1024) as disk:
        try:
            await server.start()
            await execute(dsn, f"CREATE TABLESPACE small LOCATION '{disk}'")
            await execute(dsn, "ALTER TABLE events SET TABLESPACE small")
            async with aiohttp.ClientSession() as session:
                messages = Messages("u0")
                await messages.begin(Caller(server, session))
                await messages.step(0)
                filler = fill(disk)
                path = f"/rooms/{quote(messages.room_id)}/send/m.room.message"
                statuses = [
                    (await messages.me.attempt("PUT", f"{path}/big{number}", {"body": "x" * 30_000}, None))[0]
                    for number in range(20)
                ]
                assert set(statuses) <= {200, 503} and statuses[-1] == 503, statuses
                assert len(await messages.history()) >= 1, "reads go on"
                filler.unlink()
                for number in range(20):
                    assert (await messages.me.answer("PUT", f"{path}/big{number}", {"body": "x" * 30_000}))[0] == 200
                found = [event["event_id"] for event in await messages.history()]
                assert len(found) == len(set(found)) == 21
        finally:
            await server.stop()
            await cluster.stop()


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
