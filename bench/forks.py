"""What forks cost in a room of 20,000 state events: in processor time of the server, without the database's.

With a real PostgreSQL. Two branches of 50 state events each meet; then other servers' events come in batches of 50, all
of them forks: branches from one place, and two long branches that grow in turn. "Stood still" is the processor time of
the loop's thread between two of its turns.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench.harness import report
from homeserver.core.auth_rules import auth_keys
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId, RoomId
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.rooms.arrivals import Arrival
from homeserver.rooms.incoming import RoomSnapshot
from tests.kit.dag import make_create, make_event
from tests.kit.loop_watch import loop_watched
from tests.kit.postgres import PostgresForTests, running_postgres
from tests.kit.server import Client, RunningServer, running_server

VERSION = ROOM_VERSIONS["11"]
EVE = "@eve:away.test"
STATE_EVENTS, BRANCH, BRANCHES, LONG, AT_ONCE = 20_000, 50, 1_000, 2_000, 50


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

    async def take(self, events: Sequence[Event]) -> None:
        await self.server.hansa.rooms.incoming.take(self.room_id, [Arrival(event=event) for event in events])

    def branch(self, side: int) -> list[Event]:
        made: list[Event] = []
        after: EventId = self.entry.event_id
        for number in range(BRANCH):
            key = f"{number if number % 2 else side * 1_000 + number}"
            event = self.make("x.state", {"side": side}, key, prev=[after])
            made.append(event)
            after = event.event_id
        return made

    def branches(self, count: int) -> list[Event]:
        """As many branches, of one state event each, all from where Alice came in."""
        return [
            self.make("x.state", {"n": number}, f"{number % 100}", prev=[self.entry.event_id])
            for number in range(count)
        ]

    def two_in_turn(self, count: int) -> list[Event]:
        """Two branches that set other keys, one event of the one and one of the other."""
        made: list[Event] = []
        ends = [self.entry.event_id, self.entry.event_id]
        for number in range(count):
            event = self.make("x.state", {"n": number}, f"{number}", prev=[ends[number % 2]])
            ends[number % 2] = event.event_id
            made.append(event)
        return made


async def _meet(room: _Room) -> None:
    one, other = room.branch(1), room.branch(2)
    await room.take(one)
    await room.take(other)
    met = []
    for number in range(5):
        ends = [one[-1 - number].event_id, other[-1].event_id]
        event = room.make("m.room.message", {"body": f"{number}"}, prev=ends)
        began_s = time.process_time()
        await room.take([event])
        met.append(1000 * (time.process_time() - began_s))
    report("fork: two branches of 50 meet", STATE_EVENTS, statistics.median(met), "ms")


async def _flood(room: _Room, alice: Client, name: str, events: Sequence[Event]) -> None:
    """Takes these in, as they would come; Alice says something now and then."""
    spent, sends = list[float](), list[float]()
    async with loop_watched() as watch:
        for at in range(0, len(events), AT_ONCE):
            began_s = time.process_time()
            await room.take(events[at : at + AT_ONCE])
            spent.append(1000 * (time.process_time() - began_s) / AT_ONCE)
            if at % (10 * AT_ONCE) == 0:
                asked_s = time.perf_counter()
                await alice.send(room.room_id, "still here")
                sends.append(1000 * (time.perf_counter() - asked_s))
    known = await room.server.hansa.rooms.rooms.get(room.room_id)
    assert known is not None
    report(f"{name}: an event, median batch", len(events), statistics.median(spent), "ms")
    report(f"{name}: an event, slowest batch", len(events), max(spent), "ms")
    report(f"{name}: a message meanwhile", len(events), max(sends), "ms at most")
    report(f"{name}: the loop stood still", len(events), 1000 * watch.longest_s, "ms at most")
    report(f"{name}: forward extremities at the end", len(events), len(known.head.heads), "events")


async def _forks(postgres: PostgresForTests) -> None:
    async with postgres.fresh() as dsn, running_server(dsn) as server:
        alice = await server.user("alice")
        room = _Room(server, alice.user_id)
        await room.enter()
        for _ in range(2):
            await room.take([room.make("m.room.message", {"body": "x"}, prev=[room.entry.event_id])])
        gc.collect()
        gc.freeze()  # the room that was made is no part of a server: looking through it would be measured too
        await _meet(room)
        await _flood(room, alice, "branches from one place", room.branches(BRANCHES))
        await _flood(room, alice, "two branches in turn", room.two_in_turn(LONG))


def run() -> None:
    with running_postgres() as postgres:
        asyncio.run(_forks(postgres))
