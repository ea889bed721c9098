"""Saved searches tell their owners, and nobody of what they may not see."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.saved.percolation import Percolator
from search.tiers import Document, Query
from tests.kit import search_oracle
from tests.kit.server import Client, RunningServer, running_server

SAVED = "/_hansa/client/v1/saved_searches"


async def save(client: Client, term: str, **more: Any) -> Any:
    return (await client.post(SAVED, body={"term": term, **more})).ok()


class Told:
    """What a user is told, as their client syncs it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._since = ""
        self.notices: list[Any] = []

    async def events(self) -> list[str]:
        """The ids of all events that were told of so far."""
        query = {"since": self._since} if self._since else {}
        answer = await self._client.sync(timeout=200, **query)
        self._since = answer["next_batch"]
        for room in answer.get("rooms", {}).get("invite", ()):
            await self._client.join(room)
        for room in answer.get("rooms", {}).get("join", {}).values():
            self.notices += [e for e in room["timeline"]["events"] if "org.hansa.saved_search" in e["content"]]
        seen: dict[str, Any] = {notice["event_id"]: notice for notice in self.notices}
        return [e for n in seen.values() for e in n["content"]["org.hansa.saved_search"]["event_ids"]]

    async def until(self, wanted: Sequence[str]) -> None:
        async with asyncio.timeout(60):
            while sorted(await self.events()) != sorted(wanted):
                continue


@pytest.mark.slow
async def test_its_owner_is_told_of_what_they_may_see(server: RunningServer) -> None:
    """T-G8, T-G9: the owner hears what a search would find; not what they may not read, ignore, or said themselves."""
    alice, bob, eve = await server.user("alice"), await server.user("bob"), await server.user("eve")
    shared = await bob.create_room(preset="public_chat", name="Pier <one>")
    closed = await bob.create_room(preset="private_chat")
    await alice.join(shared)
    await eve.join(shared)
    early = await bob.send(shared, "harbour before")
    saved = await save(alice, "(harb* OR 港口) -noise", name="The harbour")
    paused = await save(alice, "harbour", paused=True)
    body: dict[str, Any] = {"ignored_users": {eve.user_id: {}}}
    (await alice.put("/user/{}/account_data/m.ignored_user_list", alice.user_id, body=body)).ok()
    told = Told(alice)
    await told.events()
    first = await bob.send(shared, "the Harbour is red")
    await told.until([first])
    await bob.send(closed, "harbour in private")
    await bob.send(shared, "nothing of it")
    await eve.send(shared, "harbour by somebody ignored")
    await alice.send(shared, "harbour by myself")
    await bob.send(shared, "harbour noise 港口 noise")
    edited = await bob.send(shared, "later")
    new = {"msgtype": "m.text", "body": "港口"}
    relation = {"rel_type": "m.replace", "event_id": edited}
    await bob.send(shared, "* 港口", **{"m.new_content": new, "m.relates_to": relation})
    await told.until([first, edited])
    content = told.notices[0]["content"]
    assert (
        bob.user_id in content["body"]
        and f"https://matrix.to/#/{shared.replace('!', '%21').replace(':', '%3A')}" in (content["body"])
    )
    assert "is red" not in content["body"] and "Pier &lt;one&gt;" in content["formatted_body"]
    path = SAVED + "/{}/matches"
    found = (await alice.get(path, saved["search_id"])).ok()["matches"]
    assert [one["event"]["event_id"] for one in found] == [edited, first]
    assert (await alice.get(path, paused["search_id"])).ok() == {"matches": []}
    assert early not in await told.events()
    (await bob.put("/rooms/{}/redact/{}/1", shared, first)).ok()


async def test_what_was_found_is_listed_while_it_would_be_found(server: RunningServer) -> None:
    """T-G8, T-C13: not once it is redacted, its sender ignored or its room forgotten."""
    alice, bob, eve = await server.user("alice"), await server.user("bob"), await server.user("eve")
    rooms = [await bob.create_room(preset="public_chat") for _ in range(2)]
    for room in rooms:
        await alice.join(room)
        await eve.join(room)
    saved = await save(alice, "harbour")
    told = Told(alice)
    await told.events()
    said = [
        await bob.send(rooms[0], "harbour"),
        await eve.send(rooms[0], "harbour"),
        await bob.send(rooms[1], "harbour"),
    ]
    said.append(await bob.send(rooms[0], "harbour that stays"))
    await told.until(said)

    async def listed() -> list[str]:
        found = (await alice.get(SAVED + "/{}/matches", saved["search_id"])).ok()["matches"]
        return sorted(one["event"]["event_id"] for one in found)

    assert await listed() == sorted(said)
    (await bob.put("/rooms/{}/redact/{}/1", rooms[0], said[0])).ok()
    assert await listed() == sorted(said[1:])
    body: dict[str, Any] = {"ignored_users": {eve.user_id: {}}}
    (await alice.put("/user/{}/account_data/m.ignored_user_list", alice.user_id, body=body)).ok()
    assert await listed() == sorted(said[2:])
    (await alice.post("/rooms/{}/leave", rooms[1])).ok()
    assert await listed() == sorted(said[2:])
    (await alice.post("/rooms/{}/forget", rooms[1])).ok()
    assert await listed() == [said[3]]


