"""The main job: a long history is put into a server, indexed into a real Elasticsearch, half archived, and found.

`python -m bench search_history --messages 1000000 --rooms 1000 --data DIR` is the full size; without an option it takes
50,000 messages and a few minutes. With `--data` all that there is lies in that folder, and a run that was stopped
(`--minutes`, or by hand) goes on where it was; `--stage` does a part: `send` (rooms, history, index, the last part by
HTTP), `archive` (half of it leaves the hot index), `ask` (as often as wished, before and after). Without
`scripts/bootstrap elasticsearch` there is nothing to measure, but for `--engine embedded`: the same on the index in the
data folder.

Rooms are made, joined and left by HTTP. The history is copied into the database as the events that a server would have
signed, and the last hundredth (`--sent` says how many) is sent by HTTP on top of that. The server's own indexer,
archive and search do the rest; searches are what Element sends, timed at the client, which shares a process with the
server. What is found is held against the texts themselves: for each word the newest hits in order, and how many there
are, for two users.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import re
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import numpy as np

from bench._history import MONTHS, Looks, Plan, RoomHead, Texts, fill, ids_of, terms
from bench._history_data import Account, HistoryData, Progress, Scene, Sent, say
from bench.search_elasticsearch import tidied_bytes
from homeserver.journal.journal import BLOCK
from homeserver.runtime.logging import configure_logging
from homeserver.storage.database import Database
from search.archive import jobs
from search.archive.keeping import DAY_MS
from search.hot.elastic import Cluster, ElasticIndex
from tests.kit.elasticsearch import ElasticsearchServer
from tests.kit.programs import found
from tests.kit.server import Client, RunningServer, config_for_tests, running_server

MESSAGES, ROOMS, ROOMS_OF_BOB, MINUTES = 50_000, 1_000, 500, 40.0
STAGES = ("send", "archive", "ask")
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
_TAKEN = "SELECT begun_ms, ended_ms FROM archive_jobs WHERE job_nid = $1"
_SENT = """
    SELECT event_id, event_nid, least(origin_server_ts, received_ms) AS said FROM events
    WHERE event_id = ANY($1::text[])
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


async def many(work: Callable[[int], Awaitable[None]], numbers: range | list[int], what: str) -> None:
    """Does what has these numbers, some at once."""
    left, done, progress = iter(numbers), 0, Progress(what, len(numbers))

    async def worker() -> None:
        nonlocal done
        for number in left:
            await work(number)
            done += 1
            progress(done)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


def toml_of(cluster: Cluster | None) -> str:
    """Of the server, whose index is embedded where there is no cluster."""
    if cluster is None:
        return ""
    return f"""
[search]
engine = "elasticsearch"
[search.elasticsearch]
urls = ["{cluster.urls[0]}"]
index_prefix = "{cluster.prefix}"
timeout_s = {cluster.timeout_s}
"""


async def _make_rooms(server: RunningServer, scene: Scene) -> None:
    """By HTTP: alice is in all, bob is in the first ROOMS_OF_BOB."""
    alice, bob = await server.user("alice"), await server.user("bob")
    creators = [await server.user(f"creator{number}") for number in range(CREATORS)]
    made: dict[int, str] = {}

    async def make(number: int) -> None:
        creator = creators[number % CREATORS]
        visibility = "joined" if number % JOINED_EVERY == 0 else "shared"
        state = {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}
        made[number] = await creator.create_room(preset="public_chat", name=f"Room {number}", initial_state=[state])
        await alice.join(made[number])
        if number < ROOMS_OF_BOB:
            await bob.join(made[number])

    await many(make, range(scene.rooms), "rooms")
    scene.room_ids = [made[number] for number in range(scene.rooms)]
    newest = {row["room_id"]: row for row in await server.db.fetch(_NEWEST, scene.room_ids)}
    powers: dict[int, str] = {}
    members: dict[int, dict[str, str]] = {}
    for row in await server.db.fetch(_STATE):
        if row["type"] == "m.room.power_levels":
            powers[row["room_nid"]] = row["event_id"]
        else:
            members.setdefault(row["room_nid"], {})[row["state_key"]] = row["event_id"]
    scene.heads = []
    for number, room_id in enumerate(scene.room_ids):
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
    scene.accounts = {"alice": Account.of(alice), "bob": Account.of(bob)}
    scene.accounts.update((f"creator{number}", Account.of(one)) for number, one in enumerate(creators))


