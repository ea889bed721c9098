"""Room upgrades over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.kit.server import Client, RunningServer, running_server


@pytest.fixture
async def server(database_dsn: str) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn) as running:
        yield running


async def state_of(client: Client, room: str) -> dict[tuple[str, str], Any]:
    events = (await client.get("/rooms/{}/state", room)).ok()
    return {(event["type"], event["state_key"]): event["content"] for event in events}


@pytest.mark.parametrize(("before", "after"), [("1", "12"), ("9", "11"), ("11", "12"), ("12", "12"), ("12", "10")])
async def test_an_upgrade(server: RunningServer, before: str, after: str) -> None:
    """T-C26, T-C27: both rooms say so, and only then do aliases and the place in the directory move."""
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    old = await alice.create_room(
        room_version=before,
        visibility="public",
        name="Speicher",
        topic="Stadt",
        room_alias_name="speicher",
        creation_content={"type": "org.example.kind", "m.federate": False},
        power_level_content_override={"events": {"org.example": 75}},
    )
    await bob.join(old)
    (await alice.post("/rooms/{}/ban", old, body={"user_id": carol.user_id, "reason": "noise"})).ok()
    answer = (await alice.post("/rooms/{}/upgrade", old, body={"new_version": after})).ok()
    new = answer["replacement_room"]
    state, left = await state_of(alice, new), await state_of(alice, old)
    create = state["m.room.create", ""]
    assert (create["room_version"], create["type"], create["m.federate"]) == (after, "org.example.kind", False)
    assert create["predecessor"]["room_id"] == old
    assert left["m.room.tombstone", ""]["replacement_room"] == new
    assert (left["m.room.power_levels", ""]["events_default"], left["m.room.power_levels", ""]["invite"]) == (50, 50)
    for kind in ("name", "topic", "join_rules", "history_visibility", "guest_access"):
        assert state.get(("m.room." + kind, "")) == left.get(("m.room." + kind, ""))
    assert state["m.room.member", carol.user_id] == {"membership": "ban", "reason": "noise"}
    assert ("m.room.member", bob.user_id) not in state
    levels = state["m.room.power_levels", ""]
    assert levels["events"]["org.example"] == 75
    # Creators of version 12 need no level; after them somebody must still reach the highest.
    assert levels["users"] == ({} if after == "12" else {alice.user_id: 150 if before == "12" else 100})
    assert levels["events"].get("m.room.tombstone") == (150 if "12" in (before, after) else None)
    assert (await alice.get("/directory/room/{}", "#speicher:hansa.test")).ok()["room_id"] == new
    assert state["m.room.canonical_alias", ""] == {"alias": "#speicher:hansa.test"}
    assert left["m.room.canonical_alias", ""] == {}
    (listed,) = (await bob.get("/publicRooms")).ok()["chunk"]
    assert listed["room_id"] == new
    assert (await alice.post("/rooms/{}/upgrade", old, body={"new_version": after})).ok() == answer


async def test_who_may_upgrade(server: RunningServer) -> None:
    """T-H8: the power is checked before anything is made; creators are users."""
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    for client, body, status, errcode in [
        (bob, {"new_version": "11"}, 403, "M_FORBIDDEN"),
        (carol, {"new_version": "11"}, 403, "M_FORBIDDEN"),
        (alice, {"new_version": "nope"}, 400, "M_UNSUPPORTED_ROOM_VERSION"),
        (alice, {}, 400, "M_MISSING_PARAM"),
        (alice, {"new_version": "12", "additional_creators": ["bob"]}, 400, "M_INVALID_PARAM"),
        (alice, {"new_version": "12", "additional_creators": "@bob:hansa.test"}, 400, "M_BAD_JSON"),
        (alice, {"new_version": "12", "additional_creators": ["@b:c.d"] * 101}, 400, "M_INVALID_PARAM"),
    ]:
        (await client.post("/rooms/{}/upgrade", room, body=body)).refused(status, errcode)
        assert len((await alice.get("/joined_rooms")).ok()["joined_rooms"]) == 1
    body = {"new_version": "12", "additional_creators": [bob.user_id, alice.user_id]}
    new = (await alice.post("/rooms/{}/upgrade", room, body=body)).ok()["replacement_room"]
    assert (await state_of(alice, new))["m.room.create", ""]["additional_creators"] == [bob.user_id]


async def test_a_moderator_hands_the_levels_on(server: RunningServer) -> None:
    """The upgrader can set what is copied, and has no more power afterwards than before."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(
        room_version="9",
        preset="public_chat",
        power_level_content_override={
            "users": {alice.user_id: 100, bob.user_id: "60"},
            "events": {"m.room.tombstone": 60, "m.room.name": 90},
        },
        name="high",
    )
    await bob.join(room)
    new = (await bob.post("/rooms/{}/upgrade", room, body={"new_version": "11"})).ok()["replacement_room"]
    state = await state_of(bob, new)
    assert state["m.room.power_levels", ""]["users"] == {alice.user_id: 100, bob.user_id: 60}
    assert state["m.room.name", ""] == {"name": "high"}


async def test_a_space_keeps_its_rooms(server: RunningServer) -> None:
    alice = await server.user("alice")
    children = [
        {"type": "m.space.child", "state_key": "!a:hansa.test", "content": {"via": ["hansa.test"]}},
        {"type": "m.space.child", "state_key": "!removed:hansa.test", "content": {}},
    ]
    kind = {"type": "m.space"}
    space = await alice.create_room(room_version="11", creation_content=kind, initial_state=children)
    new = (await alice.post("/rooms/{}/upgrade", space, body={"new_version": "12"})).ok()["replacement_room"]
    state = await state_of(alice, new)
    assert state["m.room.create", ""]["type"] == "m.space"
    assert [key for key in state if key[0] == "m.space.child"] == [("m.space.child", "!a:hansa.test")]
