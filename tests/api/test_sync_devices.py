"""/sync for one device: what it has been told of members, lost answers, filters with state_after, too many waiting."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from homeserver.sync.hub import PARKED_PER_DEVICE_MAX
from tests.kit.server import Client, RunningServer
from tests.kit.until import SOON_S

LAZY = json.dumps({"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 1}}})


def members(answer: dict[str, Any], room_id: str) -> set[str]:
    room = answer["rooms"]["join"][room_id]
    return {event["state_key"] for event in room["state"]["events"] if event["type"] == "m.room.member"}


async def two(server: RunningServer) -> tuple[Client, Client, str]:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat", name="x")
    await bob.join(room_id)
    await alice.send(room_id)
    return alice, bob, room_id


async def test_members_come_again_when_the_answer_was_lost(server: RunningServer) -> None:
    alice, bob, room_id = await two(server)
    since = (await alice.sync(filter=LAZY))["next_batch"]
    await bob.send(room_id)
    await alice.sync(filter=LAZY, since=since)
    answer = await alice.sync(filter=LAZY, since=since)
    assert members(answer, room_id) == {bob.user_id}
    await bob.send(room_id)
    assert members(await alice.sync(filter=LAZY, since=answer["next_batch"]), room_id) == set()


async def test_members_come_again_to_a_device_that_begins_anew(server: RunningServer) -> None:
    alice, bob, room_id = await two(server)
    since = (await alice.sync(filter=LAZY))["next_batch"]
    await bob.send(room_id)
    await alice.sync(filter=LAZY, since=since)
    await alice.send(room_id)
    fresh = await alice.sync(filter=LAZY)
    assert members(fresh, room_id) == {alice.user_id}
    await bob.send(room_id)
    assert members(await alice.sync(filter=LAZY, since=fresh["next_batch"]), room_id) == {bob.user_id}


async def test_redundant_members_come_each_time(server: RunningServer) -> None:
    alice, bob, room_id = await two(server)
    state = {"lazy_load_members": True, "include_redundant_members": True}
    wish = json.dumps({"room": {"state": state, "timeline": {"limit": 1}}})
    since = (await alice.sync(filter=wish))["next_batch"]
    for _ in range(3):
        await bob.send(room_id)
        answer = await alice.sync(filter=wish, since=since)
        since = answer["next_batch"]
        assert members(answer, room_id) == {bob.user_id}


async def test_state_after_tells_what_the_timeline_leaves_out(server: RunningServer) -> None:
    alice, _, room_id = await two(server)
    wish = json.dumps({"room": {"timeline": {"types": ["m.room.message"]}}})
    since = (await alice.sync(filter=wish, use_state_after="true"))["next_batch"]
    (await alice.put("/rooms/{}/state/m.room.topic", room_id, body={"topic": "new"})).ok()
    room = (await alice.sync(filter=wish, since=since, use_state_after="true"))["rooms"]["join"][room_id]
    assert "state" not in room and room["timeline"]["events"] == []
    assert [event["content"] for event in room["state_after"]["events"]] == [{"topic": "new"}]


async def test_the_oldest_of_too_many_waiting_syncs_ends(server: RunningServer) -> None:
    """A device can't park more than a few syncs; other devices of the user keep theirs."""
    alice, _, _ = await two(server)
    other = await server.login("alice")
    since = (await alice.sync())["next_batch"]
    others = (await other.sync())["next_batch"]
    hub = server.hansa.sync.hub
    kept = asyncio.create_task(other.sync(since=others, timeout=120_000))
    async with asyncio.timeout(SOON_S):
        await hub.has_waiting.wait()
        parked = [
            asyncio.create_task(alice.sync(since=since, timeout=120_000)) for _ in range(PARKED_PER_DEVICE_MAX + 1)
        ]
        done, waiting = await asyncio.wait(parked, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1 and not kept.done() and hub.waiting == PARKED_PER_DEVICE_MAX + 1
    (await alice.put("/user/{}/account_data/org.x", alice.user_id, body={"a": 1})).ok()
    async with asyncio.timeout(SOON_S):
        answers = await asyncio.gather(kept, *waiting)
    assert all(answer["account_data"]["events"] for answer in answers)
    assert hub.waiting == 0