def _plan(dsn: str, scene: Scene) -> Plan:
    return Plan(
        dsn=dsn,
        server="hansa.test",
        messages=scene.messages,
        first_nid=scene.first_nid,
        end_ms=scene.end_ms,
        months=scene.months,
        heads=scene.heads,
    )


async def _fill(dsn: str, data: HistoryData) -> None:
    """Copies the history; those who count what is said, but the search, take it as heard."""
    scene = data.scene
    connection = await asyncpg.connect(dsn)
    try:
        if not scene.first_nid:
            scene.last_block = await connection.fetchval("SELECT nextval('journal_blocks')")
            scene.first_nid = (scene.last_block + 1) * BLOCK + 1
            data.keep()
        blocks = -(-scene.messages // BLOCK)
        start = time.perf_counter()
        oracle, scene.body_bytes = await fill(_plan(dsn, scene), Progress("history", scene.messages))
        oracle.save(data.oracle_path)
        data.figure("made, signed, copied", scene.messages / (time.perf_counter() - start), "messages/s")
        await connection.execute("SELECT setval('journal_blocks', $1)", scene.last_block + blocks + 1)
        await connection.execute("UPDATE journal_cursors SET position = $1", scene.first_nid + blocks * BLOCK - 1)
        await connection.execute("VACUUM ANALYZE events, event_relations, rooms, memberships")
        data.figure("bytes of a body", scene.body_bytes / scene.messages, "bytes")
    finally:
        await connection.close()


async def _indexed(server: RunningServer, data: HistoryData, cluster: Cluster | None) -> None:
    """Waits until the server's own indexer has all of it."""
    scene, indexer, start = data.scene, server.hansa.relations.indexer, time.perf_counter()
    progress, first = Progress("indexed", scene.messages), max(0, indexer._caught_up - scene.first_nid)
    while not (indexer.is_level and indexer.lag_s == 0):
        await asyncio.sleep(0.1)
        progress(max(0, indexer._caught_up - scene.first_nid))
    taken = time.perf_counter() - start
    data.figure("indexed by the server", (scene.messages - first) / taken, "messages/s")
    if cluster is not None:
        index = ElasticIndex(cluster)
        try:
            size = await tidied_bytes(index)
        finally:
            await index.close()
        data.figure("the index, by bytes of the bodies", size / scene.body_bytes, "times")
    assert indexer.dead_letters == 0


async def _send(server: RunningServer, data: HistoryData, count: int) -> None:
    """The last part, by HTTP; alice has left some of the rooms before. What was sent isn't sent again."""
    scene, looks, texts, chance = data.scene, Looks(terms()), Texts(), random.Random(5)
    alice = scene.accounts["alice"].at(server)
    for room in filter(is_left, range(scene.rooms)):
        if f"left {room}" not in scene.done:
            (await alice.post("/rooms/{}/leave", scene.room_ids[room])).ok()
            data.keep(f"left {room}")
    rooms = [chance.randrange(scene.rooms) for _ in range(count)]
    for at in range(0, len(rooms), 10):
        rooms[at] = min(scene.rooms - 1, rooms[at] // LEFT_EVERY * LEFT_EVERY + LEFT_EVERY - 1)
    bodies = [texts.one(chance) for _ in rooms]
    there = {one.number for one in data.sent()}
    left = [number for number in range(count) if number not in there]
    clients = [scene.accounts[f"creator{number}"].at(server) for number in range(CREATORS)]
    start = time.perf_counter()
    with data.sending() as sent:

        async def send(number: int) -> None:
            room, body = rooms[number], bodies[number]
            # The same transaction after a crash: the same event.
            path, content = "/rooms/{}/send/m.room.message/{}", {"msgtype": "m.text", "body": body}
            answer = await clients[room % CREATORS].put(path, scene.room_ids[room], f"bench{number}", body=content)
            sent(Sent(number, answer.ok()["event_id"], list(looks.having(body)), room))

        await many(send, left, "sent")
    data.figure("sent by HTTP", len(left) / (time.perf_counter() - start), "messages/s", len(left))


async def _archive(dsn: str, data: HistoryData, toml: str) -> None:
    """Half of it, as the policy of a server that begins to have one does: the months that are over for so long."""
    scene, left = data.scene, data.scene.messages // 2
    database = await Database.connect(dsn, size_min=1, size_max=1)
    try:
        counts = {row["month"]: row["events"] for row in await database.fetch(_COUNTS)}
        for month, events in sorted(counts.items()):
            if left <= 0:
                scene.first_hot = month
                break
            left -= events
        first_hot_ms = int(datetime.fromisoformat(f"{scene.first_hot}-01T00:00:00+00:00").timestamp() * 1000)
        days = (int(time.time() * 1000) - first_hot_ms) // DAY_MS
        async with database.transaction() as tx:
            # Before the server is there, which then does it once.
            job_nid = await jobs.ask(tx, "run", None, 0, is_forced=False)
        cpu_s = _cpu_s()
        config = config_for_tests(data.server_folder, f"{toml}[archive]\nafter_days = {days}\n")
        async with running_server(dsn, config=config) as server:
            result = await _ended(server, job_nid, Progress("archived", scene.messages // 2))
            assert "error" not in result, result
            begun_ms, ended_ms = await server.db.fetchrow(_TAKEN, job_nid) or (0, 1)
            scene.moved = result["messages"]
            data.figure("archived by the server", scene.moved / (ended_ms - begun_ms) * 1e3, "messages/s", scene.moved)
            data.figure("files of the archive", _figure(server, "hansa_archive", "files"), "files", scene.moved)
            kept = _figure(server, "hansa_archive", "bytes") / _figure(server, "hansa_archive", "messages")
            data.figure("the archive, of a message", kept, "bytes", scene.moved)
        data.figure("archiving: the server's processor", (_cpu_s() - cpu_s) / scene.moved * 1e6, "us", scene.moved)
    finally:
        await database.close()


def _cpu_s() -> float:
    """Of this process, and of those that it started and saw end."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


async def _ended(server: RunningServer, job_nid: int, progress: Progress) -> Any:
    while True:
        found = await jobs.one(server.db, job_nid)
        assert found is not None
        if found.result is not None:
            return found.result
        progress(found.done)
        await asyncio.sleep(0.05)


def _figure(server: RunningServer, name: str, figure: str) -> float:
    return server.hansa.metrics.value(name, figure=figure)


def is_left(room: int) -> bool:
    """Whether alice leaves it before the last part."""
    return room % LEFT_EVERY == LEFT_EVERY - 1


@dataclass(slots=True)
class Asker:
    """One who asks, and what is known to be found."""

    name: str
    client: Client
    data: HistoryData
    sent: list[Sent]
    room_of: Any  # message → its room
    is_bob: bool

    def sees(self, room: Any, *, is_late: bool) -> Any:
        """Also of many rooms at once."""
        if self.is_bob:
            return room < ROOMS_OF_BOB
        return (room % LEFT_EVERY != LEFT_EVERY - 1) | (not is_late)

    async def recall(self, server: RunningServer) -> None:
        """For each word all pages up to a depth: the same events, in the same order, the same count."""
        wanted_in_all = found_in_all = missed = wrong = 0
        oracle, first_nid = self.data.oracle(), self.data.scene.first_nid
        for number, term in enumerate(terms()):
            sent = [one.event_id for one in self.sent if number in one.words and self.sees(one.room, is_late=True)]
            nids = oracle.found[number]
            nids = nids[self.sees(self.room_of[nids - first_nid], is_late=False)]
            count = len(sent) + len(nids)
            newest = [*sent[::-1], *await ids_of(server.db, nids[-CHECKED_PAGES * DEEP :][::-1].tolist())]
            answer, pages = await self._pages(term.text)
            first = newest[: len(pages)] if len(pages) < count else newest
            missed += len(set(first) - set(pages)) + abs(answer["count"] - count)
            missed += max(0, min(count, CHECKED_PAGES * DEEP) - len(pages))
            wrong += len(set(pages) - set(newest)) + (pages != first)
            if pages != first or answer["count"] != count:
                say({"differs": self.name, "term": term.text, "found": len(pages), "counted": answer["count"],
                     "there are": count})  # fmt: skip
            wanted_in_all += count
            found_in_all += len(pages)
        self.data.figure(f"{self.name}: hits by the oracle", wanted_in_all, "hits")
        self.data.figure(f"{self.name}: looked at one by one", found_in_all, "hits")
        self.data.figure(f"{self.name}: missed or counted wrong", missed, "hits")
        self.data.figure(f"{self.name}: wrong", wrong, "hits")

    async def _pages(self, text: str) -> tuple[Any, list[str]]:
        """The first answer, and what the first pages have."""
        pages: list[str] = []
        first = answer = await search(self.client, plain(text))
        for number in range(CHECKED_PAGES):
            if number:
                answer = await search(self.client, plain(text), answer["next_batch"])
            pages += [one["result"]["event_id"] for one in answer["results"]]
            if "next_batch" not in answer:
                break
        return first, pages

    async def timed(self) -> None:
        """Each class of words, by Element's own call."""
        everything: list[float] = []
        for kind in dict.fromkeys(term.kind for term in terms()):
            words = [term.text for term in terms() if term.kind == kind]
            await search(self.client, element(words[0]))
            chosen = itertools.islice(itertools.cycle(words), ROUNDS)
            taken = [await once(self.client, element(word)) for word in chosen]
            everything += taken
            self.data.times(f"{self.name}: {kind}", taken)
        self.data.times(f"{self.name}: all", everything)


async def search(client: Client, body: dict[str, Any], token: str | None = None) -> Any:
    path = "/search" + (f"?next_batch={quote(token)}" if token else "")
    answer = (await client.post(path, body=body)).ok()["search_categories"]["room_events"]
    assert "org.hansa.partial" not in answer, answer
    return answer


async def once(client: Client, body: dict[str, Any]) -> float:
    """How long a search takes, in milliseconds."""
    start = time.perf_counter()
    await search(client, body)
    return (time.perf_counter() - start) * 1e3


async def _cold(server: RunningServer, client: Client, data: HistoryData) -> None:
    """Questions that the archive alone answers: one room's year, and everything that it has."""
    scene = data.scene
    last = int(scene.first_hot[:4])
    years = range(last - max(1, scene.months // 24), last)
    words = [term.text for term in terms() if term.kind in ("common word", "rare word", "CJK word", "phrase")]
    chosen = [*itertools.islice(itertools.cycle(words), ROUNDS)]
    of_rooms = [
        element(f"{word} during:{years[at % len(years)]}", rooms=[scene.room_ids[at]]) for at, word in enumerate(chosen)
    ]
    of_all = [element(f"{word} before:{scene.first_hot}") for word in chosen]
    for name, bodies in (("one room's year", of_rooms), ("all files", of_all)):
        before = _read(server)
        first = await once(client, bodies[0])
        taken = [await once(client, body) for body in bodies]
        after = _read(server)
        data.figure(f"cold, {name}, the very first", first, "ms")
        data.times(f"cold, {name}", taken)
        asked = after[1] - before[1]
        data.figure(f"cold, {name}, read of a query", (after[0] - before[0]) / asked / 1024, "KiB", int(asked))


def _read(server: RunningServer) -> tuple[float, float]:
    """Bytes that questions read of the archive, and how many questions."""
    text = server.hansa.metrics.render().decode()
    figures = dict(re.findall(r"^hansa_archive_query_bytes_(sum|count) (\S+)", text, re.MULTILINE))
    return float(figures["sum"]), float(figures["count"])


async def _ask(server: RunningServer, data: HistoryData) -> None:
    scene, begun = data.scene, data.sent()
    # Some were under way at once: the order is the server's, not that in which they were begun.
    ids = [one.event_id for one in begun]
    place = {row["event_id"]: (row["said"], row["event_nid"]) for row in await server.db.fetch(_SENT, ids)}
    sent = sorted(begun, key=lambda one: place[one.event_id])
    state = "half cold" if scene.first_hot else "hot"
    room_of = np.array(_plan("", scene).rooms(), np.int32)
    clients = {name: scene.accounts[name].at(server) for name in ("alice", "bob")}
    askers = [
        Asker(f"{state}, alice, {scene.rooms:,} rooms", clients["alice"], data, sent, room_of, is_bob=False),
        Asker(f"{state}, bob, {min(scene.rooms, ROOMS_OF_BOB):,} rooms", clients["bob"], data, sent, room_of, True),
    ]
    for asker in askers:
        with data.step(f"{asker.name}: held against the oracle"):
            await asker.recall(server)
    for asker in askers:
        with data.step(f"{asker.name}: timed"):
            await asker.timed()
    if scene.first_hot:
        with data.step("cold"):
            await _cold(server, clients["alice"], data)


async def _staged(
    dsn: str, data: HistoryData, node: ElasticsearchServer | None, stages: tuple[str, ...], sent: int
) -> None:
    scene = data.scene
    if "rooms" not in scene.done:
        with data.step("rooms are made"):
            async with running_server(dsn, config=config_for_tests(data.server_folder)) as server:
                await _make_rooms(server, scene)
        data.keep("rooms")
    if "history" not in scene.done:
        with data.step("the history is made"):
            await _fill(dsn, data)
            # An index that has been there already would take it as heard too.
            shutil.rmtree(data.server_folder / "search", ignore_errors=True)
        data.keep("history")
    cluster = node.cluster(timeout_s=60.0, prefix="history") if node is not None else None
    toml = toml_of(cluster)
    async with running_server(dsn, config=config_for_tests(data.server_folder, toml)) as server:
        if "indexed" not in scene.done:
            with data.step("indexed"):
                await _indexed(server, data, cluster)
            data.keep("indexed")
        if "sent" not in scene.done:
            with data.step("the last part is sent"):
                await _send(server, data, sent)
            data.keep("sent")
    for stage in stages:
        if stage == "ask":
            async with running_server(dsn, config=config_for_tests(data.server_folder, toml)) as server:
                await _ask(server, data)
        elif stage == "archive" and "archived" not in scene.done:
            with data.step("half is archived"):
                await _archive(dsn, data, toml)
            data.keep("archived")


async def _run(data: HistoryData, engine: str, stages: tuple[str, ...], sent: int, minutes: float) -> None:
    with data.elasticsearch() if engine == "elasticsearch" else nullcontext() as node:
        async with data.database() as dsn:
            try:
                async with asyncio.timeout(minutes * 60):
                    await _staged(dsn, data, node, stages, sent)
            except TimeoutError:
                say({"stopped": f"after {minutes:g} minutes"})


def run() -> None:
    options = argparse.ArgumentParser(prog="python -m bench search_history", description=__doc__)
    options.add_argument("--messages", type=int, default=MESSAGES)
    options.add_argument("--rooms", type=int, default=ROOMS)
    options.add_argument("--months", type=int, default=MONTHS)
    options.add_argument("--sent", type=int, default=None)
    options.add_argument("--minutes", type=float, default=MINUTES)
    options.add_argument("--data", type=Path, default=None)
    options.add_argument("--engine", choices=("elasticsearch", "embedded"), default="elasticsearch")
    options.add_argument("--stage", choices=STAGES, default=None)
    chosen, _ = options.parse_known_args()
    configure_logging(level="warning")
    if chosen.engine == "elasticsearch" and found("elasticsearch") is None:
        print("history: not here; type `scripts/bootstrap elasticsearch`", flush=True)
        return
    # Also then the node ends, which holds the folder.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stages = (chosen.stage,) if chosen.stage is not None else ("ask", "archive", "ask")
    with tempfile.TemporaryDirectory(prefix="hansa-bench-", ignore_cleanup_errors=True) as temporary:
        Path(temporary).chmod(0o755)
        end_ms = int(time.time() * 1000) - 3_600_000
        wanted = Scene(messages=chosen.messages, rooms=chosen.rooms, months=chosen.months, end_ms=end_ms)
        data = HistoryData(chosen.data or Path(temporary), wanted)
        sent = chosen.sent if chosen.sent is not None else max(200, chosen.messages // 100)
        asyncio.run(_run(data, chosen.engine, stages, sent, chosen.minutes))


if __name__ == "__main__":
    run()
