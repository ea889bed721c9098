"""Aliases and the directory of published rooms, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.kit.server import Client, RunningServer, running_server


@pytest.fixture
async def server(database_dsn: str) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn) as running:
        yield running


async def listed(client: Client, **body: Any) -> Any:
    return (await client.post("/publicRooms", body=body)).ok()


async def test_an_alias_lives_and_dies(server: RunningServer) -> None:
    """T-C25: an alias that exists can't be taken, nor deleted by strangers."""
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    room = await alice.create_room(preset="public_chat")
    other = await bob.create_room()
    await bob.join(room)
    alias = "#haven:hansa.test"
    (await alice.get("/directory/room/{}", alias)).refused(404, "M_NOT_FOUND")
    (await carol.put("/directory/room/{}", alias, body={"room_id": room})).refused(403, "M_FORBIDDEN")
    (await bob.put("/directory/room/{}", alias, body={"room_id": room})).ok()
    assert (await server.anonymous().get("/directory/room/{}", alias)).ok() == {
        "room_id": room,
        "servers": ["hansa.test"],
    }
    for client, target in ((alice, room), (bob, room), (bob, other)):
        assert (await client.put("/directory/room/{}", alias, body={"room_id": target})).status == 409
    assert (await alice.get("/rooms/{}/aliases", room)).ok() == {"aliases": [alias]}
    (await carol.get("/rooms/{}/aliases", room)).refused(403, "M_FORBIDDEN")
    (await carol.delete("/directory/room/{}", alias)).refused(403, "M_FORBIDDEN")
    (await alice.delete("/directory/room/{}", alias)).ok()
    (await alice.delete("/directory/room/{}", alias)).refused(404, "M_NOT_FOUND")
    (await bob.put("/directory/room/{}", alias, body={"room_id": other})).ok()


async def test_one_of_many_gets_the_alias(server: RunningServer) -> None:
    """T-C25, T-H7: whoever comes second has neither the alias nor half a room."""
    alice = await server.user("alice")
    room = await alice.create_room()
    wishes = [alice.post("/createRoom", body={"room_alias_name": "one"}) for _ in range(4)]
    wish = alice.put("/directory/room/{}", "#one:hansa.test", body={"room_id": room})
    answers = await asyncio.gather(*wishes, wish)
    assert sorted(answer.status for answer in answers) in ([200, 400, 400, 400, 409], [200, 400, 400, 400, 400])
    named = (await alice.get("/directory/room/{}", "#one:hansa.test")).ok()["room_id"]
    rooms = (await alice.get("/joined_rooms")).ok()["joined_rooms"]
    assert sorted({room, named}) == sorted(rooms)


@pytest.mark.parametrize("alias", ["haven", "#haven", "#haven:", "#ha ven:hansa.test", "#haven:away.test"])
async def test_what_is_no_alias_of_ours(server: RunningServer, alias: str) -> None:
    alice = await server.user("alice")
    room = await alice.create_room()
    (await alice.put("/directory/room/{}", alias, body={"room_id": room})).refused(400, "M_INVALID_PARAM")


