"""Three servers in one room while the network loses, delays, repeats and parts: in the end all agree.

Each is the production composition on a database of its own. What users do and what the network does come from a seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.authority import Authority
from tests.kit.clock import FastClock
from tests.kit.federation import federated_server
from tests.kit.network import Network
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

STEPS = 30
SETTLED_WITHIN_S = 60.0


@dataclass
class World:
    """Servers with a user each, in one room."""

    servers: list[RunningServer]
    users: list[Client]
    network: Network
    room_id: str

    def name(self, index: int) -> str:
        return self.servers[index].hansa.config.server_name


@contextlib.asynccontextmanager
async def a_world(
    postgres: PostgresForTests, authority: Authority, seed: int, version: str, count: int = 3
) -> AsyncIterator[World]:
    network, clock = Network(seed), FastClock()
    async with contextlib.AsyncExitStack() as stack:
        servers = []
        for _ in range(count):
            dsn = await stack.enter_async_context(postgres.fresh())
            servers.append(
                await stack.enter_async_context(federated_server(dsn, authority, clock=clock, network=network))
            )
        users = [await server.user(f"user{number}") for number, server in enumerate(servers)]
        levels = {"users_default": 50, "state_default": 50, "ban": 50, "kick": 50}
        room_id = await users[0].create_room(
            preset="public_chat", room_version=version, power_level_content_override=levels
        )
        for user in users[1:]:
            name = servers[0].hansa.config.server_name
            (await user.post(f"/join/{{}}?via={name}", room_id)).ok()
        yield World(servers, users, network, room_id)


class Play:
    """What happens in a world. `said` has what was acknowledged, by user."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = random.Random(f"play {seed}")
        self.said: set[str] = set()
        self._count = itertools.count()

    async def run(self, steps: int) -> None:
        for _ in range(steps):
            if self.chance.random() < 0.25:
                self._weather()
            acts = [self._act() for _ in range(self.chance.randint(1, 4))]
            await asyncio.gather(*acts)

    def _weather(self) -> None:
        network, chance = self.world.network, self.chance
        network.heal()
        if chance.random() < 0.3:
            return
        network.lost, network.unanswered = chance.choice([0, 0.1, 0.5]), chance.choice([0, 0.2])
        network.repeated, network.delay_s = chance.choice([0, 0.3]), chance.choice([0, 0.05])
        names = [self.world.name(index) for index in range(len(self.world.servers))]
        network.parted = {frozenset(pair) for pair in itertools.combinations(names, 2) if chance.random() < 0.4}

    async def _act(self) -> None:
        """A refusal is as good as an answer here; an acknowledged event has to arrive everywhere."""
        chance, world = self.chance, self.world
        user, number = chance.choice(world.users), next(self._count)
        kind = chance.random()
        if kind < 0.6:
            path, body = f"/rooms/{{}}/send/m.room.message/{number}", {"msgtype": "m.text", "body": f"m{number}"}
            if (await user.put(path, world.room_id, body=body)).status == 200:
                self.said.add(f"m{number}")
        elif kind < 0.8:
            await user.put("/rooms/{}/state/m.room.topic", world.room_id, body={"topic": f"t{number}"})
        elif kind < 0.9:
            await user.put("/rooms/{}/state/m.room.name", world.room_id, body={"name": f"n{number}"})
        else:
            verb = chance.choice(["kick", "ban", "unban"])
            target = f"@somebody{chance.randint(0, 2)}:{world.name(chance.randrange(len(world.servers)))}"
            await user.post(f"/rooms/{{}}/{verb}", world.room_id, body={"user_id": target})


async def state(user: Client, room_id: str) -> dict[tuple[str, str], str]:
    found = (await user.get("/rooms/{}/state", room_id)).ok()
    return {(event["type"], event["state_key"]): event["event_id"] for event in found}


async def texts(user: Client, room_id: str) -> list[str]:
    seen: list[str] = []
    start = None
    while True:
        query = {"dir": "b", "limit": "100"} | ({"from": start} if start else {})
        page = (await user.get("/rooms/{}/messages", room_id, **query)).ok()
        seen += [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]
        start = page.get("end")
        if start is None:
            return seen


async def agree(world: World, said: set[str]) -> bool:
    """Whether every server has every message once, and all the same state."""
    for user in world.users:
        if sorted(await texts(user, world.room_id)) != sorted(said):
            return False
    states = [await state(user, world.room_id) for user in world.users]
    return all(one == states[0] for one in states[1:])


async def play(postgres: PostgresForTests, authority: Authority, seed: int, version: str) -> None:
    async with a_world(postgres, authority, seed, version) as world:
        game = Play(world, seed)
        await game.run(STEPS)
        world.network.heal()

        async def settled() -> bool:
            # Whoever was away learns of what it missed from what comes next.
            for user in world.users:
                number = f"last{len(game.said)}"
                path = f"/rooms/{{}}/send/m.room.message/{number}"
                (await user.put(path, world.room_id, body={"msgtype": "m.text", "body": number})).ok()
                game.said.add(number)
            for _ in range(20):
                if await agree(world, game.said):
                    return True
                await world.servers[0].hansa.world.clock.sleep(3)
            return False

        await until(settled, within_s=SETTLED_WITHIN_S)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "version"), [(1, "6"), (2, "10"), (3, "11"), (4, "12"), (5, "12")])
async def test_servers_agree_in_the_end(
    postgres: PostgresForTests, authority: Authority, seed: int, version: str
) -> None:
    """Nothing acknowledged is lost or doubled, and the state is the same everywhere."""
    await play(postgres, authority, seed, version)


@pytest.mark.deep
@pytest.mark.parametrize("version", ["2", "6", "9", "10", "11", "12"])
async def test_servers_agree_in_many_worlds(postgres: PostgresForTests, authority: Authority, version: str) -> None:
    for seed in range(100, 115):
        await play(postgres, authority, seed, version)
