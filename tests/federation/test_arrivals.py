"""Events of other servers in random rooms: their fates and the states before them, in whatever order they come."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId, RoomId
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.core.state_resolution import resolve_states
from homeserver.rooms.arrivals import Arrival, Fate
from homeserver.rooms.incoming import RoomSnapshot
from homeserver.storage.events import REJECTED
from tests.kit.dag import Node, RandomRoom
from tests.kit.postgres import PostgresForTests
from tests.kit.server import RunningServer, running_server

STEPS = 60
BATCH_MAX = 12


def an_order(nodes: Sequence[Node], chance: random.Random) -> list[Node]:
    """These nodes, each after what it cites, otherwise at random."""
    waiting, placed, order = list(nodes), set[EventId](), []
    names = {node.event.event_id for node in nodes}
    while waiting:
        ready = [
            node
            for node in waiting
            if all(
                name in placed or name not in names for name in (*node.event.prev_event_ids, *node.event.auth_event_ids)
            )
        ]
        node = chance.choice(ready[: chance.choice([1, 3, 10])])
        waiting.remove(node)
        placed.add(node.event.event_id)
        order.append(node)
    return order


async def state_before(server: RunningServer, event: Event) -> dict[StateKey, EventId]:
    reads = server.hansa.rooms.graph_reads
    stored = (await reads.by_ids([event.event_id]))[event.event_id]
    return {one.event.key: one.event.event_id for one in await reads.state_before(stored) or []}


async def current_state(server: RunningServer, room_id: RoomId) -> dict[StateKey, EventId]:
    rooms = server.hansa.rooms.rooms
    room = await rooms.get(room_id)
    assert room is not None
    return {one.event.key: one.event.event_id for one in await rooms.full_state(room)}


async def take_all(server: RunningServer, room: RandomRoom, chance: random.Random) -> None:
    """The room, taken in by a server that came into it with its second event."""
    create, first, *rest = room.nodes
    incoming = server.hansa.rooms.incoming
    snapshot = RoomSnapshot(version=room.version, state=[create.event], auth_chain=[create.event], event=first.event)
    await incoming.enter(room.room_id, snapshot)
    order = an_order(rest, chance)
    while order:
        size = chance.randint(1, BATCH_MAX)
        batch, order = order[:size], order[size:]
        fates = await incoming.take(room.room_id, [Arrival(event=node.event) for node in batch])
        for node, fate in zip(batch, fates, strict=True):
            assert (fate is Fate.REJECTED) == (node.broken is not None), (node.event, node.broken, fate)


async def check(server: RunningServer, room: RandomRoom) -> None:
    """Every state is the one that the algorithm gives, read from what was written."""
    for node in room.nodes[2:]:
        assert await state_before(server, node.event) == dict(node.state_before), node.event
    rooms = server.hansa.rooms.rooms
    kept = await rooms.get(room.room_id)
    assert kept is not None
    by_id = {node.event.event_id: node for node in room.nodes}
    heads = [by_id[head.event_id].state_after for head in kept.head.heads]
    expected = resolve_states(room.version, heads, room.events, rejected=room.rejected)
    assert await current_state(server, room.room_id) == expected
    members = {key[1]: room.events[name].membership for key, name in expected.items() if key[0] == "m.room.member"}
    assert {user: value for user, value in kept.members.items() if user in members} == members
    rooms.drop(room.room_id)
    again = await rooms.get(room.room_id)
    assert again is not None
    assert set(again.head.heads) == set(kept.head.heads)
    assert again.line.nid == kept.line.nid
    assert dict(again.members) == dict(kept.members)
    assert await current_state(server, room.room_id) == expected


def a_room(version: str, seed: int) -> RandomRoom:
    """None in which something follows the create event itself: of that, who comes later has no place in the graph."""
    while True:
        room = RandomRoom(ROOM_VERSIONS[version], seed).grow(STEPS)
        create = room.nodes[0].event.event_id
        if not any(create in node.event.prev_event_ids for node in room.nodes[2:]):
            return room
        seed += 1_000


async def compare(postgres: PostgresForTests, version: str, seed: int) -> None:
    room = a_room(version, seed)
    for order in range(2):
        async with postgres.fresh() as dsn, running_server(dsn) as server:
            await take_all(server, room, random.Random(f"{seed}/{order}"))
            await check(server, room)
            flags = await server.db.fetch("SELECT event_id, flags FROM events")
            rejected = {row["event_id"] for row in flags if row["flags"] & REJECTED}
            assert rejected == room.rejected & {row["event_id"] for row in flags}


@pytest.mark.slow
async def test_what_one_state_alone_has_is_no_conflict_in_version_1(postgres: PostgresForTests) -> None:
    """T-C1: it counts for the authorisation of what is one, whichever of the states has it."""
    await compare(postgres, "1", 105)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1", "2", "6", "8", "10", "11", "12"])
@pytest.mark.parametrize("seed", range(2))
async def test_states_are_those_of_the_algorithm(postgres: PostgresForTests, version: str, seed: int) -> None:
    """T-C1: in any order, in batches of any size, from memory or from disk."""
    await compare(postgres, version, seed)


@pytest.mark.deep
@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_states_of_many_rooms(postgres: PostgresForTests, version: str) -> None:
    for seed in range(100, 120):
        await compare(postgres, version, seed)
