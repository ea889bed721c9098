"""The main job: a long history is put into a server, indexed into a real Elasticsearch, half archived, and found.

`python -m bench search_history --messages 1000000` is the full size, with 10,000 rooms; without an option it takes
50,000 messages and a few minutes. `--minutes` ends it early, with what was measured until then. Without
`scripts/bootstrap elasticsearch` there is nothing to measure.

Rooms are made, joined and left by HTTP. The history is copied into the database as the events that a server would have
signed, and the last hundredth is sent by HTTP on top of that. The server's own indexer, archive and search do the
rest; searches are what Element sends, timed at the client, which shares a process with the server. What is found is
held against the texts themselves: for each word the newest hits in order, and how many there are, for two users.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import re
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from bench._history import MONTHS, Looks, Oracle, Plan, RoomHead, Texts, fill, terms
from bench.harness import report
from homeserver.journal.journal import BLOCK
from homeserver.runtime.logging import configure_logging
from search.archive import jobs
from search.hot.elastic import Cluster, ElasticIndex
from tests.kit.elasticsearch import ElasticsearchServer, running_elasticsearch
from tests.kit.postgres import running_postgres
from tests.kit.programs import found
from tests.kit.server import Client, RunningServer, config_for_tests, running_server

MESSAGES, ROOMS_MAX, ROOMS_OF_BOB, MINUTES = 50_000, 10_000, 1_000, 25.0
CREATORS, AT_ONCE = 20, 16
# One room in so many tells only what came after a member joined, and one is left before the last messages.
JOINED_EVERY, LEFT_EVERY = 20, 100
PAGE, DEEP = 10, 100  # what Element asks for, and what recall is measured by
ROUNDS = 30
CHECKED_PAGES = 3

_NEWEST = """
    SELECT DISTINCT ON (e.room_nid) e.room_nid, r.room_id, e.event_id, e.depth,
        CASE WHEN e.key_nid IS NULL THEN e.state_nid ELSE e.event_nid END AS state_nid
    FROM events e JOIN rooms r USING (room_nid) WHERE r.room_id = ANY($1::text[]) ORDER BY e.room_nid, e.ordering DESC
"""
_COUNTS = """
    SELECT to_char(to_timestamp(received_ms / 1000) AT TIME ZONE 'UTC', 'YYYY-MM') AS month, count(*) AS events
    FROM events WHERE ordering IS NOT NULL GROUP BY 1
"""
_STATE = """
    SELECT DISTINCT ON (e.room_nid, e.key_nid) e.room_nid, k.type, k.state_key, e.event_id
    FROM events e JOIN state_keys k USING (key_nid)
    WHERE k.type IN ('m.room.power_levels', 'm.room.member') ORDER BY e.room_nid, e.key_nid, e.ordering DESC
"""


def element(term: str, *, limit: int = PAGE, **filters: Any) -> dict[str, Any]:
    """What Element Web asks for."""
    criteria = {
        "search_term": term,
        "filter": {"limit": limit, **filters},
        "order_by": "recent",
        "event_context": {"before_limit": 1, "after_limit": 1, "include_profile": True},
    }
    return {"search_categories": {"room_events": criteria}}


def plain(term: str) -> dict[str, Any]:
    """The same with many hits and nothing around them."""
    criteria = {"search_term": term, "filter": {"limit": DEEP}, "order_by": "recent"}
    return {"search_categories": {"room_events": criteria}}


@dataclass(slots=True)
class Scene:
    """What there is, and what is known of it."""

    messages: int
    months: int
    rooms: list[str] = field(default_factory=list)
    creators: list[Client] = field(default_factory=list)
    oracle: Oracle | None = None
    heads: list[RoomHead] = field(default_factory=list)
    first_hot: str = ""  # the first month that stays in Elasticsearch
    plan: Plan | None = None
    rooms_of: list[int] = field(default_factory=list)
    # What was sent by HTTP, in order: its event, the words that it has, its room.
    sent: list[tuple[str, list[int], int]] = field(default_factory=list)


@contextmanager
def phase(name: str) -> Iterator[None]:
    start = time.perf_counter()
    print(f"# {name} …", flush=True)
    yield
    print(f"# {name}: {time.perf_counter() - start:,.1f} s", flush=True)


async def many(work: Callable[[int], Awaitable[None]], count: int, what: str) -> None:
    """Does so many, some at once, and says now and then how far it is."""
    numbers = iter(range(count))
    done, told = 0, time.perf_counter()

    async def worker() -> None:
        nonlocal done, told
        for number in numbers:
            await work(number)
            done += 1
            if time.perf_counter() - told > 10:
                told = time.perf_counter()
                print(f"#   {what}: {done:,} of {count:,}", flush=True)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


def toml_of(cluster: Cluster) -> str:
    return f"""
