"""What forks cost that a server makes on purpose: 10,000 events in a room of 20,000 state events.

With a real PostgreSQL, and a peer that brings its events in transactions while a user of ours talks on. Processor time
is that of this process: of the server, and what the peer takes to send; the database's isn't counted. "Stood still" is
the processor time of the loop's thread between two of its turns. Before that two branches of 50 state events meet.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from pathlib import Path

from bench.harness import report
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId
from homeserver.rooms.arrivals import Arrival
from homeserver.runtime.logging import configure_logging
from tests.federation.test_hostile_peers import joined
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.fork_flood import Seen, branches, changing_names, flood, two_in_turn
from tests.kit.peer import running_peer
from tests.kit.peer_room import PeerRoom
from tests.kit.postgres import PostgresForTests, running_postgres
from tests.kit.server import Client, RunningServer

STATE_EVENTS, BRANCH, MEETINGS = 20_000, 50, 5
BRANCHES, LONG, NAMES = 3_000, 4_000, 3_000


def _add_state(room: PeerRoom) -> None:
    for number in range(STATE_EVENTS):
        event = room.make("x.filler", {}, f"{number}")
        room.events[event.event_id] = room.state[event.key] = event


async def _take(server: RunningServer, room: PeerRoom, events: list[Event]) -> None:
    await server.hansa.rooms.incoming.take(RoomId(room.room_id), [Arrival(event=event) for event in events])


def _branch(room: PeerRoom, side: int) -> list[Event]:
    made: list[Event] = []
    after = list(room.heads)
    for number in range(BRANCH):
        key = f"{number if number % 2 else side * 1_000 + number}"
        made.append(room.make("x.state", {"side": side}, key, prev=after))
        after = [made[-1].event_id]
    return made


async def _meet(server: RunningServer, room: PeerRoom) -> None:
    one, other = _branch(room, 1), _branch(room, 2)
    await _take(server, room, one)
    await _take(server, room, other)
    met = []
    for number in range(MEETINGS):
        ends = [one[-1 - number].event_id, other[-1].event_id]
        event = room.make("m.room.message", {"body": f"{number}"}, prev=ends)
        began_s = time.process_time()
        await _take(server, room, [event])
        met.append(1000 * (time.process_time() - began_s))
    report("fork: two branches of 50 meet", STATE_EVENTS, statistics.median(met), "ms")


def _tell(name: str, count: int, seen: Seen) -> None:
    report(f"{name}: an event", count, seen.cpu_ms, "ms CPU")
    report(f"{name}: a message meanwhile, median", count, 1000 * statistics.median(seen.sends_s), "ms")
    report(f"{name}: a message meanwhile", count, 1000 * max(seen.sends_s), "ms at most")
    report(f"{name}: the loop stood still", count, 1000 * seen.stood_still_s, "ms at most")
    report(f"{name}: forward extremities", count, seen.heads_most, "at most")
    report(f"{name}: forward extremities at the end", count, seen.heads_left, "events")


async def _flood(server: RunningServer, room: PeerRoom, alice: Client) -> None:
    for name, made in (
        ("branches from one place", branches(room, BRANCHES)),
        ("two branches in turn", two_in_turn(room, LONG)),
        ("two branches of one member's names", changing_names(room, NAMES)),
    ):
        _tell(name, len(made), await flood(server, room, alice, made))


async def _forks(postgres: PostgresForTests, authority: Authority) -> None:
    async with (
        postgres.fresh() as dsn,
        running_peer(authority) as peer,
        federated_server(dsn, authority) as server,
    ):
        alice, room = await joined(server, peer, filled=_add_state)
        gc.collect()
        gc.freeze()  # the room that was made is no part of a server: looking through it would be measured too
        await _meet(server, room)
        await _flood(server, room, alice)


def run() -> None:
    configure_logging(level="warning")
    with running_postgres() as postgres, tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder:
        asyncio.run(_forks(postgres, Authority(Path(folder))))
