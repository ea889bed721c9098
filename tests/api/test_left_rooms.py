"""What those may see who are no longer in a room, or never were, and whose membership moves on without them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.server import Client, RunningServer
from tests.kit.sliding import WHOLE_STATE, SlidingClient

SECRET = "what-was-decided-afterwards"


async def set_name(client: Client, room_id: str, name: str) -> None:
    (await client.put("/rooms/{}/state/m.room.name", room_id, body={"name": name})).ok()
    (await client.put("/rooms/{}/state/m.room.topic", room_id, body={"topic": name})).ok()


async def turn_away(alice: Client, bob: Client, room_id: str, how: str) -> None:
    """A change of a membership that is not to tell anything of the room."""
    if how == "ban":
        (await alice.post("/rooms/{}/ban", room_id, body={"user_id": bob.user_id})).ok()
        return
    (await alice.post("/rooms/{}/invite", room_id, body={"user_id": bob.user_id})).ok()
    who, path = (bob, "leave") if how == "declined" else (alice, "kick")
    (await who.post("/rooms/{}/" + path, room_id, body={} if who is bob else {"user_id": bob.user_id})).ok()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ban", "declined", "withdrawn"])
@pytest.mark.parametrize("was_in", [True, False])
async def test_what_came_after_the_leaving_stays_unknown(server: RunningServer, how: str, was_in: bool) -> None:
    """T-G1, T-G2: a ban or an invite after one has left shows no state of the room, in no kind of sync."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat", name="before")
    if was_in:
        await bob.join(room_id)
    sliding, body = SlidingClient(bob), {"timeline_limit": 5, "required_state": WHOLE_STATE}
    wish: dict[str, Any] = {"room_subscriptions": {room_id: body}, "lists": {"all": {**body, "ranges": [[0, 9]]}}}
    await sliding.sync(**wish)
    since = (await bob.sync())["next_batch"]
    if was_in:
        (await bob.post("/rooms/{}/leave", room_id)).ok()
    await set_name(alice, room_id, SECRET)
    for number in range(25):
        await alice.send(room_id, f"{SECRET} {number}")
    await turn_away(alice, bob, room_id, how)
    whole = json.dumps({"room": {"include_leave": True, "timeline": {"limit": 1}}})
    told = [
        await bob.sync(since=since),
        await bob.sync(since=since, use_state_after="true"),
        await bob.sync(filter=whole),
        await bob.sync(filter=whole, use_state_after="true"),
        await sliding.sync(**wish),
        await SlidingClient(bob, "fresh").sync(**wish),
    ]
    for number, answer in enumerate(told):
        assert SECRET not in json.dumps(answer), number
    if was_in:
        assert all(room_id in answer["rooms"]["leave"] for answer in told[:4])
        assert room_id in told[4]["rooms"]


async def test_members_are_those_of_the_time_when_one_left(server: RunningServer) -> None:
    """T-G1, T-G6: a token of a later time doesn't tell who came after one had left."""
    alice, bob, carol = await server.user("alice"), await server.user("bob"), await server.user("carol")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    await carol.join(room_id)
    later = (await alice.sync())["next_batch"]
    await alice.send(room_id, "moin")
    members = (await bob.get("/rooms/{}/members", room_id, at=later)).ok()["chunk"]
    assert {event["state_key"] for event in members} == {alice.user_id, bob.user_id}
    members = (await alice.get("/rooms/{}/members", room_id, at=later)).ok()["chunk"]
    assert {event["state_key"] for event in members} == {alice.user_id, bob.user_id, carol.user_id}


async def test_who_is_only_invited_lists_no_members(server: RunningServer) -> None:
    """T-G6: with or without a token, also where the invite may be read in the room's history."""
    alice, bob = await server.user("alice"), await server.user("bob")
    shown = {"type": "m.room.history_visibility", "content": {"history_visibility": "invited"}}
    room_id = await alice.create_room(initial_state=[shown])
    (await alice.post("/rooms/{}/invite", room_id, body={"user_id": bob.user_id})).ok()
    later = (await alice.sync())["next_batch"]
    await alice.send(room_id, "moin")
    (await bob.get("/rooms/{}/members", room_id)).refused(403, "M_FORBIDDEN")
    (await bob.get("/rooms/{}/members", room_id, at=later)).refused(403, "M_FORBIDDEN")


async def test_a_redacted_reason_is_shown_nowhere(server: RunningServer) -> None:
    """T-G7: what a redaction gave as its reason goes from the redacted event too, once it was redacted itself."""
    alice = await server.user("alice")
    room_id = await alice.create_room()
    event_id = await alice.send(room_id, "moin")
    path = "/rooms/{}/redact/{}/{}"
    redaction = (await alice.put(path, room_id, event_id, "one", body={"reason": SECRET})).ok()["event_id"]
    shown = (await alice.get("/rooms/{}/event/{}", room_id, event_id)).ok()
    assert shown["unsigned"]["redacted_because"]["content"]["reason"] == SECRET
    (await alice.put(path, room_id, redaction, "two", body={})).ok()
    for seen in (
        (await alice.get("/rooms/{}/event/{}", room_id, event_id)).ok(),
        (await alice.get("/rooms/{}/messages", room_id, dir="b")).ok(),
        await alice.sync(),
    ):
        assert SECRET not in json.dumps(seen)
