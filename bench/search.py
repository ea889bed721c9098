"""What searching costs with the embedded index: 10,000 messages in 20 rooms, by HTTP on a real database.

Answers are timed at the client; "found" is from the begin of a PUT to the answer of a search that has it. What the
index adds to a send is the process's CPU time with indexing, less what it is without.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.harness import report
from homeserver.core.identifiers import RoomId, UserId
from homeserver.runtime.logging import configure_logging
from tests.kit.postgres import running_postgres
from tests.kit.server import Client, RunningServer, config_for_tests, running_server

MESSAGES, ROOMS, AT_ONCE, ROUNDS = 10_000, 20, 50, 100
COMMON, RARE, CHINESE = "harbour", "zeppelin", "服务器"
_WORDS = "the ship leaves pier at noon with crates of salt and cloth from Bergen to Lübeck over Visby".split()
_CHINESE = ("今天服务器升级完成", "港口的天气很好", "请大家检查一下日志", "船已经离开码头")


def _text(chance: random.Random, number: int) -> str:
    words = chance.choices(_WORDS, k=8)
    if number % 4 == 0:
        words.append(COMMON)
    if number % 1_000 == 7:
        words.append(RARE)
    return chance.choice(_CHINESE) if number % 10 == 3 else " ".join(words)


async def _fill(server: RunningServer, user: Client, rooms: list[str]) -> float:
    """CPU seconds of the process for all of them."""
    chance, submission = random.Random(7), server.hansa.rooms.submission

    async def one(number: int) -> None:
        content = {"msgtype": "m.text", "body": _text(chance, number)}
        draft = submission.draft("m.room.message", UserId(user.user_id), content)
        await submission.send(RoomId(rooms[number % ROOMS]), draft)

    start = time.process_time()
    for first in range(0, MESSAGES, AT_ONCE):
        await asyncio.gather(*(one(number) for number in range(first, first + AT_ONCE)))
    return time.process_time() - start


async def _search(user: Client, term: str, order: str = "rank") -> Any:
    criteria = {"search_term": term, "order_by": order, "filter": {"limit": 10}}
    body = {"search_categories": {"room_events": criteria}}
    return (await user.post("/search", body=body)).ok()["search_categories"]["room_events"]


async def _timed(name: str, user: Client, term: str, order: str = "rank") -> None:
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        await _search(user, term, order)
        taken.append((time.perf_counter() - start) * 1e3)
    taken.sort()
    report(f"search: {name}, p50", MESSAGES, statistics.median(taken), "ms")
    report(f"search: {name}, p95", MESSAGES, taken[int(len(taken) * 0.95)], "ms")


async def _found(user: Client, room: str) -> None:
    taken = []
    for number in range(20):
        start = time.perf_counter()
        await user.send(room, f"needle{number}x")
        while not (await _search(user, f"needle{number}x"))["count"]:
            continue
        taken.append((time.perf_counter() - start) * 1e3)
    report("search: from PUT to found, slowest of 20", MESSAGES, max(taken), "ms")


async def _measured(dsn: str, folder: Path) -> None:
    async with running_server(dsn, config=config_for_tests(folder)) as server:
        user = await server.user("alice")
        rooms = [await user.create_room(preset="public_chat") for _ in range(ROOMS)]
        indexer = server.hansa.relations.indexer
        await _fill(server, user, rooms)
        await indexer.flush()
        for name, term in (("common word by rank", COMMON), ("rare word", RARE), ("Chinese", CHINESE)):
            await _timed(name, user, term)
        await _timed("common word, newest first", user, COMMON, "recent")
        await _found(user, rooms[0])
        setattr(indexer, "_note", lambda *_: None)  # noqa: B010 -- deaf: what comes now isn't indexed
        without = await _fill(server, user, rooms)
        delattr(indexer, "_note")
        start = time.process_time()
        await _fill(server, user, rooms)
        await indexer.flush()
        with_index = time.process_time() - start
        report("search: CPU of a send without the index", MESSAGES, without / MESSAGES * 1e6, "µs")
        report("search: CPU that the index adds to a send", MESSAGES, (with_index - without) / MESSAGES * 1e6, "µs")


async def _run() -> None:
    with running_postgres() as postgres, tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder:
        async with postgres.fresh() as dsn:
            await _measured(dsn, Path(folder))


def run() -> None:
    configure_logging(level="warning")
    asyncio.run(_run())
