"""What the process remembers of rooms is what the database holds, whatever was done before."""

from __future__ import annotations

import asyncio
import random

import pytest

from homeserver.core.identifiers import RoomId
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.state_numbers import StateNumbers
from tests.kit.server import Client, RunningServer


async def do_something(users: list[Client], room: str, chance: random.Random) -> None:
    """One command of somebody's; refusals are fine."""
    who, whom = chance.choice(users), chance.choice(users)
    verb = chance.choice(
        ["join", "leave", "kick", "ban", "unban", "invite", "topic", "name", "power", "send", "redact"]
    )
    if verb in ("join", "leave"):
        await who.post(f"/rooms/{{}}/{verb}", room)
    elif verb in ("kick", "ban", "unban", "invite"):
        await who.post(f"/rooms/{{}}/{verb}", room, body={"user_id": whom.user_id})
    elif verb in ("topic", "name"):
        await who.put("/rooms/{}/state/{}", room, f"m.room.{verb}", body={verb: str(chance.random())})
    elif verb == "power":
        levels = (await users[0].get("/rooms/{}/state/m.room.power_levels", room)).json
        levels["users"] = {**levels.get("users", {}), whom.user_id: chance.choice([0, 50])}
        levels["users"].pop(users[0].user_id, None)
        await users[0].put("/rooms/{}/state/m.room.power_levels", room, body=levels)
    else:
        path = "/rooms/{}/send/m.room.message/{}"
        sent = await who.put(path, room, str(chance.random()), body={"body": "x", "msgtype": "m.text"})
        if verb == "redact" and sent.status == 200:
            await who.put("/rooms/{}/redact/{}/{}", room, sent.json["event_id"], str(chance.random()))


async def remembered(rooms: Rooms, room: Room) -> dict[str, object]:
    state = await rooms.full_state(room)
    return {
        "state": {(stored.event.type, stored.event.state_key): stored.event.event_id for stored in state},
        "members": dict(room.members),
        "heads": sorted(head.event_id for head in room.head.heads),
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_memory_equals_the_database(server: RunningServer, seed: int) -> None:
    """T-O20: a cache that missed a change would go on deciding by it."""
    chance = random.Random(seed)
    users = [await server.user(f"u{number}") for number in range(4)]
    room_id = RoomId(await users[0].create_room(preset="public_chat"))
    db = server.hansa.world.db
    cached = server.hansa.sync.reads.rooms
    for _ in range(4):
        for _ in range(15):
            await do_something(users, room_id, chance)
        fresh = Rooms(db, EventStore(db), StateNumbers(db))
        ours, theirs = await cached.get(room_id), await fresh.get(room_id)
        assert ours is not None and theirs is not None
        assert await remembered(cached, ours) == await remembered(fresh, theirs), f"seed {seed}"


async def test_a_load_given_up_makes_no_room_unknown(server: RunningServer) -> None:
    """A sync beside it would say that nothing is new, and its device never hear of the event."""
    alice = await server.user("alice")
    room_id = RoomId(await alice.create_room())
    rooms = server.hansa.sync.reads.rooms
    rooms.drop(room_id)
    given_up = asyncio.ensure_future(rooms.get_many([room_id]))
    beside = asyncio.ensure_future(rooms.get_many([room_id, RoomId("!nowhere:hansa.test")]))
    await asyncio.sleep(0)
    given_up.cancel()
    assert (await beside).keys() == {room_id}
    with pytest.raises(asyncio.CancelledError):
        await given_up


async def test_what_was_read_before_a_room_was_dropped_is_not_kept(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks after it gets the room as it is now: one that others looked for as it began was unknown to all."""
    alice = await server.user("alice")
    room_id = RoomId(await alice.create_room())
    rooms = server.hansa.rooms.rooms
    rooms.drop(room_id)
    may_end = asyncio.Event()

    async def loads_early(room_ids: list[RoomId]) -> dict[RoomId, Room]:
        await may_end.wait()
        return {}

    with monkeypatch.context() as patched:
        patched.setattr(rooms, "_load", loads_early)
        early = asyncio.create_task(rooms.get(room_id))
        await asyncio.sleep(0)
    rooms.drop(room_id)
    async with asyncio.timeout(10):
        late = await rooms.get(room_id)
    may_end.set()
    assert late is not None and await early is None
    assert await rooms.get(room_id) is late