async def test_only_its_owner_has_it(server: RunningServer) -> None:
    """T-B1: nobody reads, changes or ends another's; each has so many."""
    alice, bob = await server.user("alice"), await server.user("bob")
    saved = await save(alice, "from:me word", name="Mine")
    one = f"{SAVED}/{saved['search_id']}"
    assert (await alice.get(SAVED)).ok()["saved_searches"] == [saved]
    assert (await bob.get(SAVED)).ok()["saved_searches"] == []
    (await bob.get(one + "/matches")).refused(404, "M_NOT_FOUND")
    (await bob.put(one, body={"term": "x"})).refused(404, "M_NOT_FOUND")
    (await bob.delete(one)).refused(404, "M_NOT_FOUND")
    (await server.anonymous().get(SAVED)).refused(401, "M_MISSING_TOKEN")
    changed = (await alice.put(one, body={"term": "other", "name": "Renamed", "paused": True})).ok()
    assert (changed["term"], changed["name"], changed["paused"]) == ("other", "Renamed", True)
    for bad in ({"term": ""}, {"term": "has:wings"}, {"term": "(a"}, {"term": "x", "name": "n" * 201}):
        (await alice.post(SAVED, body=bad)).refused(400, "M_INVALID_PARAM")
    for number in range(49):
        await save(alice, f"word{number}")
    (await alice.post(SAVED, body={"term": "more"})).refused(400, "M_RESOURCE_LIMIT_EXCEEDED")
    (await alice.delete(one)).ok()
    await save(alice, "more")


@pytest.mark.slow
async def test_a_room_that_comes_into_a_space_is_searched_at_once(server: RunningServer) -> None:
    """What `in:` means follows the rooms, without a look by the clock; a room that goes is searched no more."""
    alice, bob = await server.user("alice"), await server.user("bob")
    space = await bob.create_room(preset="public_chat", creation_content={"type": "m.space"})
    room_id = await bob.create_room(preset="public_chat")
    for joined in (space, room_id):
        await alice.join(joined)
    placed = await save(alice, f"harbour in:{space}", name="The harbour")
    told = Told(alice)
    await told.events()
    child = {"via": ["hansa.test"]}
    (await bob.put("/rooms/{}/state/m.space.child/{}", space, room_id, body=child)).ok()
    inside = await bob.send(room_id, "harbour, in it")
    await told.until([inside])
    await save(alice, "marker", name="Anywhere")
    (await bob.put("/rooms/{}/state/m.space.child/{}", space, room_id, body={})).ok()
    outside = await bob.send(room_id, "harbour marker, no longer in it")
    await told.until([inside, outside])
    by_place = [one["content"]["org.hansa.saved_search"] for one in told.notices]
    found = {event_id for one in by_place if one["search_id"] == placed["search_id"] for event_id in one["event_ids"]}
    assert found == {inside}


@pytest.mark.slow
async def test_what_was_found_is_told_after_a_restart(database_dsn: str) -> None:
    """Whatever ends the process: told once, though the index is made anew."""
    async with running_server(database_dsn) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room = await bob.create_room(preset="public_chat")
        await alice.join(room)
        await save(alice, "harbour")
        told = Told(alice)
        first = await bob.send(room, "harbour one")
        await told.until([first])
        tokens = alice.token, bob.token
    async with running_server(database_dsn) as server:
        alice, bob = server.anonymous(), server.anonymous()
        alice.token, bob.token = tokens
        path, body = "/rooms/{}/send/m.room.message/later", {"msgtype": "m.text", "body": "harbour two"}
        second = (await bob.put(path, room, body=body)).ok()["event_id"]
        told = Told(alice)
        await told.until([first, second])


async def test_many_searches_are_few_queries(server: RunningServer) -> None:
    """What a message costs the database doesn't grow with the searches that it doesn't match."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await bob.create_room(preset="public_chat")
    await alice.join(room)
    body = {"search_categories": {"room_events": {"search_term": "nothing"}}}

    async def least() -> int:
        """Of some messages: others ask the database too, now and then."""
        asked = []
        for _ in range(5):
            (await bob.post("/search", body=body)).ok()
            before = server.db.asked
            await bob.send(room, "nothing of these")
            (await bob.post("/search", body=body)).ok()
            asked.append(server.db.asked - before)
        return min(asked)

    await save(alice, "word")
    few = await least()
    for number in range(45):
        await save(alice, f"word{number}")
    assert await least() <= few


@given(st.lists(search_oracle.queries(), min_size=1, max_size=8), search_oracle.documents())
def test_percolation_is_search_turned_round(queries: list[Query], documents: Sequence[Document]) -> None:
    """Each document matches the same queries that find it in a tier."""
    percolator = Percolator(dict(enumerate(queries)))
    for document in documents:
        expected = {number for number, query in enumerate(queries) if search_oracle.matches(query, document)}
        assert set(percolator.matching(document)) == expected
