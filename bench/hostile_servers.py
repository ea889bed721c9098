"""What dead or hostile servers cost: a thousand that don't answer, and forks in a room of 20,000 state events.

With a real PostgreSQL. "Dead": what the process uses while it talks on, connections tried, and how late a living server
hears. "Fork": two branches of 50 state events each meet; hundreds of branches from one place, with the room in use.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.harness import report
from homeserver.core.auth_rules import auth_keys
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId, RoomId
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.rooms.arrivals import Arrival
from homeserver.rooms.incoming import RoomSnapshot
from homeserver.web.outgoing import OutgoingAnswer, OutgoingError
from tests.kit.authority import Authority
from tests.kit.dag import make_create, make_event
from tests.kit.federation import federated_server
from tests.kit.foreign_members import join_foreign
from tests.kit.postgres import PostgresForTests, running_postgres
from tests.kit.server import RunningServer, running_server

VERSION = ROOM_VERSIONS["11"]
EVE = "@eve:away.test"
DEAD, MEASURED_S, EVERY_S = 1_000, 30.0, 0.5
STATE_EVENTS, BRANCH, BRANCHES, AT_ONCE = 20_000, 50, 200, 50


class _Dead:
    """A way out to servers of which one lives."""

    def __init__(self, alive: str) -> None:
        self.alive = alive
        self.tried = 0
        self.heard_s: dict[str, float] = {}

    async def request(self, method: str, url: str, *, body: bytes | None = None, **_: Any) -> OutgoingAnswer:
        if self.alive not in url:
            self.tried += 1
            raise OutgoingError("unreachable", "nobody is there")
        for word in (body or b"").split(b'"'):
            if word.startswith(b"say "):
                self.heard_s.setdefault(word.decode(), time.perf_counter())
        return OutgoingAnswer(200, {}, b'{"pdus":{}}', url)

    def stream(self, *_: Any, **__: Any) -> Any:
        raise OutgoingError("unreachable", "nobody is there")

    async def close(self) -> None: ...

    def side_of(self, name: str, way_out: Any) -> _Dead:
        return self


async def _dead_servers(postgres: PostgresForTests, folder: Path) -> None:
    way_out = _Dead("alive.test")
    async with (
        postgres.fresh() as dsn,
        federated_server(dsn, Authority(folder), network=way_out) as server,  # type: ignore[arg-type]
    ):
        alice = await server.user("alice")
        room_id = await alice.create_room()
        names = [f"@bob:dead{number}.test:1" for number in range(DEAD)]
        await join_foreign(server, room_id, [*names, "@bob:alive.test:1"])
        assert server.hansa.federation is not None
        await alice.send(room_id, "say first")
        await asyncio.sleep(DEAD / 20 + 5)
        sent: dict[str, float] = {}
        way_out.tried, began_s, cpu_s = 0, time.perf_counter(), time.process_time()
        for number in range(int(MEASURED_S / EVERY_S)):
            text = f"say {number}"
            sent[text] = time.perf_counter()
            await alice.send(room_id, text)
            await asyncio.sleep(EVERY_S)
        took_s, used_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        late = [way_out.heard_s[text] - at for text, at in sent.items() if text in way_out.heard_s]
        report("dead servers: of a core, sending twice a second", DEAD, 100 * used_s / took_s, "%")
        report("dead servers: connections tried", DEAD, way_out.tried / took_s, "/s")
        report("dead servers: a living one hears after", DEAD, 1000 * max(late), "ms at most")


class _Room:
    """A room of another server, with this much state, that Alice of ours has come into."""

    def __init__(self, server: RunningServer, alice: str) -> None:
        self.server = server
        self.alice = alice
        create = make_create(VERSION, EVE)
        self.create_id = create.event_id
        self.room_id = RoomId(create.room_id)
        self.state: dict[StateKey, Event] = {create.key: create}
        self._ts = 1
        self.add("m.room.member", {"membership": "join"}, EVE)
        self.add("m.room.power_levels", {"users": {EVE: 100}}, "")
        self.add("m.room.join_rules", {"join_rule": "public"}, "")
        for number in range(STATE_EVENTS):
            self.add("x.state", {}, f"{number}")
        self.entry = self.make("m.room.member", {"membership": "join"}, alice, sender=alice, prev=[create.event_id])

    def make(
        self,
        type: str,
        content: Mapping[str, Any],
        key: str | None = None,
        *,
        sender: str = EVE,
        prev: Sequence[str] = (),
    ) -> Event:
        keys = auth_keys(VERSION, type=type, sender=sender, state_key=key, content=content)
        auth = [self.state[one].event_id for one in keys if one in self.state]
        self._ts += 1
        return make_event(
            VERSION, type=type, sender=sender, content=content, state_key=key, room_id=self.room_id, prev=list(prev),
            auth=auth, depth=self._ts, ts=self._ts,
        )  # fmt: skip

    def add(self, type: str, content: Mapping[str, Any], key: str) -> None:
        event = self.make(type, content, key, prev=[self.create_id])
        self.state[event.key] = event

    async def enter(self) -> None:
        state = list(self.state.values())
        snapshot = RoomSnapshot(version=VERSION, state=state, auth_chain=state[:4], event=self.entry)
        await self.server.hansa.rooms.incoming.enter(self.room_id, snapshot)

    async def take(self, events: Sequence[Event]) -> float:
        """In ms."""
        began_s = time.perf_counter()
        await self.server.hansa.rooms.incoming.take(self.room_id, [Arrival(event=event) for event in events])
        return 1000 * (time.perf_counter() - began_s)

    def branch(self, side: int) -> list[Event]:
        made: list[Event] = []
        after: EventId = self.entry.event_id
        for number in range(BRANCH):
            key = f"{number if number % 2 else side * 1_000 + number}"
            event = self.make("x.state", {"side": side}, key, prev=[after])
            made.append(event)
            after = event.event_id
        return made


async def _lag(longest: list[float]) -> None:
    while True:
        before_s = time.perf_counter()
        await asyncio.sleep(0.005)
        longest.append(time.perf_counter() - before_s - 0.005)


async def _forks(postgres: PostgresForTests) -> None:
    async with postgres.fresh() as dsn, running_server(dsn) as server:
        alice = await server.user("alice")
        room = _Room(server, alice.user_id)
        await room.enter()
        for _ in range(2):
            await room.take([room.make("m.room.message", {"body": "x"}, prev=[room.entry.event_id])])
        one, other = room.branch(1), room.branch(2)
        await room.take(one)
        await room.take(other)
        met = []
        for number in range(5):
            ends = [one[-1 - number].event_id, other[-1].event_id]
            met.append(await room.take([room.make("m.room.message", {"body": f"{number}"}, prev=ends)]))
        report("fork: two branches of 50 meet", STATE_EVENTS, statistics.median(met), "ms")

        lags: list[float] = []
        watch = asyncio.get_running_loop().create_task(_lag(lags))
        began_s, sends = time.perf_counter(), list[float]()
        for at in range(0, BRANCHES, AT_ONCE):
            made = [
                room.make("x.state", {"n": at + number}, f"{(at + number) % 100}", prev=[room.entry.event_id])
                for number in range(AT_ONCE)
            ]
            await room.take(made)
            if at % 100 == 0:
                asked_s = time.perf_counter()
                await alice.send(room.room_id, "still here")
                sends.append(1000 * (time.perf_counter() - asked_s))
        took_s = time.perf_counter() - began_s
        watch.cancel()
        report("fork: branches from one place taken in", BRANCHES, took_s, "s")
        report("fork: a message meanwhile", BRANCHES, max(sends), "ms at most")
        report("fork: the loop stood still", BRANCHES, 1000 * max(lags), "ms at most")


def run() -> None:
    with running_postgres() as postgres, tempfile.TemporaryDirectory() as folder:
        asyncio.run(_forks(postgres))
        asyncio.run(_dead_servers(postgres, Path(folder)))
