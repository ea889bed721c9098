"""Floods of forks: events of a peer that branch on purpose, brought in transactions while somebody of ours talks on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, RoomId
from tests.kit.loop_watch import loop_watched
from tests.kit.peer_room import PeerRoom
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

EACH_TRANSACTION, WAITING_MAX = 50, 2_000


def branches(room: PeerRoom, count: int) -> list[Event]:
    """As many branches, of one state event each, all from where the room is."""
    return [room.make("x.state", {"n": number}, f"{number % 100}") for number in range(count)]


def two_in_turn(room: PeerRoom, count: int) -> list[Event]:
    """Two branches that set other keys, one event of the one and one of the other."""
    made: list[Event] = []
    ends = [list(room.heads), list(room.heads)]
    for number in range(count):
        event = room.make("x.state", {"n": number}, f"{number}", prev=ends[number % 2], depth=room.depth + number)
        ends[number % 2] = [event.event_id]
        made.append(event)
    return made


def changing_names(room: PeerRoom, count: int) -> list[Event]:
    """The same where all of them are of one member, who changes the name that the next event's authorisation cites."""
    made: list[Event] = []
    own = room.state["m.room.member", room.eve].event_id
    ends: list[tuple[list[EventId], EventId]] = [(list(room.heads), own)] * 2
    others = [room.state[key].event_id for key in room.state if key[0] in ("m.room.create", "m.room.power_levels")]
    others.append(room.state["m.room.join_rules", ""].event_id)
    for number in range(count):
        prev, member = ends[number % 2]
        content = {"membership": "join", "displayname": f"Eve {number}"}
        event = room.make(
            "m.room.member", content, room.eve, prev=prev, auth=[*others, member], depth=room.depth + number
        )
        ends[number % 2] = ([event.event_id], event.event_id)
        made.append(event)
    return made


@dataclass(slots=True)
class Seen:
    """Of one flood: the processor time of this process for each event, how long each message of ours took meanwhile,
    the longest that the loop stood still, and how many forward extremities there were at the most and at the end."""

    cpu_ms: float = 0.0
    sends_s: list[float] = field(default_factory=list)
    stood_still_s: float = 0.0
    heads_most: int = 0
    heads_left: int = 0


async def flood(server: RunningServer, room: PeerRoom, user: Client, events: Sequence[Event]) -> Seen:
    """Brings these events, and waits until all have been taken in."""
    seen, name = Seen(), server.hansa.config.server_name

    async def waiting() -> int:
        count: int = await server.db.fetchval("SELECT count(*) FROM staged_pdus WHERE room_id = $1", room.room_id)
        return count

    async def talk() -> None:
        while True:
            began_s = time.perf_counter()
            await user.send(room.room_id, "still here")
            seen.sends_s.append(time.perf_counter() - began_s)
            seen.heads_most = max(seen.heads_most, await heads_of(server, room))
            await asyncio.sleep(0.2)

    async def is_room() -> bool:
        return await waiting() < WAITING_MAX

    async def is_done() -> bool:
        return not await waiting()

    began_s = time.process_time()
    async with loop_watched() as watch:
        talking = asyncio.create_task(talk())
        try:
            for at in range(0, len(events), EACH_TRANSACTION):
                await until(is_room, within_s=300)
                answered = await room.send(name, *events[at : at + EACH_TRANSACTION])
                assert not any(one.get("error") for one in answered.values()), answered
            await until(is_done, within_s=300)
        finally:
            talking.cancel()
    seen.cpu_ms = 1000 * (time.process_time() - began_s) / len(events)
    seen.stood_still_s = watch.longest_s
    seen.heads_left = await heads_of(server, room)
    return seen


async def heads_of(server: RunningServer, room: PeerRoom) -> int:
    """How many forward extremities the room has."""
    known = await server.hansa.rooms.rooms.get(RoomId(room.room_id))
    assert known is not None
    return len(known.head.heads)
