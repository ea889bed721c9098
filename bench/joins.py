"""What it costs that a user of this server joins a public room of it: in requests one after the other, by HTTP.

The server is a process of its own; its CPU time and that of PostgreSQL are told apart. Each joins a room for the first
time, as whoever has just registered. The mean has what the server does afterwards too (the directory, overviews).
`BENCH_SQL=1` counts the statements of a join, by what asked for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import asyncpg
import uvloop

from bench.harness import report
from homeserver.runtime.logging import configure_logging
from tests.kit.postgres import PostgresForTests, running_postgres
from tests.kit.server import Client, config_for_tests, running_server

SIZES, WARM, BLOCKS, BLOCK, SETTLE_S = (50, 500), 20, 16, 20, 2.5
JOINS = BLOCKS * BLOCK


def _threads_ms(pid: int) -> float:
    """CPU time of a process's threads."""
    spent = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            spent += int((thread / "schedstat").read_text().split()[0])
    return spent / 1e6


def _children_ms(postmaster: int) -> float:
    """CPU time of a PostgreSQL's processes: none ends while this is measured."""
    spent = 0.0
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(folder.name)
            if postmaster in (pid, int((folder / "stat").read_text().rpartition(")")[2].split()[1])):
                spent += _threads_ms(pid)
    return spent


def _serve(dsn: str, pipe: Connection) -> None:
    """The server: says where it is, and answers each line of the pipe with the statements since the last."""
    configure_logging(level="error")

    async def serve() -> None:
        with tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder:
            async with running_server(dsn, config=config_for_tests(Path(folder))) as server:
                asked: Counter[str] = Counter()
                if os.environ.get("BENCH_SQL"):
                    _count(asked)
                pipe.send(server.base_url)
                while await asyncio.to_thread(pipe.recv):
                    pipe.send(dict(asked))
                    asked.clear()

    uvloop.run(serve())


def _count(asked: Counter[str]) -> None:
    """Notes each statement of each connection, with the task that asks."""

    def noting(name: str) -> None:
        ask = getattr(asyncpg.Connection, name)

        async def note(self: object, sql: str, *args: object, **options: object) -> object:
            task = asyncio.current_task()
            name = task.get_name() if task else ""
            asked[f"{'request' if name.startswith('Task-') else name:<18} {' '.join(sql.split())[:110]}"] += 1
            return await ask(self, sql, *args, **options)

        setattr(asyncpg.Connection, name, note)

    for name in ("fetch", "fetchrow", "fetchval", "execute", "executemany"):
        noting(name)


@contextlib.asynccontextmanager
async def _server(dsn: str) -> AsyncIterator[tuple[int, str, Connection]]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(dsn, theirs), daemon=True)
    process.start()
    try:
        url = await asyncio.to_thread(ours.recv)
        assert process.pid is not None
        yield process.pid, url, ours
        ours.send(False)
        await asyncio.to_thread(process.join)
    finally:
        process.kill()


async def _registered(session: aiohttp.ClientSession, url: str, prefix: str, count: int) -> list[Client]:
    clients = []
    for number in range(count):
        client = Client(session, url)
        body = {"username": f"{prefix}{number}", "password": "correct horse", "auth": {"type": "m.login.dummy"}}
        client.token = (await client.post("/register", body=body)).ok()["access_token"]
        clients.append(client)
    return clients


async def _join_all(room_id: str, clients: list[Client]) -> None:
    for client in clients:
        await client.join(room_id)


def _best(blocks: list[float]) -> float:
    """µs a join in the best quarter of the blocks: others on the machine disturb these least."""
    return statistics.mean(sorted(blocks)[: BLOCKS // 4]) / BLOCK * 1e3


async def _measure(postgres: PostgresForTests, size: int) -> None:
    postmaster = int((postgres.folder / "postmaster.pid").read_text().splitlines()[0])
    async with postgres.fresh() as dsn, _server(dsn) as (pid, url, pipe), aiohttp.ClientSession() as session:
        members = await _registered(session, url, "m", size + WARM)
        newcomers = await _registered(session, url, "n", JOINS)
        room_id = await members[0].create_room(preset="public_chat", name="a room")
        await _join_all(room_id, members[1:])
        await asyncio.sleep(2 * SETTLE_S)
        pipe.send(True)
        pipe.recv()
        at = [(_threads_ms(pid), _children_ms(postmaster))]
        for start in range(0, JOINS, BLOCK):
            await _join_all(room_id, newcomers[start : start + BLOCK])
            at.append((_threads_ms(pid), _children_ms(postmaster)))
        await asyncio.sleep(SETTLE_S)
        server, database = ([after[side] - before[side] for before, after in pairwise(at)] for side in (0, 1))
        both = [sum(sides) for sides in zip(server, database, strict=True)]
        report("a local join: server", size, _best(server), "µs")
        report("a local join: PostgreSQL", size, _best(database), "µs")
        report("a local join: both", size, _best(both), "µs")
        spent = _threads_ms(pid) + _children_ms(postmaster) - sum(at[0])
        report("a local join: mean, with what follows", size, spent / JOINS * 1e3, "µs")
        pipe.send(True)
        for statement, times in Counter(pipe.recv()).most_common():
            print(f"{times / JOINS:6.2f} {statement}", file=sys.stderr)


async def _run() -> None:
    with running_postgres() as postgres:
        for size in SIZES:
            await _measure(postgres, size)


def run() -> None:
    uvloop.run(_run())
