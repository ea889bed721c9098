"""The room directory and spaces, asked for by another server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.rooms.remote_trees import KEPT_S
from homeserver.rooms.space_tree import ASKED_MAX
from homeserver.runtime.clock import SystemClock
from tests.federation.test_rooms import join, members, name_of
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.peer import running_peer
from tests.kit.peer_room import V1, PeerRoom
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

HIERARCHY = "/_matrix/client/v1/rooms/{}/hierarchy"


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


async def test_a_large_space_on_another_server(here: RunningServer, there: RunningServer) -> None:
    """T-C28: what its server says of the rooms in it is enough for the first page. Who is in the space asks of each, of
    some for a page: none is left out for it."""
    alice, bob = await here.user("alice"), await there.user("bob")
    rooms = [await bob.create_room(preset="public_chat") for _ in range(ASKED_MAX + 5)]
    space = await space_of(bob, there, {room_id: room_id for room_id in rooms})
    outer = await alice.create_room(creation_content={"type": "m.space"})
    (await alice.put("/rooms/{}/state/m.space.child/{}", outer, space, body={"via": [name_of(there)]})).ok()
    page = (await alice.get(HIERARCHY, outer)).ok()
    assert "next_batch" not in page
    assert {one["room_id"] for one in page["rooms"]} == {outer, space, *rooms}
    await join(alice, space, there)
    page = (await alice.get(HIERARCHY, space)).ok()
    found = [one["room_id"] for one in page["rooms"]]
    assert len(found) == 1 + ASKED_MAX
    page = (await alice.get(HIERARCHY, space, **{"from": page["next_batch"]})).ok()
    found += [one["room_id"] for one in page["rooms"]]
    assert "next_batch" not in page and len(found) == len(set(found)) and set(found) == {space, *rooms}


async def test_summaries_of_rooms_on_another_server(here: RunningServer, there: RunningServer) -> None:
    """T-D10: for who is invited, or in a room whose members may come in, and for nobody else."""
    alice, bob, carol = await here.user("alice"), await there.user("bob"), await here.user("carol")
    club = await bob.create_room(preset="public_chat")
    await join(alice, club, there)
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
    rules = {"type": "m.room.join_rules", "state_key": "", "content": rule}
    restricted = await bob.create_room(preset="private_chat", initial_state=[rules])
    private, public = await bob.create_room(preset="private_chat"), await bob.create_room(preset="public_chat")
    for room_id in (private, public):
        (await bob.post("/rooms/{}/invite", room_id, body={"user_id": alice.user_id})).ok()

    async def membership(client: Client, room_id: str) -> str | None:
        path = f"/_matrix/client/v1/room_summary/{{}}?via={name_of(there)}"
        answer = await client.get(path, room_id)
        return str(answer.ok()["membership"]) if answer.status == 200 else None

    rooms = (restricted, private, public)
    assert [await membership(alice, room_id) for room_id in rooms] == ["leave", "invite", "invite"]
    assert [await membership(carol, room_id) for room_id in rooms] == [None, None, "leave"]
    space = await space_of(alice, there, {room_id: room_id for room_id in rooms})
    for client, seen in ((alice, set(rooms)), (carol, {public})):
        found = (await client.get(HIERARCHY, space)).ok()["rooms"]
        assert {one["room_id"] for one in found} == {space, *seen}


async def test_what_another_server_is_told_of_suggested_rooms(here: RunningServer, authority: Authority) -> None:
    """Servers walk on along the events that they are told of."""
    alice = await here.user("alice")
    rooms = [await alice.create_room(preset="public_chat") for _ in range(2)]
    space = await space_of(alice, here, {room_id: room_id for room_id in rooms})
    body = {"via": [name_of(here)], "suggested": True}
    (await alice.put("/rooms/{}/state/m.space.child/{}", space, rooms[1], body=body)).ok()
    async with running_peer(authority) as peer:
        path = f"{V1}/hierarchy/{space}"
        for query, told in (("", rooms), ("?suggested_only=false", rooms), ("?suggested_only=true", rooms[1:])):
            found = await peer.ask_json("GET", name_of(here), path + query)
            assert [child["room_id"] for child in found["children"]] == told
            assert [child["state_key"] for child in found["room"]["children_state"]] == told


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


class LaterClock(SystemClock):
    """Of a machine that went on for so long."""

    later_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.later_s


async def test_children_that_were_left_are_asked_for(
    postgres: PostgresForTests, authority: Authority, there: RunningServer
) -> None:
    """T-D13: what a room was when the last of ours left it isn't what it is. What was told is kept for a minute."""
    clock = LaterClock()
    async with postgres.fresh() as dsn, federated_server(dsn, authority, clock=clock) as here:
        await children_that_were_left_are_asked_for(here, there, clock)


async def children_that_were_left_are_asked_for(here: RunningServer, there: RunningServer, clock: LaterClock) -> None:
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
    clock.later_s += KEPT_S
    assert await seen() == ["Quarter"]
    # A refusal isn't kept for who begins anew.
    (await bob.put("/rooms/{}/state/m.room.join_rules", child, body={"join_rule": "public"})).ok()
    assert await seen() == ["Quarter", "Bakery"]
