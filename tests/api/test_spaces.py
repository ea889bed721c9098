"""Trees of rooms, and summaries."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.server import Client, RunningServer

HIERARCHY = "/_matrix/client/v1/rooms/{}/hierarchy"
SUMMARY = "/_matrix/client/v1/room_summary/{}"


async def space(client: Client, **body: Any) -> str:
    return await client.create_room(creation_content={"type": "m.space"}, preset="public_chat", **body)


async def adopt(client: Client, parent: str, child: str, **content: Any) -> None:
    body = {"via": ["hansa.test"], **content}
    (await client.put("/rooms/{}/state/m.space.child/{}", parent, child, body=body)).ok()


async def tree(client: Client, room: str, **query: Any) -> list[str]:
    found: list[str] = []
    while True:
        answer = (await client.get(HIERARCHY, room, **query)).ok()
        found += [entry["room_id"] for entry in answer["rooms"]]
        if "next_batch" not in answer:
            return found
        query["from"] = answer["next_batch"]


async def test_a_tree_depth_first_and_in_pages(server: RunningServer) -> None:
    """T-C28: a space that is in itself ends the walk there."""
    alice = await server.user("alice")
    top, inner = await space(alice, name="Top"), await space(alice)
    rooms = [await alice.create_room(preset="public_chat") for _ in range(3)]
    await adopt(alice, top, rooms[0], order="b")
    await adopt(alice, top, inner, order="a", suggested=True)
    await adopt(alice, top, rooms[2])
    await adopt(alice, inner, rooms[1])
    await adopt(alice, inner, top)
    await adopt(alice, rooms[2], rooms[1])
    whole = [top, inner, rooms[1], rooms[0], rooms[2]]
    assert await tree(alice, top) == await tree(alice, top, limit=2) == await tree(alice, top, limit=10**9) == whole
    assert await tree(alice, top, max_depth=0) == [top]
    assert await tree(alice, top, max_depth=1) == [top, inner, rooms[0], rooms[2]]
    assert await tree(alice, top, suggested_only="true") == [top, inner]
    suggested = (await alice.get(HIERARCHY, top, suggested_only="true")).ok()["rooms"][0]
    assert [child["state_key"] for child in suggested["children_state"]] == [inner]
    root = (await alice.get(HIERARCHY, top)).ok()["rooms"][0]
    assert (root["name"], root["room_type"], root["num_joined_members"]) == ("Top", "m.space", 1)
    assert [child["state_key"] for child in root["children_state"]] == [inner, rooms[0], rooms[2]]
    (await alice.put("/rooms/{}/state/m.space.child/{}", top, inner, body={})).ok()
    assert await tree(alice, top) == [top, rooms[0], rooms[2]]


async def test_what_one_may_not_know_is_left_out(server: RunningServer) -> None:
    """T-D13"""
    alice, bob = await server.user("alice"), await server.user("bob")
    top = await space(alice)
    rules: dict[str, dict[str, Any]] = {
        "public": {"join_rule": "public"},
        "knock": {"join_rule": "knock"},
        "restricted": {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": top}]},
        "invite": {"join_rule": "invite"},
    }
    rooms = {}
    for name, rule in rules.items():
        rooms[name] = await alice.create_room(preset="private_chat")
        (await alice.put("/rooms/{}/state/m.room.join_rules", rooms[name], body=rule)).ok()
        await adopt(alice, top, rooms[name], order=str(len(rooms)))

    async def seen() -> set[str]:
        found = set(await tree(bob, top))
        summaries = {name for name, room in rooms.items() if (await bob.get(SUMMARY, room)).status == 200}
        assert summaries == {name for name, room in rooms.items() if room in found}
        return summaries

    assert await seen() == {"public", "knock"}
    await bob.join(top)
    assert await seen() == {"public", "knock", "restricted"}
    (await alice.post("/rooms/{}/invite", rooms["invite"], body={"user_id": bob.user_id})).ok()
    assert await seen() == {"public", "knock", "restricted", "invite"}
    (await alice.post("/rooms/{}/ban", rooms["public"], body={"user_id": bob.user_id})).ok()
    assert await seen() == {"knock", "restricted", "invite"}
    private = await alice.create_room()
    (await bob.get(HIERARCHY, private)).refused(403, "M_FORBIDDEN")
    (await bob.get(HIERARCHY, "!unknown:hansa.test")).refused(403, "M_FORBIDDEN")
    (await bob.get(SUMMARY, private)).refused(404, "M_NOT_FOUND")


async def test_summaries(server: RunningServer) -> None:
    """T-D10: of a room that one may not see there is none, as of a room that isn't."""
    alice = await server.user("alice")
    room = await alice.create_room(preset="public_chat", name="Quay", topic="Ships", room_alias_name="quay")
    private = await alice.create_room()
    body = {"algorithm": "m.megolm.v1.aes-sha2"}
    (await alice.put("/rooms/{}/state/m.room.encryption", room, body=body)).ok()
    own = (await alice.get(SUMMARY, "#quay:hansa.test")).ok()
    assert (own["room_id"], own["membership"], own["encryption"]) == (room, "join", "m.megolm.v1.aes-sha2")
    assert (own["name"], own["topic"], own["join_rule"]) == ("Quay", "Ships", "public")
    stranger = (await server.anonymous().get(SUMMARY, room)).ok()
    assert "membership" not in stranger and stranger["room_version"] == own["room_version"]
    (await server.anonymous().get(SUMMARY, private)).refused(404, "M_NOT_FOUND")
    (await alice.get(SUMMARY, "#nothing:hansa.test")).refused(404, "M_NOT_FOUND")
    (await alice.get(SUMMARY, "nothing")).refused(400, "M_INVALID_PARAM")
    old = "/_matrix/client/unstable/im.nheko.summary/summary/{}"
    assert (await alice.get(old, room)).ok()["im.nheko.summary.encryption"] == "m.megolm.v1.aes-sha2"


@pytest.mark.parametrize("query", [{"limit": 0}, {"max_depth": -1}, {"from": "?"}, {"from": "1_0_3"}])
async def test_bad_questions(server: RunningServer, query: dict[str, Any]) -> None:
    alice = await server.user("alice")
    room = await space(alice)
    (await alice.get(HIERARCHY, room, **query)).refused(400, "M_INVALID_PARAM")
