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


async def test_filters_know_of_an_invite_what_was_told_with_it(here: RunningServer, there: RunningServer) -> None:
    """A space of another server is no room in the list, and what is encrypted is so before one is in it."""
    alice, bob = await here.user("alice"), await there.user("bob")
    rooms, spaces, secrets = {"not_room_types": ["m.space"]}, {"room_types": ["m.space"]}, {"is_encrypted": True}
    wanted = {"rooms": rooms, "spaces": spaces, "secrets": secrets}
    lists = {name: window(filters=filters) for name, filters in wanted.items()}
    sliding = SlidingClient(bob)
    await sliding.sync(lists=lists)
    await alice.create_room(creation_content={"type": "m.space"}, invite=[bob.user_id])
    encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    await alice.create_room(initial_state=[encryption], invite=[bob.user_id])

    async def counts() -> dict[str, int]:
        return {name: one["count"] for name, one in (await sliding.sync(lists=lists))["lists"].items()}

    async def are_told() -> bool:
        await counts()
        return len(sliding.rooms) == 2

    await until(are_told)
    assert await counts() == {"rooms": 1, "spaces": 1, "secrets": 1}
