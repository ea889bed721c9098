"""The room directory and spaces, asked for by another server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.federation.test_rooms import join, members, name_of
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.peer import running_peer
from tests.kit.peer_room import V1, PeerRoom
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer
from tests.kit.until import until


@pytest.fixture
async def open_there(postgres: PostgresForTests, authority: Authority) -> AsyncIterator[RunningServer]:
    toml = "[rooms]\npublic_list_over_federation = true\n"
    async with postgres.fresh() as dsn, federated_server(dsn, authority, toml=toml) as server:
        yield server


async def test_the_list_is_shown_where_the_operator_wants_it(
    here: RunningServer, there: RunningServer, open_there: RunningServer
) -> None:
    """Closed unless it was opened."""
    alice, bob, carol = await here.user("alice"), await there.user("bob"), await open_there.user("carol")
    for user in (bob, carol):
        await user.create_room(visibility="public", name="Market", preset="public_chat")
    path = "/publicRooms?server={}"
    assert (await alice.get(path, name_of(there))).status in (403, 502)
    found = (await alice.get(path, name_of(open_there))).ok()
    assert [room["name"] for room in found["chunk"]] == ["Market"]
    body = {"filter": {"generic_search_term": "nothing"}}
    assert (await alice.post(path, name_of(open_there), body=body)).ok()["chunk"] == []


async def test_a_space_on_another_server_is_walked(here: RunningServer, there: RunningServer) -> None:
    """T-D13: rooms that nobody of the asking server could enter are named, not described."""
    alice, bob = await here.user("alice"), await there.user("bob")
    space = await bob.create_room(preset="public_chat", creation_content={"type": "m.space"}, name="Quarter")
    shop = await bob.create_room(preset="public_chat", name="Shop")
    cellar = await bob.create_room(preset="private_chat", name="Cellar")
    for child in (shop, cellar):
        body = {"via": [name_of(there)]}
        (await bob.put("/rooms/{}/state/m.space.child/{}", space, child, body=body)).ok()
    (await alice.post(f"/join/{{}}?via={name_of(there)}", space)).ok()
    found = (await alice.get("/_matrix/client/v1/rooms/{}/hierarchy", space)).ok()
    assert [room.get("name") for room in found["rooms"]] == ["Quarter", "Shop"]


async def space_of(alice: Client, here: RunningServer, children: dict[str, str]) -> str:
    """A public space with these rooms."""
    space = await alice.create_room(preset="public_chat", creation_content={"type": "m.space"}, name="Quarter")
    for child in children.values():
        body = {"via": [name_of(here)]}
        (await alice.put("/rooms/{}/state/m.space.child/{}", space, child, body=body)).ok()
    return space


async def test_what_another_server_is_told_of_children(here: RunningServer, authority: Authority) -> None:
    """T-D13, T-C24: none of rooms that nobody here is in; only the names of those whose ACL shuts the server out, and
    of those that none of its users could come into by the rules that the room's version has."""
    alice = await here.user("alice")

    async def room(rule: dict[str, Any] | None, version: str = "11", *more: dict[str, Any]) -> str:
        rules = [{"type": "m.room.join_rules", "state_key": "", "content": rule}] if rule is not None else []
        return await alice.create_room(preset="private_chat", room_version=version, initial_state=[*rules, *more])

    async with running_peer(authority) as peer:
        club = await alice.create_room(preset="public_chat", room_version="11")
        await PeerRoom.visited(peer, name_of(here), club)
        guild = await alice.create_room(preset="public_chat", room_version="11")
        shut = {"type": "m.room.server_acl", "state_key": "", "content": {"allow": ["*"], "deny": ["localhost"]}}
        restricted = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
        strange = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": guild}]}
        rooms = {
            "open": await room({"join_rule": "public"}),
            "shut": await room({"join_rule": "public"}, "11", shut),
            "left": await room({"join_rule": "public"}),
            "knock": await room({"join_rule": "knock"}),
            "old knock": await room({"join_rule": "knock"}, "6"),
            "restricted": await room(restricted),
            "old restricted": await room(restricted, "7"),
            "strange": await room(strange),
            "private": await room(None),
        }
        space = await space_of(alice, here, rooms)
        (await alice.post("/rooms/{}/leave", rooms["left"])).ok()
        path = f"{V1}/hierarchy/{space}"
        found = await peer.ask_json("GET", name_of(here), path)
        names = {room_id: name for name, room_id in rooms.items()}
        assert {names[child["room_id"]] for child in found["children"]} == {"open", "knock", "restricted"}
        hidden = {"shut", "old knock", "old restricted", "strange", "private"}
        assert {names[room_id] for room_id in found["inaccessible_children"]} == hidden
        (await alice.post("/rooms/{}/leave", club)).ok()
        found = await peer.ask_json("GET", name_of(here), path)
        assert {names[child["room_id"]] for child in found["children"]} == {"open", "knock"}


async def test_children_that_were_left_are_asked_for(here: RunningServer, there: RunningServer) -> None:
    """T-D13: what a room was when the last of ours left it isn't what it is."""
    alice, bob = await here.user("alice"), await there.user("bob")
    child = await bob.create_room(preset="public_chat", name="Shop")
    space = await bob.create_room(preset="public_chat", creation_content={"type": "m.space"}, name="Quarter")
    (await bob.put("/rooms/{}/state/m.space.child/{}", space, child, body={"via": [name_of(there)]})).ok()
    for room_id in (space, child):
        await join(alice, room_id, there)
    (await alice.post("/rooms/{}/leave", child)).ok()

    async def has_left() -> bool:
        return await members(bob, child) == {bob.user_id}

    await until(has_left)
    (await bob.put("/rooms/{}/state/m.room.name", child, body={"name": "Bakery"})).ok()

    async def seen() -> list[str]:
        found = (await alice.get("/_matrix/client/v1/rooms/{}/hierarchy", space)).ok()
        return [room.get("name") for room in found["rooms"]]

    assert await seen() == ["Quarter", "Bakery"]
    via = f"/_matrix/client/v1/room_summary/{{}}?via={name_of(there)}"
    assert (await alice.get(via, child)).ok()["name"] == "Bakery"
    (await bob.put("/rooms/{}/state/m.room.join_rules", child, body={"join_rule": "invite"})).ok()
    assert await seen() == ["Quarter"]
