"""The cold archive on files of this machine: what a message takes, how fast they are written, found and gone through.

Messages are events as they are signed, of words in a natural mix and several scripts, in 100 rooms a file.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyroaring import BitMap64

from bench.harness import report
from homeserver.core import canonical_json
from homeserver.core.identifiers import UserId
from homeserver.runtime.logging import configure_logging
from homeserver.storage.database import Database
from search.analyser import analyse
from search.archive.building import Builder
from search.archive.erasing import ArchiveEraser
from search.archive.evaluating import evaluate
from search.archive.files import Built
from search.archive.reading import ArchiveFile, Contents, read_contents
from search.archive.rows import Row
from search.archive.source import PAGE, Said, rows_of
from search.tiers import FIRST_PLACE, LAST_PLACE, Phrase, Query, Question, Term
from tests.kit.archive_files import FolderParts
from tests.kit.loop_watch import loop_watched
from tests.kit.postgres import PostgresForTests, running_postgres
from tests.kit.server import running_server

FILES, ROWS, ROOMS = 6, 20_000, 100
MONTH_MS = 30 * 86_400_000
_SCRIPTS = (
    "abcdefghijklmnopqrstuvwxyz",
    "абвгдежзийклмнопрстуф",
    "服务器升级完成天气很好今日会议测试",
    "서버복구되었습니다회의",
)


def vocabulary(chance: random.Random) -> list[str]:
    """Words, the commonest first; most of them in Latin letters."""
    words = []
    for _ in range(30_000):
        letters = chance.choices(_SCRIPTS, (70, 10, 12, 8))[0]
        words.append("".join(chance.choices(letters, k=chance.randint(2, 9))))
    return words


def messages(file: int, chance: random.Random, words: list[str]) -> Iterator[Row]:
    """One file's rows, as they are signed and analysed."""
    weights = list(accumulate(1 / (rank + 5) for rank in range(len(words))))
    nid = file * ROWS

    def noise(size: int) -> str:
        return base64.urlsafe_b64encode(chance.randbytes(size)).rstrip(b"=").decode()

    for room in range(ROOMS):
        auth, previous = [f"${noise(32)}" for _ in range(4)], f"${noise(32)}"
        for at in range(ROWS // ROOMS):
            nid += 1
            body = " ".join(chance.choices(words, cum_weights=weights, k=max(1, int(chance.expovariate(1 / 11)))))
            said_ms = file * MONTH_MS + at * 1000 + chance.randrange(1000)
            event: dict[str, Any] = {
                "auth_events": auth,
                "content": {"body": body, "msgtype": "m.text"},
                "depth": at,
                "hashes": {"sha256": noise(32)},
                "origin_server_ts": said_ms,
                "prev_events": [previous],
                "room_id": f"!room{room}:example.org",
                "sender": f"@user{chance.randrange(300)}:example.org",
                "signatures": {"example.org": {"ed25519:1": noise(64)}},
                "type": "m.room.message",
            }
            json = canonical_json.encode(event)
            previous = "$" + base64.urlsafe_b64encode(hashlib.sha256(json).digest()).rstrip(b"=").decode()
            yield Row(
                event_nid=nid,
                source_nid=nid,
                room_nid=room,
                place=nid,
                source_place=nid,
                version=1,
                origin_server_ts=said_ms,
                delay_ms=chance.randrange(20, 80),
                type=event["type"],
                key="content.body",
                room_id=event["room_id"],
                sender=event["sender"],
                has=(),
                mentions=(),
                thread_root=None,
                body=body,
                event_id=previous,
                json=json,
            )


def _as_read(row: Row) -> Said:
    """What the database has of a message."""
    received_ms = row.origin_server_ts + row.delay_ms
    return (
        row.event_nid, row.room_nid, row.place, row.event_id, row.origin_server_ts, received_ms, row.json, row.room_id,
        None,
    )  # fmt: skip


def _ask(query: Query, rooms: range, folders: list[Path], built: list[Built]) -> tuple[float, int]:
    """Seconds and bytes of a question, with nothing in memory from questions before."""
    question = Question(
        query=query,
        scope={room: [(FIRST_PLACE, LAST_PLACE)] for room in rooms},
        keys=frozenset({"content.body"}),
        by_rank=False,
        upto=2**62,
        limit=20,
    )
    start, read = time.perf_counter(), 0
    for folder, one in zip(folders, built, strict=True):
        parts = FolderParts(folder)
        contents: Contents = read_contents(parts, one)
        evaluate(ArchiveFile(contents, parts), question, BitMap64())
        read += parts.bytes_read
    return time.perf_counter() - start, read


def run() -> None:
    configure_logging(level="warning")
    chance = random.Random(6)
    words = vocabulary(chance)
    total = FILES * ROWS
    with tempfile.TemporaryDirectory() as temporary:
        folders, built, seconds, cpu_s, texts = [], [], 0.0, 0.0, 0
        for file in range(FILES):
            folder = Path(temporary) / str(file)
            folder.mkdir()
            rows = list(messages(file, chance, words))
            texts += sum(len(row.body.encode()) for row in rows)
            said = [_as_read(row) for row in rows]
            start, cpu_start = time.perf_counter(), time.process_time()
            builder = Builder(folder, ROWS)
            for at in range(0, ROWS, PAGE):
                builder.add(rows_of(said[at : at + PAGE], 1))
            built.append(builder.finish())
            seconds += time.perf_counter() - start
            cpu_s += time.process_time() - cpu_start
            folders.append(folder)
        report("archive: text of a message", total, texts / total, "bytes")
        report("archive: Parquet of a message", total, sum(one.parquet.size_bytes for one in built) / total, "bytes")
        report("archive: index of a message", total, sum(one.terms.size_bytes for one in built) / total, "bytes")
        report("archive: read, analysed and written", total, total / seconds, "messages/s")
        report("archive: the same, CPU of a message", total, cpu_s / total * 1e6, "us")
        for name, rooms in (("one room's year", range(7, 8)), (f"{ROOMS} rooms' year", range(ROOMS))):
            for kind, some in (("common", words[:20]), ("rare", words[5000:5020])):
                asked = [_ask(Term(analyse(word).tokens[0]), rooms, folders, built) for word in some]
                _tell(f"archive: {name}, {kind} word", asked)
            pairs = [Phrase((*analyse(words[at]).tokens, *analyse(words[at + 1]).tokens)) for at in range(5)]
            _tell(f"archive: {name}, phrase", [_ask(pair, rooms, folders, built) for pair in pairs])
        start = time.perf_counter()
        files = ds.dataset([str(folder / "rows.parquet") for folder in folders])
        files.count_rows(filter=pc.match_substring_regex(ds.field("body"), "забор|server[0-9]+"))
        report("archive: gone through by a pattern", total, total / (time.perf_counter() - start), "messages/s")
    with running_postgres() as postgres:
        asyncio.run(_whole(postgres, words))


_EVENTS = """
    INSERT INTO events (
        event_nid, room_nid, ordering, depth, origin_server_ts, received_ms, state_nid, event_id, sender, json
    )
    SELECT nid, room, nid, 9, ts, ts, state, id, sender, json
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bytea[])
        AS new(nid, room, ts, state, id, sender, json)
"""
_NEWEST = """
    SELECT DISTINCT ON (room_nid) room_nid, state_nid FROM events
    WHERE ordering IS NOT NULL ORDER BY room_nid, ordering DESC
"""


async def _said(db: Database, rows: list[Row]) -> None:
    """Puts messages into the rooms there are, as if many had been said: sending them would take minutes."""
    rooms = [(row["room_nid"], row["state_nid"]) for row in await db.fetch(_NEWEST)]
    first = await db.fetchval("SELECT max(event_nid) FROM events") + 1
    places = [rooms[row.room_nid % len(rooms)] for row in rows]
    async with db.unhurried() as tx:
        await tx.execute("SELECT setval('journal_blocks', $1)", first + len(rows))
        await tx.execute(
            _EVENTS,
            list(range(first, first + len(rows))),
            [nid for nid, _ in places],
            [row.origin_server_ts for row in rows],
            [state for _, state in places],
            [row.event_id for row in rows],
            [row.sender for row in rows],
            [row.json for row in rows],
        )
        await tx.execute("ANALYZE")


async def _whole(postgres: PostgresForTests, words: list[str]) -> None:
    """From the database into files that count, read back, and out of the hot index."""
    rows = [row for file in range(2) for row in messages(file, random.Random(file), words)]
    async with postgres.fresh() as dsn:
        async with running_server(dsn) as server:
            alice = await server.user("alice")
            for _ in range(ROOMS):
                await alice.create_room()
            await _said(server.db, rows)
        async with running_server(dsn) as server:
            eraser = server.hansa.base.keepers["archive"]
            assert isinstance(eraser, ArchiveEraser)
            await eraser.forget(UserId("@nobody:hansa.test"))  # waits until the hot index has all
            start, cpu_start = time.perf_counter(), _cpu_s()
            moved = await eraser.keeper.run(is_forced=True)
            taken, cpu_s, count = time.perf_counter() - start, _cpu_s() - cpu_start, sum(moved.values())
            report("archive: moved, from the database to cold", len(rows), count / taken, "messages/s")
            report("archive: the same, CPU of a message", len(rows), cpu_s / count * 1e6, "us")
            # Once more: who watches the loop keeps a core busy with that alone.
            for month in moved:
                await eraser.keeper.restore(month)
            async with loop_watched() as watch:
                await eraser.keeper.run(is_forced=True)
        report("archive: the loop stood still meanwhile", len(rows), 1000 * watch.longest_s, "ms at most")


def _cpu_s() -> float:
    """Of this process, and of those that it started and saw end; not the database's."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _tell(name: str, asked: list[tuple[float, int]]) -> None:
    times = sorted(taken for taken, _ in asked)
    report(f"{name}, p95", FILES * ROWS, times[min(len(times) - 1, int(len(times) * 0.95))] * 1000, "ms")
    report(f"{name}, read", FILES * ROWS, statistics.mean(read for _, read in asked) / 1024, "KiB")
