"""The cold archive on files of this machine: what a message takes, how fast they are written, found and gone through.

Messages are events as they are signed, of words in a natural mix and several scripts, in 100 rooms a file.
"""

from __future__ import annotations

import base64
import hashlib
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyroaring import BitMap64

from bench.harness import report
from homeserver.core import canonical_json
from search.analyser import analyse
from search.archive.building import Builder, Built
from search.archive.evaluating import evaluate
from search.archive.reading import ArchiveFile, Contents, read_contents
from search.archive.rows import Row
from search.tiers import FIRST_PLACE, LAST_PLACE, Document, Phrase, Query, Question, Term
from tests.kit.archive_files import FolderParts

FILES, ROWS, ROOMS = 6, 20_000, 100
MONTH_MS = 30 * 86_400_000
_SCRIPTS = (
    "abcdefghijklmnopqrstuvwxyz",
    "абвгдежзийклмнопрстуф",
    "服务器升级完成天气很好今日会议测试",
    "서버복구되었습니다회의",
)


def _vocabulary(chance: random.Random) -> list[str]:
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
            found = analyse(body)
            document = Document(
                event_nid=nid,
                room_nid=room,
                place=nid,
                source_nid=nid,
                version=1,
                received_ms=said_ms,
                origin_server_ts=said_ms,
                event_id=previous,
                room_id=event["room_id"],
                sender=event["sender"],
                type=event["type"],
                key="content.body",
                tokens=found.tokens,
                extras=found.extras,
            )
            yield Row(document=document, body=body, json=json)


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
    chance = random.Random(6)
    words = _vocabulary(chance)
    total = FILES * ROWS
    with tempfile.TemporaryDirectory() as temporary:
        folders, built, seconds, texts = [], [], 0.0, 0
        for file in range(FILES):
            folder = Path(temporary) / str(file)
            folder.mkdir()
            rows = list(messages(file, chance, words))
            texts += sum(len(row.body.encode()) for row in rows)
            start = time.perf_counter()
            for row in rows:
                analyse(row.body)
            builder = Builder(folder)
            builder.add(rows)
            built.append(builder.finish())
            seconds += time.perf_counter() - start
            folders.append(folder)
        report("archive: text of a message", total, texts / total, "bytes")
        report("archive: Parquet of a message", total, sum(one.parquet.size_bytes for one in built) / total, "bytes")
        report("archive: index of a message", total, sum(one.terms.size_bytes for one in built) / total, "bytes")
        report("archive: analysed and written on one core", total, total / seconds, "messages/s")
        for name, rooms in (("one room's year", range(7, 8)), (f"{ROOMS} rooms' year", range(ROOMS))):
            for kind, some in (("common", words[:20]), ("rare", words[5000:5020])):
                asked = [_ask(Term(analyse(word).tokens[0]), rooms, folders, built) for word in some]
                _tell(f"archive: {name}, {kind} word", asked)
            pairs = [Phrase((*analyse(words[at]).tokens, *analyse(words[at + 1]).tokens)) for at in range(5)]
            _tell(f"archive: {name}, phrase", [_ask(pair, rooms, folders, built) for pair in pairs])
        start = time.perf_counter()
        for folder in folders:
            column = pq.read_table(folder / "rows.parquet", columns=["body"]).column("body")
            pc.sum(pc.match_substring_regex(column, "забор|server[0-9]+"))
        report("archive: gone through by a pattern", total, total / (time.perf_counter() - start), "messages/s")


def _tell(name: str, asked: list[tuple[float, int]]) -> None:
    times = sorted(taken for taken, _ in asked)
    report(f"{name}, p95", FILES * ROWS, times[min(len(times) - 1, int(len(times) * 0.95))] * 1000, "ms")
    report(f"{name}, read", FILES * ROWS, statistics.mean(read for _, read in asked) / 1024, "KiB")
