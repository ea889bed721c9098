"""Sliding sync of rooms that live elsewhere."""

from __future__ import annotations

from tests.federation.test_rooms import join
from tests.kit.server import RunningServer
from tests.kit.sliding import SlidingClient, bodies, types, window
from tests.kit.until import until


async def test_an_invite_from_elsewhere_comes_goes_and_is_taken(here: RunningServer, there: RunningServer) -> None:
    alice, bob = await here.user("alice"), await there.user("bob")
    sliding = SlidingClient(bob)
    lists = {"main": window()}
    await sliding.sync(lists=lists)
    declined = await alice.create_room(name="Town", invite=[bob.user_id])

    async def is_told() -> bool:
        return declined in (await sliding.sync(lists=lists))["rooms"]

    await until(is_told)
    room = sliding.last["rooms"][declined]
    assert room["membership"] == "invite" and {"m.room.name", "m.room.member"} <= set(types(room["invite_state"]))
    (await bob.post("/rooms/{}/leave", declined)).ok()
    room = (await sliding.sync(lists=lists))["rooms"][declined]
    assert room["membership"] == "leave" and room["timeline"][-1]["content"]["membership"] == "leave"
    assert (await sliding.sync(lists=lists))["rooms"] == {}

    room_id = await alice.create_room(preset="public_chat", name="Harbour")
    await alice.send(room_id, "moin")
    await join(bob, room_id, here)
    room = (await sliding.sync(lists=lists))["rooms"][room_id]
    assert room["initial"] and room["name"] == "Harbour" and room["joined_count"] == 2
    event_id = await alice.send(room_id, "moin moin")

    async def is_heard() -> bool:
        answer = await sliding.sync(lists=lists)
        return event_id in sliding.rooms[room_id]["events"] and "moin moin" in bodies(answer["rooms"][room_id])

    await until(is_heard)
