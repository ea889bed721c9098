"""The attack rehearsal over federation: waves from 500 servers, each with its name and key, against a running one."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.admin.people import crew_of
from tests.admin.spam.test_rehearsal_over_http import BLOCKED_MIN, YEAR_MS, Stage, enforce, p95, talk
from tests.admin.spam.test_rules_over_http import latest
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.many_servers import HostsMap, Players, many_servers
from tests.kit.ports import free_port
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client
from tests.kit.until import until

SERVERS = 500
FRIENDS = range(5)  # known for long, and talk as people do
RAIDERS = range(5, 45)  # in the room before the wave begins
PER_S = 40
FREE_A_MINUTE = 20
MORNING = "good morning, friend number {} says"


def texts(number: int) -> list[dict[str, object]]:
    """What a raider says: five of the known waves."""
    named = {"user_ids": [f"@p{n}:hansa.test" for n in range(30)]}
    return [
        {"msgtype": "m.text", "body": f"guaranteed profit, write to me, {number}"},
        {"msgtype": "m.text", "body": f"代\u200b开\u200b发\u200b票 联系我 {number}"},
        {"msgtype": "m.text", "body": f"look https://www.pharma-{number % 3}.example/{number}"},
        {"msgtype": "m.text", "body": f"wake up {number}", "m.mentions": named},
        {"msgtype": "m.file", "body": f"invoice{number}.exe", "url": f"mxc://many.example/{number}"},
    ]


async def bodies(client: Client, room_id: str) -> list[str]:
    """All that anybody sees there."""
    found: list[str] = []
    start: dict[str, str] = {}
    while True:
        page = (await client.get("/rooms/{}/messages", room_id, dir="b", limit="500", **start)).ok()
        found += [one["content"].get("body", "") for one in page["chunk"] if one["type"] == "m.room.message"]
        if "end" not in page:
            return found
        start = {"from": page["end"]}


async def waves(players: Players, square: str, hall: str, victims: Sequence[str]) -> dict[str, float]:
    """The share of each that was refused. Of what is counted, 20 a minute pass before the rules hold."""
    invites = [(number, victims[number % len(victims)], "bait") for number in range(SERVERS)]
    joins = [(number, hall) for number in range(RAIDERS.stop, SERVERS)]
    shares = {}
    for name, steps in (("invite", invites), ("join", joins)):
        began = time.perf_counter()
        answers = await players.play(name, steps, per_s=PER_S)
        minutes = (time.perf_counter() - began) / 60
        refused = answers.get("403", 0)
        shares[f"{name}s of {len(steps)} servers"] = refused / len(steps)
        # On a slow machine the wave lasts longer, and more of it passes. Windows are counted in parts.
        assert len(steps) - refused <= 1.25 * FREE_A_MINUTE * (minutes + 1), (name, answers)
    said = list(itertools.chain(*zip(*([(n, square, text) for text in texts(n)] for n in RAIDERS), strict=True)))
    assert await players.play("say", said, per_s=PER_S) == {"200": len(said)}
    return shares


@pytest.mark.deep
async def test_waves_from_five_hundred_servers(postgres: PostgresForTests, tmp_path: Path) -> None:
    """T-H15, T-H16: of each wave nineteen parts in twenty reach nobody; people here and on old servers aren't hit."""
    authority, port = Authority(tmp_path), free_port()
    async with (
        postgres.fresh() as here,
        federated_server(here, authority, network=HostsMap(port)) as server,
        many_servers(authority, SERVERS, port, server.hansa.config.server_name) as players,
    ):
        crew = await crew_of(server)
        rooms = [await crew.user.create_room(preset="public_chat", room_version="11") for _ in range(2)]
        square, hall = rooms
        people = [await server.user(f"person{number}") for number in range(4)]
        for person in people:
            await person.join(square)
        members = [*FRIENDS, *RAIDERS]
        assert await players.play("join", [(number, square) for number in members], per_s=PER_S) == {"200": 45}
        hello = [(number, square, {"msgtype": "m.text", "body": MORNING.format(number)}) for number in FRIENDS]
        await players.play("say", hello, per_s=PER_S)
        names = [*(person.user_id for person in people), *(players.user(number) for number in FRIENDS)]
        engine = server.hansa.spam.engine
        await enforce(crew)
        await players.play("say", hello, per_s=PER_S)
        await engine.write()
        for table, column in (("users", "created_ts"), ("spam_first_seen", "seen_ts")):
            long_ago = f"UPDATE {table} SET {column} = {column} - $1 WHERE user_id = ANY($2::text[])"
            await server.db.execute(long_ago, YEAR_MS, names)
        for name in names:
            engine.around.acted_on(name)
        stage = Stage(server, crew, square, people[0])
        calm: list[float] = []
        during: list[float] = []
        ended = asyncio.Event()
        talking = asyncio.ensure_future(talk(stage, people, calm, ended))
        await stage.is_calm.wait()
        ended.set()
        await talking
        ended = asyncio.Event()
        talking = asyncio.ensure_future(talk(stage, people, during, ended))
        shares = await waves(players, square, hall, [person.user_id for person in people])
        last = [(n, square, {"msgtype": "m.text", "body": f"at last {n}"}) for n in FRIENDS]
        await players.play("say", last, per_s=PER_S)
        ended.set()
        await talking
        wanted = {f"at last {number}" for number in FRIENDS}

        async def friends_are_heard() -> bool:
            return wanted <= set(await bodies(crew.user, square))

        await until(friends_are_heard)
        waved = {str(text["body"]) for number in RAIDERS for text in texts(number)}
        shown = waved.intersection(await bodies(crew.user, square))
        unseen = 1 - len(shown) / len(waved)
        shares[f"messages of {len(RAIDERS)} servers"] = unseen
        for name, share in shares.items():
            print(f"{name:<30} {share:>8.2%} blocked")  # noqa: T201
        print(f"p95 of a send: {p95(calm) * 1e3:.1f} ms calm, {p95(during) * 1e3:.1f} ms during the waves")  # noqa: T201
        hits = [one for name in names for one in await latest(crew, sender=name)]
        print(f"{len(hits)} hits of {len(names)} people's {len(during) + 15} messages")  # noqa: T201
        assert hits == []
        assert unseen >= BLOCKED_MIN