async def test_the_canonical_alias_is_one_of_the_room(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(room_alias_name="one")
    await bob.create_room(room_alias_name="bobs")
    path = "/rooms/{}/state/m.room.canonical_alias"
    for content, errcode in [
        ({"alias": "#none:hansa.test"}, "M_BAD_ALIAS"),
        ({"alias": "#bobs:hansa.test"}, "M_BAD_ALIAS"),
        ({"alias": "#one:hansa.test", "alt_aliases": ["#away:away.test"]}, "M_BAD_ALIAS"),
        ({"alias": "one"}, "M_INVALID_PARAM"),
        ({"alt_aliases": [1]}, "M_INVALID_PARAM"),
    ]:
        (await alice.put(path, room, body=content)).refused(400, errcode)
    (await alice.put("/directory/room/{}", "#two:hansa.test", body={"room_id": room})).ok()
    both = {"alias": "#one:hansa.test", "alt_aliases": ["#two:hansa.test"]}
    (await alice.put(path, room, body=both)).ok()
    (await alice.delete("/directory/room/{}", "#one:hansa.test")).ok()
    assert (await alice.get(path, room)).ok() == {"alt_aliases": ["#two:hansa.test"]}


async def test_publishing(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat", name="Hafen")
    await bob.join(room)
    path = "/directory/list/room/{}"
    assert (await server.anonymous().get(path, room)).ok() == {"visibility": "private"}
    (await bob.put(path, room, body={"visibility": "public"})).refused(403, "M_FORBIDDEN")
    (await alice.put(path, "!" + "x" * 43, body={"visibility": "public"})).refused(404, "M_NOT_FOUND")
    (await alice.put(path, room, body={"visibility": "open"})).refused(400, "M_BAD_JSON")
    assert (await listed(bob))["chunk"] == []
    (await alice.put(path, room, body={"visibility": "public"})).ok()
    assert (await listed(bob))["chunk"] == [
        {
            "room_id": room,
            "name": "Hafen",
            "num_joined_members": 2,
            "world_readable": False,
            "guest_can_join": False,
            "join_rule": "public",
        }
    ]
    (await bob.post("/rooms/{}/leave", room)).ok()
    (await alice.put("/rooms/{}/state/m.room.topic", room, body={"topic": ["odd"]})).ok()
    assert (await listed(bob))["chunk"][0]["num_joined_members"] == 1
    (await alice.put(path, room, body={"visibility": "private"})).ok()
    assert (await listed(bob))["chunk"] == []
    (await server.anonymous().get("/publicRooms")).refused(401, "M_MISSING_TOKEN")
    (await bob.get("/publicRooms", server="away.test")).refused(502, "M_UNKNOWN")


async def test_pages_and_filters(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    rooms = [await alice.create_room(visibility="public", name=f"Kai {n}", topic="Elbe") for n in range(5)]
    space = await alice.create_room(
        visibility="public", room_alias_name="weser", creation_content={"type": "m.space"}, name="Space"
    )
    await bob.join(rooms[3])

    names, since, page = list[str](), None, dict[str, Any]()
    for _ in range(3):
        page = (await alice.get("/publicRooms", limit=2, **({"since": since} if since else {}))).ok()
        assert page["total_room_count_estimate"] == 6
        names += [entry["room_id"] for entry in page["chunk"]]
        since = page.get("next_batch")
    assert (since, names[0], sorted(names)) == (None, rooms[3], sorted([*rooms, space]))
    assert [entry["room_id"] for entry in (await listed(alice, since=page["prev_batch"], limit=2))["chunk"]] == names[
        2:4
    ]

    async def found(**filter: Any) -> set[str]:
        return {entry["room_id"] for entry in (await listed(alice, filter=filter))["chunk"]}

    assert await found(generic_search_term="kAI 3") == {rooms[3]}
    assert await found(generic_search_term="elbe") == set(rooms)
    assert await found(generic_search_term="#weser") == {space}
    assert await found(generic_search_term="") == {*rooms, space}
    assert await found(room_types=["m.space"]) == {space}
    assert await found(room_types=[None]) == set(rooms)
    assert await found(room_types=[]) == set()
    for body in ({"since": "junk"}, {"since": "n1"}, {"since": "nx_!"}, {"limit": -1}):
        (await alice.post("/publicRooms", body=body)).refused(400, "M_INVALID_PARAM")


async def test_the_directory_follows_what_happens_and_asks_nothing_else(server: RunningServer) -> None:
    """Kept sorted in memory: a page after nothing happened costs no query, and one after a change the change's."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_ids = [await alice.create_room(preset="public_chat", visibility="public", name=f"r{n}") for n in range(3)]

    async def listed() -> list[tuple[str, str, int]]:
        found = (await alice.get("/publicRooms")).ok()
        assert found["total_room_count_estimate"] == len(found["chunk"])
        return [(one["room_id"], one["name"], one["num_joined_members"]) for one in found["chunk"]]

    assert sorted(await listed()) == sorted((room_id, f"r{n}", 1) for n, room_id in enumerate(room_ids))
    before = server.db.asked
    await listed()
    assert server.db.asked == before
    await bob.join(room_ids[2])
    (await alice.put("/rooms/{}/state/m.room.name", room_ids[1], body={"name": "new"})).ok()
    (await alice.put("/directory/list/room/{}", room_ids[0], body={"visibility": "private"})).ok()
    hidden = await alice.create_room(preset="public_chat", name="hidden")
    assert await listed() == [(room_ids[2], "r2", 2), (room_ids[1], "new", 1)]
    (await alice.put("/directory/list/room/{}", hidden, body={"visibility": "public"})).ok()
    shown = await alice.create_room(preset="public_chat", visibility="public", name="shown")
    found = await listed()
    assert found[0] == (room_ids[2], "r2", 2)
    assert sorted(found[1:]) == sorted([(room_ids[1], "new", 1), (hidden, "hidden", 1), (shown, "shown", 1)])
