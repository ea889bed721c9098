"""Every operation of the specification with requests made from its definition: never a 5xx, never a wrong form.

The test client holds each answer, refusals too, against the definition; see tests/kit/conformance.py.
"""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest

from scripts.coverage import nameless
from scripts.definitions import Operation, event_contents, operations, shared_spec
from tests.kit.generated import Known, Requests
from tests.kit.server import Answered, Client, RunningServer

# Answers that say, as the spec wants, that somebody else isn't there, or that something is kept nowhere.
ELSEWHERE = frozenset({502, 504})
ANSWERS_WITHIN_S = 60.0
NAMES = ("alice", "bob", "carol")


@pytest.fixture
def spec() -> Path:
    """The folder of the definitions."""
    found = shared_spec()
    if found is None:
        pytest.skip("the definitions of the specification aren't here: name their folder in HANSA_SHARED")
    return found


class Session:
    """Three users in some rooms, who ask whatever chance makes them."""

    def __init__(self, server: RunningServer, spec: Path, seed: int) -> None:
        self._server = server
        self._chance = random.Random(seed)
        self._known = Known()
        self._requests = Requests(self._chance, self._known, event_contents(spec))
        self._clients: dict[str, Client] = {}
        self._place: dict[str, str] = {}
        places = {(one.method, nameless(path)) for one in server.hansa.endpoints for path in one.paths}
        self.operations = [
            one for one in operations(spec, "client-server") if (one.method, nameless(one.path)) in places
        ]

    async def start(self) -> None:
        """Users, and things to ask about."""
        for name in NAMES:
            await self._revive(name)
        self._known.learn("server", "hansa.test", "elsewhere.test")
        self._known.learn("room_version", "1", "6", "11", "12")
        self._known.learn("field", "displayname", "avatar_url", "m.tz", "org.example.pronouns")
        self._known.learn("rule", "mine", "other", ".m.rule.master")
        self._known.learn("password", "correct horse battery", "correct horse battery", "wrong")
        await self._new_room()

    async def ask(self, operation: Operation) -> Answered:
        """One request. Fails on a 5xx, on an answer of a wrong form, and on one that doesn't come."""
        name = self._chance.choice(NAMES)
        client = self._clients[name]
        made = self._requests.make(operation, self._place | {"user": client.user_id, "device": client.device_id})
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                answer = await client.request(made.method, made.path, data=made.body, query=made.query)
        except TimeoutError:
            pytest.fail(f"no answer to {made}")
        assert answer.status < 500 or answer.status in ELSEWHERE, (made, answer)
        is_file = "/download/" in operation.path or "/thumbnail/" in operation.path  # what chance uploaded, "{" too
        if answer.status == 200 and answer.body.startswith(b"{") and not is_file:
            self._known.learn_from(answer.json)
        if answer.status == 401:
            await self._revive(name)
        return answer

    async def _revive(self, name: str) -> None:
        """A session for this user, or for a new one of a similar name where the account is gone."""
        client = self._clients.get(name)
        if client is not None and (await client.get("/account/whoami")).status == 200:
            return
        self._clients[name] = await self._server.user(f"{name}{self._chance.randrange(10**9)}")
        self._known.learn("user", self._clients[name].user_id)
        self._known.learn("device", self._clients[name].device_id)

    async def _new_room(self) -> None:
        first, *others = self._clients.values()
        room_id = await first.create_room(preset="public_chat", room_alias_name=f"r{self._chance.randrange(10**9)}")
        for other in others:
            await other.join(room_id)
        self._place = {"room": room_id, "event": await first.send(room_id)}
        self._known.learn("room", room_id)
        self._known.learn("event", self._place["event"], await others[0].send(room_id))
        self._known.learn("token", (await first.sync())["next_batch"])

    async def run(self, rounds: int) -> dict[int, int]:
        """Every operation so many times, in any order. How often each status was answered."""
        counted: dict[int, int] = {}
        for _ in range(rounds):
            for operation in self._chance.sample(self.operations, len(self.operations)):
                answer = await self.ask(operation)
                counted[answer.status] = counted.get(answer.status, 0) + 1
            for name in NAMES:
                await self._revive(name)
            await self._new_room()
        return counted


async def check(server: RunningServer, spec: Path, seed: int, rounds: int) -> None:
    session = Session(server, spec, seed)
    await session.start()
    assert len(session.operations) > 100
    counted = await session.run(rounds)
    # Requests that never get anywhere would prove nothing.
    assert counted[200] > sum(counted.values()) / 5, counted


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
async def test_requests_from_the_definitions_are_answered_in_form(server: RunningServer, spec: Path, seed: int) -> None:
    """T-B7, T-B10, T-B13: whatever types a client chooses, nobody's requests break."""
    await check(server, spec, seed, rounds=6)


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(100, 108))
async def test_many_requests_from_the_definitions(server: RunningServer, spec: Path, seed: int) -> None:
    """The same for long."""
    await check(server, spec, seed, rounds=60)


def test_every_operation_gets_a_request(spec: Path) -> None:
    """The maker of requests knows every form of schema that the definitions use."""
    requests = Requests(random.Random(1), Known(), event_contents(spec))
    for operation in operations(spec, "client-server"):
        for _ in range(20):
            made = requests.make(operation)
            assert "{" not in made.path
            if made.body is not None and not operation.takes_bytes:
                json.loads(made.body)