[search]
engine = "elasticsearch"
[search.elasticsearch]
urls = ["{cluster.urls[0]}"]
index_prefix = "{cluster.prefix}"
timeout_s = {cluster.timeout_s}
"""


async def _make_rooms(dsn: str, folder: Path, scene: Scene, rooms: int) -> tuple[str, str]:
    """By HTTP: the tokens of alice, who is in all, and of bob, who is in the first ROOMS_OF_BOB."""
    async with running_server(dsn, config=config_for_tests(folder)) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        creators = [await server.user(f"creator{number}") for number in range(CREATORS)]
        made: dict[int, str] = {}

        async def make(number: int) -> None:
            creator = creators[number % CREATORS]
            visibility = "joined" if number % JOINED_EVERY == 0 else "shared"
            state = {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}
            body = {"preset": "public_chat", "name": f"Room {number}", "initial_state": [state]}
            made[number] = await creator.create_room(**body)
            await alice.join(made[number])
            if number < ROOMS_OF_BOB:
                await bob.join(made[number])

        await many(make, rooms, "rooms")
        scene.rooms = [made[number] for number in range(rooms)]
        newest = {row["room_id"]: row for row in await server.db.fetch(_NEWEST, scene.rooms)}
        powers: dict[int, str] = {}
        members: dict[int, dict[str, str]] = {}
        for row in await server.db.fetch(_STATE):
            if row["type"] == "m.room.power_levels":
                powers[row["room_nid"]] = row["event_id"]
            else:
                members.setdefault(row["room_nid"], {})[row["state_key"]] = row["event_id"]
        for number, room_id in enumerate(scene.rooms):
            row = newest[room_id]
            senders = [creators[number % CREATORS].user_id, alice.user_id, bob.user_id]
            scene.heads.append(
                RoomHead(
                    nid=row["room_nid"],
                    room_id=room_id,
                    newest=row["event_id"],
                    depth=row["depth"],
                    state_nid=row["state_nid"],
                    powers=powers[row["room_nid"]],
                    members=members[row["room_nid"]],
                    senders=senders if number < ROOMS_OF_BOB else senders[:2],
                )
            )
        scene.creators = creators
        assert alice.token is not None and bob.token is not None
        return alice.token, bob.token


async def _fill(dsn: str, scene: Scene) -> None:
    """Copies the history; those who count what is said, but the search, take it as heard."""
    connection = await asyncpg.connect(dsn)
    try:
        block = await connection.fetchval("SELECT nextval('journal_blocks')")
        first, blocks = (block + 1) * BLOCK + 1, -(-scene.messages // BLOCK)
        end_ms = int(time.time() * 1000) - 3_600_000
        plan = Plan(
            dsn=dsn,
            server="hansa.test",
            messages=scene.messages,
            first_nid=first,
            end_ms=end_ms,
            months=scene.months,
            heads=scene.heads,
        )
        scene.plan, scene.rooms_of = plan, plan.rooms()
        start = time.perf_counter()
        scene.oracle = await fill(plan)
        report("history: made, signed, copied", scene.messages, scene.messages / (time.perf_counter() - start), "/s")
        await connection.execute("SELECT setval('journal_blocks', $1)", block + blocks + 1)
        await connection.execute("UPDATE journal_cursors SET position = $1", first + blocks * BLOCK - 1)
        await connection.execute("VACUUM ANALYZE events, event_relations, rooms, memberships")
        report("history: bytes of the bodies", scene.messages, scene.oracle.body_bytes / scene.messages, "bytes")
    finally:
        await connection.close()


async def _indexed(server: RunningServer, scene: Scene, cluster: Cluster) -> None:
    """Waits until the server's own indexer has all of it."""
    indexer, start, told = server.hansa.relations.indexer, time.perf_counter(), time.perf_counter()
    while not (indexer.is_level and indexer.lag_s == 0):
        await asyncio.sleep(0.1)
        if indexer._caught_up >= scene.plan.first_nid and time.perf_counter() - told > 10:
            told = time.perf_counter()
            print(f"#   indexed up to {indexer._caught_up - scene.plan.first_nid:,} of {scene.messages:,}", flush=True)
    taken = time.perf_counter() - start
    report("history: indexed by the server", scene.messages, scene.messages / taken, "messages/s")
    index = ElasticIndex(cluster)
    try:
        size = await index.size_bytes()
    finally:
        await index.close()
    report("history: the index, by bytes of the bodies", scene.messages, size / scene.oracle.body_bytes, "times")
    assert indexer.dead_letters == 0


