"""The hot index on a real Elasticsearch (one node, 1 GB of memory): how fast it is filled, asked, and how large it is.

`python -m bench search_elasticsearch` takes 10,000 messages and two minutes; `python -m
bench.search_elasticsearch --messages 1000000 --rooms 20000` is the full size. Without `scripts/bootstrap elasticsearch`
there is nothing to measure.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256

from bench.harness import report
from homeserver.runtime.logging import configure_logging
from search.analyser import analyse
from search.hot.elastic import ElasticIndex
from search.query import parse
from search.tiers import FIRST_PLACE, LAST_PLACE, Document, Question, Scope
from tests.kit.elasticsearch import running_elasticsearch
from tests.kit.programs import found

MESSAGES, ROOMS, BATCH, ROUNDS = 10_000, 1_000, 2_000, 30
MONTHS, MONTH_MS, NOW_MS = 6, 2_629_800_000, 1_795_000_000_000
# After so long a cluster lets go of what it keeps for nodes that were away, and of files that were merged.
SETTLED_S = 40.0
TERMS = ("harbour", "zeppelin", "服务器", '"crates of salt"', "getUserName", "mast*")
_ENGLISH = "the ship leaves pier at noon with crates of salt and cloth from Bergen over Visby harbour".split()
_GERMAN = "das Schiff verlässt den Hafen mit Kisten voll Salz und Tuch nach Lübeck über Straße und Brücke".split()
_PAIRED = ("今天服务器升级完成请大家检查一下日志", "バッタと鈴虫の声が聞こえる港", "서버가 복구되었습니다 안녕하세요")
_CODE = ("getUserName throws in HTTPServer2", "see /var/log/syslog and flag_check.exe", "fixed ABC-123 in v1.20.3")


def texts(count: int) -> Iterator[str]:
    """Messages in English, German, Chinese, Japanese, Korean and code, with words of a long tail."""
    chance = random.Random(7)
    for number in range(count):
        kind = number % 10
        if kind < 5:
            words = [*chance.choices(_ENGLISH, k=9), f"mast{chance.randrange(count // 4 + 1)}"]
            yield " ".join([*words, "zeppelin"] if number % 5_000 == 7 else words)
        elif kind < 7:
            yield " ".join(chance.choices(_GERMAN, k=10))
        elif kind < 9:
            yield chance.choice(_PAIRED) + str(chance.randrange(count))
        else:
            yield f"{chance.choice(_CODE)} {chance.randrange(count)}"


def documents(count: int, rooms: int) -> Iterator[Document]:
    for nid, text in enumerate(texts(count), 1):
        analysed, room = analyse(text), 1 + nid % rooms
        received_ms = NOW_MS - (count - nid) * MONTHS * MONTH_MS // count
        yield Document(
            event_nid=nid,
            room_nid=room,
            place=nid,
            source_nid=nid,
            version=nid,
            received_ms=received_ms,
            origin_server_ts=received_ms,
            event_id="$" + b64encode(sha256(str(nid).encode()).digest(), b"-_").decode()[:43],
            room_id=f"!{room}:bench.example",
            sender=f"@u{nid % 997}:bench.example",
            type="m.room.message",
            key="content.body",
            tokens=analysed.tokens,
            extras=analysed.extras,
        )


async def tidied_bytes(index: ElasticIndex) -> int:
    """What it takes once it is tidied as the server does it, but for the newest month; some time after it was written:
    until then the cluster keeps what it was sent."""
    await index.tidy()
    await asyncio.sleep(SETTLED_S)
    while await index.tidy():
        continue
    await asyncio.sleep(SETTLED_S)
    return await index.size()


async def _filled(index: ElasticIndex, count: int, rooms: int) -> None:
    analysed_s = written_s = 0.0
    batch: list[Document] = []
    made, start = documents(count, rooms), time.perf_counter()
    while batch := [one for _, one in zip(range(BATCH), made, strict=False)]:
        analysed_s += time.perf_counter() - start
        start = time.perf_counter()
        await index.write(batch, [])
        written_s += time.perf_counter() - start
        start = time.perf_counter()
    report("elasticsearch: the analyser alone", count, count / analysed_s, "messages/s")
    report("elasticsearch: writing what is analysed", count, count / written_s, "messages/s")
    report("elasticsearch: both, one after the other", count, count / (analysed_s + written_s), "messages/s")


async def _asked(index: ElasticIndex, name: str, scope: Scope, count: int) -> None:
    taken = []
    for number in range(ROUNDS):
        parsed = parse(TERMS[number % len(TERMS)])
        assert parsed is not None
        question = Question(
            query=parsed.query,
            scope=scope,
            keys=frozenset({"content.body"}),
            by_rank=number % 2 == 0,
            upto=2**62,
            limit=10,
        )
        start = time.perf_counter()
        await index.find(question)
        taken.append((time.perf_counter() - start) * 1e3)
    taken = sorted(taken[len(TERMS) :])
    report(f"elasticsearch: a user in {name}, p50", count, taken[len(taken) // 2], "ms")
    report(f"elasticsearch: a user in {name}, p95", count, taken[int(len(taken) * 0.95)], "ms")


async def _measured(index: ElasticIndex, count: int, rooms: int) -> None:
    await index.adopt()
    await _filled(index, count, rooms)
    everything = [(FIRST_PLACE, LAST_PLACE)]
    for size in (10, 1_000, 10_000):
        await _asked(index, f"{size:,} rooms", dict.fromkeys(range(1, size + 1), everything), count)
    chance = random.Random(11)
    for size in (1_000, 10_000):
        joined = {nid: [(chance.randrange(1, count), LAST_PLACE)] for nid in range(1, size + 1)}
        await _asked(index, f"{size:,} rooms, each seen from a day of its own on", joined, count)
    bodies = sum(len(text.encode()) for text in texts(count))
    report("elasticsearch: the index, by bytes of the bodies", count, await tidied_bytes(index) / bodies, "times")
    await index.close()


def run(count: int = MESSAGES, rooms: int = ROOMS) -> None:
    configure_logging(level="warning")
    if found("elasticsearch") is None:
        print("elasticsearch: not here; type `scripts/bootstrap elasticsearch`", flush=True)
        return
    with running_elasticsearch(heap="1g") as node:
        asyncio.run(_measured(ElasticIndex(node.cluster(timeout_s=60.0)), count, rooms))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--messages", type=int, default=MESSAGES)
    options.add_argument("--rooms", type=int, default=ROOMS)
    chosen = options.parse_args()
    run(chosen.messages, chosen.rooms)
