"""The attack rehearsal against a running server: waves over HTTP, one of another server, and people who talk.

In process, `bench.rehearsal` replays larger waves and a day of talk; here every step is a request.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from admin.spam.packs import PACKS
from tests.admin.people import Crew, crew_of
from tests.admin.spam.test_rules_over_http import SPAM, latest
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.pace import at_rate, ticks
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Answered, Client, RunningServer
from tests.kit.until import until

BLOCKED_MIN = 0.95
# Of the waves. The client runs in the server's process, and takes as much time as the server does.
AT_ONCE, PER_S = 8, 80
CALM = 120
WORDS = "well I think we should look at the new plan because nobody had time before lunch ok yes no".split()
YEAR_MS = 365 * 86_400_000
PICTURE = b"the same picture, again and again"

Step = Callable[[], Awaitable[Answered]]


async def enforce(crew: Crew) -> None:
    """All shipped packs, but for registrations: all of ours come from one address."""
    media = {"kind": "media", "entries": [hashlib.sha256(PICTURE).hexdigest()]}
    for pack in PACKS:
        (await crew.moderator.post(SPAM + "/packs/{}", pack.name)).ok()
        for rule in pack.rules:
            if rule.id != "registration-flood":
                body = {"stage": "enforced", "version": 1}
                (await crew.moderator.post(SPAM + "/rules/{}/stage", rule.id, body=body)).ok()
    (await crew.moderator.put(SPAM + "/lists/{}", "blocked-media", body=media)).ok()


async def blocked(steps: Sequence[Step]) -> float:
    """The share that was refused."""
    answers = await at_rate(steps, PER_S, at_once=AT_ONCE)
    return sum(answer.status in (403, 429) for answer in answers) / len(steps)


def saying(client: Client, room_id: str, number: int, text: str, **content: object) -> Step:
    body = {"msgtype": "m.text", "body": text, **content}
    return lambda: client.put("/rooms/{}/send/m.room.message/{}", room_id, f"wave{number}", body=body)


@dataclass
class Stage:
    server: RunningServer
    crew: Crew
    square: str  # a public room, where people talk
    spammer: Client
    is_calm: asyncio.Event = field(default_factory=asyncio.Event)  # so much was said that it can be measured


async def invites(stage: Stage) -> list[Step]:
    room_id = await stage.spammer.create_room()
    return [
        lambda n=n: stage.spammer.post("/rooms/{}/invite", room_id, body={"user_id": f"@victim{n}:hansa.test"})  # type: ignore[misc]
        for n in range(500)
    ]


async def joins(stage: Stage) -> list[Step]:
    room_id = await stage.crew.user.create_room(preset="public_chat")
    wave = [await stage.server.user(f"joiner{number}") for number in range(440)]
    return [lambda one=one: one.post("/join/{}", room_id) for one in wave]  # type: ignore[misc]


async def links(stage: Stage) -> list[Step]:
    words = ("special prices", "sреciаl prices", "sp\u200becial prices", "特价优惠")
    rooms = [await stage.crew.user.create_room(preset="public_chat") for _ in range(25)]
    for room_id in rooms:
        await stage.spammer.join(room_id)
    return [
        saying(stage.spammer, rooms[n % 25], n, f"{words[n % 4]} https://www.pharma-{n % 3}.example/{n}")
        for n in range(200)
    ]


async def adverts(stage: Stage) -> list[Step]:
    forms = ("代开发票 请加 微信：fapiao{n}", "代\u200b开\u200b发\u200b票 联系我", "兼职刷单 日结工资 {n}")
    return [saying(stage.spammer, stage.square, 1_000 + n, forms[n % 3].format(n=n)) for n in range(150)]


async def mentions(stage: Stage) -> list[Step]:
    named = {"user_ids": [f"@p{n}:hansa.test" for n in range(30)]}
    return [saying(stage.spammer, stage.square, 2_000 + n, "hey", **{"m.mentions": named}) for n in range(100)]


async def reports(stage: Stage) -> list[Step]:
    path = "/users/{}/report"
    body = {"reason": "spam"}
    return [lambda: stage.spammer.post(path, stage.crew.user.user_id, body=body) for _ in range(700)]


async def pictures(stage: Stage) -> list[Step]:
    return [lambda: stage.spammer.request("POST", "/_matrix/media/v3/upload", data=PICTURE) for _ in range(100)]


WAVES = (invites, joins, links, adverts, mentions, reports, pictures)


async def talk(stage: Stage, people: Sequence[Client], times: list[float], ended: asyncio.Event) -> None:
    """People say something every now and then, each message timed."""
    chance = random.Random(5)
    async for number in ticks(40):
        if ended.is_set():
            return
        began = time.perf_counter()
        await people[number % len(people)].send(stage.square, " ".join(chance.choices(WORDS, k=9)))
        times.append(time.perf_counter() - began)
        if len(times) == CALM:
            stage.is_calm.set()


def p95(times: Sequence[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)]


@pytest.fixture
async def stage(server: RunningServer, crew: Crew) -> AsyncIterator[Stage]:
    square = await crew.user.create_room(preset="public_chat")
    spammer = await server.user("spammer")
    await spammer.join(square)
    yield Stage(server, crew, square, spammer)


@pytest.mark.deep
async def test_waves_are_stopped_and_people_talk_on(stage: Stage) -> None:
    """T-H15, T-H16: of each wave nineteen parts in twenty are refused; people are hit by no rule, and not held up."""
    people = [await stage.server.user(f"person{number}") for number in range(4)]
    names = [person.user_id for person in people]
    for person in people:
        await person.join(stage.square)
    long_ago = "UPDATE users SET created_ts = created_ts - $1 WHERE user_id = ANY($2::text[])"
    await stage.server.db.execute(long_ago, YEAR_MS, names)
    prepared = {wave.__name__: await wave(stage) for wave in WAVES}
    await enforce(stage.crew)
    calm: list[float] = []
    during: list[float] = []
    for times, waves in ((calm, {}), (during, prepared)):
        ended = asyncio.Event()
        talking = asyncio.ensure_future(talk(stage, people, times, ended))
        if not waves:
            await stage.is_calm.wait()
        for name, steps in waves.items():
            share = await blocked(steps)
            print(f"{name:<12} {len(steps):>5} steps {share:>8.2%} blocked")  # noqa: T201
            assert share >= BLOCKED_MIN, name
        ended.set()
        await talking
    print(f"p95 of a send: {p95(calm) * 1e3:.1f} ms calm, {p95(during) * 1e3:.1f} ms during the waves")  # noqa: T201
    hits = [one for person in people for one in await latest(stage.crew, sender=person.user_id)]
    assert hits == []
    # And what a busy machine adds by itself.
    assert p95(during) < 2 * p95(calm) + 0.05


@pytest.mark.deep
async def test_another_server_s_wave_reaches_nobody(postgres: PostgresForTests, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with (
        postgres.fresh() as here,
        postgres.fresh() as there,
        federated_server(here, authority) as server,
        federated_server(there, authority) as other,
    ):
        crew = await crew_of(server)
        mallory = await other.user("mallory")
        square = await crew.user.create_room(preset="public_chat")
        name = server.hansa.base.server_name
        (await mallory.request("POST", "/join/{}", square, query={"server_name": name})).ok()
        await enforce(crew)
        await mallory.send(square, "good morning")
        for number in range(40):
            await mallory.send(square, f"guaranteed profit, earn $500 daily, number {number}")

        async def heard() -> list[str]:
            page = (await crew.user.get("/rooms/{}/messages", square, dir="b", limit="100")).ok()
            return [one["content"].get("body", "") for one in page["chunk"] if one["type"] == "m.room.message"]

        async def all_came() -> bool:
            return len(await latest(crew, sender=mallory.user_id)) >= 40

        await until(all_came)
        assert await heard() == ["good morning"]
