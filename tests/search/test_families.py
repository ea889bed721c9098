"""Searching in a room and what it was upgraded from, or in a space; and what the results are spread over."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.server import Client, RunningServer
from tests.kit.until import until
from tests.search.test_search import found, ids

FACETS = "/_hansa/client/v1/search/facets"


async def upgrade(client: Client, room: str) -> str:
    new: str = (await client.post("/rooms/{}/upgrade", room, body={"new_version": "11"})).ok()["replacement_room"]
    return new


async def facets(client: Client, term: str, **more: Any) -> Any:
    return (await client.post(FACETS, body={"search_term": term, **more})).ok()


async def test_a_room_stands_for_those_before_it(server: RunningServer) -> None:
    """T-G8: who wasn't in the old room finds nothing of it, whatever the new one says."""
    alice, bob = await server.user("alice"), await server.user("bob")
    old = await alice.create_room(preset="private_chat", room_version="10")
    before = await alice.send(old, "word before")
    new = await upgrade(alice, old)
    newest = await upgrade(alice, new)
    after = await alice.send(newest, "word after")
    (await alice.post("/rooms/{}/invite", newest, body={"user_id": bob.user_id})).ok()
    await bob.join(newest)
    assert await ids(alice, f"in:{newest} word") == [after, before]
    assert await ids(alice, "word", filter={"rooms": [newest]}) == [after]
    more: dict[str, Any] = {"org.hansa.include_predecessors": True}
    assert await ids(alice, "word", filter={"rooms": [newest]}, **more) == [after, before]
    assert await ids(alice, f"in:{old} word") == [before]
    assert await ids(bob, f"in:{newest} word") == [after]
    stranger = await alice.create_room(creation_content={"predecessor": {"room_id": newest, "event_id": "$x"}})
    assert await ids(alice, f"in:{stranger} word") == []


async def test_a_space_stands_for_the_rooms_in_it(server: RunningServer) -> None:
    """T-G8: a space that one can't see tells nothing."""
    alice, bob = await server.user("alice"), await server.user("bob")
    space = await alice.create_room(creation_content={"type": "m.space"}, room_alias_name="harbour")
    inner = await alice.create_room(creation_content={"type": "m.space"})
    rooms = [await alice.create_room(preset="public_chat") for _ in range(3)]
    for parent, child in ((space, rooms[0]), (space, inner), (inner, rooms[1]), (inner, space)):
        body = {"via": ["hansa.test"]}
        (await alice.put("/rooms/{}/state/m.space.child/{}", parent, child, body=body)).ok()
    sent = [await alice.send(room, "word") for room in rooms]
    assert await ids(alice, "in:#harbour:hansa.test word") == [sent[1], sent[0]]
    assert await ids(alice, "word -in:#harbour:hansa.test") == [sent[2]]
    for room in rooms:
        await bob.join(room)
    assert await ids(bob, f"in:{space} word") == []
    assert await ids(bob, "word") == sent[::-1]


async def test_facets_count_what_one_would_find(server: RunningServer) -> None:
    """T-G8, T-G9: by room, sender and month, of what the asker may see alone."""
    alice, bob = await server.user("alice"), await server.user("bob")
    shared, own = await alice.create_room(preset="public_chat"), await alice.create_room()
    await bob.join(shared)
    for number in range(3):
        await alice.send(own, f"word {number}")
        await bob.send(shared, f"word {number}")
    await alice.send(shared, "word by alice")
    counted = await facets(alice, "word")
    assert (counted["count"], counted["counted"]) == (7, 7)
    assert counted["rooms"] == [{"room_id": shared, "count": 4}, {"room_id": own, "count": 3}]
    assert {one["sender"]: one["count"] for one in counted["senders"]} == {alice.user_id: 4, bob.user_id: 3}
    assert [one["count"] for one in counted["months"]] == [7]
    assert (await facets(bob, "word"))["rooms"] == [{"room_id": shared, "count": 4}]
    assert (await facets(bob, "from:me word -2"))["count"] == 2
    assert (await facets(bob, "word", filter={"rooms": [own]}))["count"] == 0
    assert (await facets(bob, ""))["count"] == 0
    (await bob.post(FACETS, body={"search_term": "has:wings"})).refused(400, "M_INVALID_PARAM")
    (await server.anonymous().post(FACETS, body={"search_term": "word"})).refused(401, "M_MISSING_TOKEN")


async def test_encrypted_rooms_are_said_to_be_left_out(server: RunningServer) -> None:
    alice = await server.user("alice")
    await alice.create_room()
    assert "org.hansa.encrypted_rooms" not in await found(alice, "word")
    room = await alice.create_room()
    body = {"algorithm": "m.megolm.v1.aes-sha2"}
    (await alice.put("/rooms/{}/state/m.room.encryption", room, body=body)).ok()

    async def is_said() -> bool:
        return (await found(alice, "word")).get("org.hansa.encrypted_rooms") == 1

    await until(is_said)


@pytest.mark.slow
async def test_who_is_in_very_many_rooms(server: RunningServer) -> None:
    """Beyond the number at which others lose results: full pages and right counts."""
    alice = await server.user("alice")
    rooms = [await alice.create_room(preset="private_chat") for _ in range(600)]
    sent = [await alice.send(room, "word") for room in rooms[::3]]
    hits: list[str] = []
    answer = await found(alice, "word", filter={"limit": 60})
    while True:
        assert answer["count"] == len(sent)
        hits += [hit["result"]["event_id"] for hit in answer["results"]]
        if "next_batch" not in answer:
            break
        assert len(answer["results"]) == 60
        answer = await found(alice, "word", filter={"limit": 60}, next_batch=answer["next_batch"])
    assert hits == sent[::-1]


async def test_facets_count_no_trace_of_what_was_redacted(server: RunningServer) -> None:
    """T-G9, T-G11: an index may be behind; what it still has of a redacted event is in no count."""
    alice = await server.user("alice")
    room = await alice.create_room()
    said = [await alice.send(room, "harbour") for _ in range(3)]
    assert (await facets(alice, "harbour"))["count"] == 3
    # As the journal tells it only later.
    redacted = "UPDATE events SET redacted_by = event_nid WHERE event_id = $1"
    await server.db.execute(redacted, said[0])
    counted = await facets(alice, "harbour")
    assert (counted["count"], counted["counted"]) == (2, 2)
    assert counted["rooms"] == [{"room_id": room, "count": 2}]
    assert [one["count"] for one in counted["senders"]] == [one["count"] for one in counted["months"]] == [2]