async def _send(server: RunningServer, scene: Scene, alice: Client) -> None:
    """The last part, by HTTP; alice has left some of the rooms before."""
    looks, texts, chance = Looks(terms()), Texts(), random.Random(5)
    for number, room_id in enumerate(scene.rooms):
        if is_left(number):
            (await alice.post("/rooms/{}/leave", room_id)).ok()
    rooms = [chance.randrange(len(scene.rooms)) for _ in range(max(200, scene.messages // 100))]
    for at in range(0, len(rooms), 10):
        rooms[at] = rooms[at] // LEFT_EVERY * LEFT_EVERY + LEFT_EVERY - 1
    bodies = [texts.one(chance) for _ in rooms]
    scene.sent = [("", [], 0)] * len(rooms)
    start = time.perf_counter()

    async def send(number: int) -> None:
        room = rooms[number] % len(scene.rooms)
        creator = scene.creators[room % CREATORS]
        event_id = await creator.send(scene.rooms[room], bodies[number])
        scene.sent[number] = (event_id, list(looks.having(bodies[number])), room)

    await many(send, len(rooms), "sent")
    report("history: sent by HTTP", len(rooms), len(rooms) / (time.perf_counter() - start), "messages/s")


async def _archive(server: RunningServer, scene: Scene) -> None:
    """Half of it, month by month, as `hansa archive run --month` does."""
    counts = {row["month"]: row["events"] for row in await server.db.fetch(_COUNTS)}
    left, moved, start = scene.messages // 2, 0, time.perf_counter()
    for month, events in sorted(counts.items()):
        if left <= 0:
            scene.first_hot = month
            break
        left -= events
        result = await _job(server, "run", month)
        assert "error" not in result, result
        moved += result["messages"]
    taken = time.perf_counter() - start
    report("history: archived by the server", moved, moved / taken, "messages/s")
    report("history: files of the archive", moved, _figure(server, "hansa_archive", "files"), "files")
    kept = _figure(server, "hansa_archive", "bytes") / _figure(server, "hansa_archive", "messages")
    report("history: the archive, of a message", moved, kept, "bytes")


async def _job(server: RunningServer, kind: str, month: str) -> Any:
    async with server.db.transaction() as tx:
        job_nid = await jobs.ask(tx, kind, month, 0, is_forced=True)
    while True:
        found = await jobs.one(server.db, job_nid)
        assert found is not None
        if found.result is not None:
            return found.result
        await asyncio.sleep(0.02)


def _figure(server: RunningServer, name: str, figure: str) -> float:
    return server.hansa.metrics.value(name, figure=figure)


def _expected(scene: Scene, number: int, is_bob: bool, room: int | None = None) -> list[str]:
    """What a user must find of a word, newest first."""
    plan, oracle = scene.plan, scene.oracle

    def sees(of: int, is_late: bool) -> bool:
        if room is not None and of != room:
            return False
        return of < ROOMS_OF_BOB if is_bob else not (is_late and is_left(of))

    sent = [event_id for event_id, words, of in scene.sent if number in words and sees(of, True)]
    old = [oracle.ids[nid] for nid in oracle.found[number] if sees(scene.rooms_of[nid - plan.first_nid], False)]
    return [*sent[::-1], *old[::-1]]


async def _search(client: Client, body: dict[str, Any], token: str | None = None) -> Any:
    path = "/search" + (f"?next_batch={quote(token)}" if token else "")
    answer = (await client.post(path, body=body)).ok()["search_categories"]["room_events"]
    assert "org.hansa.partial" not in answer, answer
    return answer


async def _recall(client: Client, name: str, scene: Scene, *, is_bob: bool) -> None:
    """For each word all pages up to a depth: the same events, in the same order, the same count."""
    wanted_in_all = found_in_all = missed = wrong = 0
    for number, term in enumerate(terms()):
        wanted = _expected(scene, number, is_bob)
        pages: list[str] = []
        token: str | None = None
        for _ in range(CHECKED_PAGES):
            answer = await _search(client, plain(term.text), token)
            pages += [one["result"]["event_id"] for one in answer["results"]]
            token = answer.get("next_batch")
            if token is None:
                break
        first = wanted[: len(pages)] if token else wanted
        missed += len(set(first) - set(pages)) + abs(answer["count"] - len(wanted))
        wrong += len(set(pages) - set(wanted))
        if pages != first or answer["count"] != len(wanted):
            print(f"! {name}, {term}: found {len(pages)} of {len(first)}, counted {answer['count']} of {len(wanted)}")
        wanted_in_all += len(wanted)
        found_in_all += len(pages)
    report(f"history: {name}, hits by the oracle", wanted_in_all, found_in_all, "looked at one by one")
    report(f"history: {name}, missed or counted wrong", wanted_in_all, missed, "hits")
    report(f"history: {name}, wrong ones", wanted_in_all, wrong, "hits")


async def _timed(client: Client, name: str, scene: Scene) -> None:
    """Each class of words, by Element's own call."""
    everything: list[float] = []
    for kind in dict.fromkeys(term.kind for term in terms()):
        words = [term.text for term in terms() if term.kind == kind]
        await _search(client, element(words[0]))
        taken = [await _once(client, element(word)) for word in itertools.islice(itertools.cycle(words), ROUNDS)]
        everything += taken
        _tell(f"history: {name}, {kind}", scene.messages, taken)
    _tell(f"history: {name}, all", scene.messages, everything)


async def _once(client: Client, body: dict[str, Any]) -> float:
    start = time.perf_counter()
    await _search(client, body)
    return (time.perf_counter() - start) * 1e3


def _tell(name: str, size: int, taken: Sequence[float]) -> None:
    ordered = sorted(taken)
    report(f"{name}, p50", size, statistics.median(ordered), "ms")
    report(f"{name}, p95", size, ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], "ms")


async def _cold(server: RunningServer, client: Client, scene: Scene) -> None:
    """Questions that the archive alone answers: one room's year, and everything that it has."""
    last = int(scene.first_hot[:4])
    years = range(last - max(1, scene.months // 24), last)
    words = [term.text for term in terms() if term.kind in ("common word", "rare word", "CJK word", "phrase")]
    chosen = [*itertools.islice(itertools.cycle(words), ROUNDS)]
    of_rooms = [
        element(f"{word} during:{years[at % len(years)]}", rooms=[scene.rooms[at]]) for at, word in enumerate(chosen)
    ]
    of_all = [element(f"{word} before:{scene.first_hot}") for word in chosen]
    for name, bodies in (("one room's year", of_rooms), ("all files", of_all)):
        before = _read(server)
        first = await _once(client, bodies[0])
        taken = [await _once(client, body) for body in bodies]
        after = _read(server)
        report(f"history: cold, {name}, the very first", scene.messages, first, "ms")
        _tell(f"history: cold, {name}", scene.messages, taken)
        asked = after[1] - before[1]
        report(f"history: cold, {name}, read of a query", int(asked), (after[0] - before[0]) / asked / 1024, "KiB")


def _read(server: RunningServer) -> tuple[float, float]:
    """Bytes that questions read of the archive, and how many questions."""
    text = server.hansa.metrics.render().decode()
    figures = dict(re.findall(r"^hansa_archive_query_bytes_(sum|count) (\S+)", text, re.MULTILINE))
    return float(figures["sum"]), float(figures["count"])


async def _measured(dsn: str, folder: Path, node: ElasticsearchServer, scene: Scene, rooms: int) -> None:
    with phase("rooms are made"):
        tokens = await _make_rooms(dsn, folder, scene, rooms)
    with phase("the history is made"):
        await _fill(dsn, scene)
    cluster = node.cluster(timeout_s=60.0)
    async with running_server(dsn, config=config_for_tests(folder, toml_of(cluster))) as server:
        alice, bob = server.anonymous(), server.anonymous()
        alice.token, bob.token = tokens
        scene.creators = [_again(server, creator) for creator in scene.creators]
        with phase("indexed"):
            await _indexed(server, scene, cluster)
        with phase("the last part is sent"):
            await _send(server, scene, alice)
        with phase("found in Elasticsearch"):
            await _all_asked(alice, bob, scene, "hot")
        with phase("half is archived"):
            await _archive(server, scene)
        with phase("found in both"):
            await _all_asked(alice, bob, scene, "half cold")
            await _cold(server, alice, scene)


async def _all_asked(alice: Client, bob: Client, scene: Scene, name: str) -> None:
    rooms = len(scene.rooms)
    await _recall(alice, f"{name}, alice, {rooms:,} rooms", scene, is_bob=False)
    await _recall(bob, f"{name}, bob, {min(rooms, ROOMS_OF_BOB):,} rooms", scene, is_bob=True)
    await _timed(alice, f"{name}, alice, {rooms:,} rooms", scene)
    await _timed(bob, f"{name}, bob, {min(rooms, ROOMS_OF_BOB):,} rooms", scene)


def _again(server: RunningServer, client: Client) -> Client:
    """The same device at the server that is there now."""
    again = server.anonymous()
    again.token, again.user_id, again.device_id = client.token, client.user_id, client.device_id
    again._transactions = client._transactions + 1_000_000
    return again


def is_left(room: int) -> bool:
    """Whether alice leaves it before the last part."""
    return room % LEFT_EVERY == LEFT_EVERY - 1


async def _run(messages: int, months: int, rooms: int, minutes: float) -> None:
    scene = Scene(messages, months)
    with (
        running_postgres() as postgres,
        tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder,
        running_elasticsearch(heap="1g") as node,
    ):
        async with postgres.fresh() as dsn:
            try:
                async with asyncio.timeout(minutes * 60):
                    await _measured(dsn, Path(folder), node, scene, rooms)
            except TimeoutError:
                print(f"! stopped after {minutes:g} minutes", flush=True)


def run() -> None:
    options = argparse.ArgumentParser(prog="python -m bench search_history", description=__doc__)
    options.add_argument("--messages", type=int, default=MESSAGES)
    options.add_argument("--rooms", type=int, default=None)
    options.add_argument("--months", type=int, default=MONTHS)
    options.add_argument("--minutes", type=float, default=MINUTES)
    chosen, _ = options.parse_known_args()
    configure_logging(level="warning")
    if found("elasticsearch") is None:
        print("history: not here; type `scripts/bootstrap elasticsearch`", flush=True)
        return
    rooms = chosen.rooms or min(ROOMS_MAX, max(1_000, chosen.messages // 25))
    asyncio.run(_run(chosen.messages, chosen.months, rooms, chosen.minutes))


if __name__ == "__main__":
    run()
