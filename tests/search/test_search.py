"""POST /search: who finds what, and what is kept from whom."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until


async def found(client: Client, term: str, **criteria: Any) -> dict[str, Any]:
    """The answer once it is whole: on a busy machine the index may be behind for a moment."""
    answers: list[dict[str, Any]] = []

    async def is_whole() -> bool:
        answers[:] = [await answered(client, term, **criteria)]
        return "org.hansa.partial" not in answers[0]

    await until(is_whole)
    return answers[0]


async def answered(client: Client, term: str, **criteria: Any) -> dict[str, Any]:
    """The answer of now, which may be partial."""
    query = criteria.pop("next_batch", None)
    body = {"search_categories": {"room_events": {"search_term": term, "order_by": "recent", **criteria}}}
    answer = await client.request("POST", "/search", body=body, query={"next_batch": query} if query else None)
    result: dict[str, Any] = answer.ok()["search_categories"]["room_events"]
    return result


async def ids(client: Client, term: str, **criteria: Any) -> list[str]:
    answer = await found(client, term, **criteria)
    hits = [result["result"]["event_id"] for result in answer["results"]]
    assert answer["count"] >= len(hits)
    return hits


async def edit(client: Client, room: str, event_id: str, text: str) -> str:
    new = {"msgtype": "m.text", "body": text}
    relation = {"rel_type": "m.replace", "event_id": event_id}
    return await client.send(room, "* " + text, **{"m.new_content": new, "m.relates_to": relation})


async def test_who_finds_what(server: RunningServer) -> None:
    """T-G8, T-G9: only what one may see, counts included."""
    alice, bob, eve = [await server.user(name) for name in ("alice", "bob", "eve")]
    room = await alice.create_room(preset="public_chat")
    (await alice.put("/rooms/{}/state/m.room.history_visibility", room, body={"history_visibility": "joined"})).ok()
    before = await alice.send(room, "early harbour 港口")
    await bob.join(room)
    during = await bob.send(room, "the Harbour is open")
    assert await ids(alice, "harbour") == [during, before]
    assert await ids(alice, "港口") == [before]
    assert await ids(bob, "HARBOUR") == [during]
    assert (await found(bob, "harbour"))["count"] == 1
    assert (await found(eve, "harbour"))["count"] == 0
    (await bob.post("/rooms/{}/leave", room)).ok()
    await alice.send(room, "late harbour")
    assert await ids(bob, "harbour") == [during]
    body: dict[str, Any] = {"ignored_users": {bob.user_id: {}}}
    (await alice.put("/user/{}/account_data/m.ignored_user_list", alice.user_id, body=body)).ok()
    assert during not in await ids(alice, "harbour")
    (await bob.post("/rooms/{}/forget", room)).ok()
    assert await ids(bob, "harbour") == []


async def test_words_that_are_gone_find_nothing(server: RunningServer) -> None:
    """T-G11, T-C13: of redacted events, of edited ones, of redacted edits."""
    alice = await server.user("alice")
    room = await alice.create_room()
    message = await alice.send(room, "alpha")
    assert await ids(alice, "alpha") == [message]
    beta = await edit(alice, room, message, "beta")
    assert await ids(alice, "alpha") == []
    answer = await found(alice, "beta")
    assert [hit["result"]["event_id"] for hit in answer["results"]] == [message]
    assert answer["results"][0]["result"]["unsigned"]["m.relations"]["m.replace"]["event_id"] == beta
    (await alice.put("/rooms/{}/redact/{}/1", room, beta)).ok()
    assert await ids(alice, "beta") == []
    assert await ids(alice, "alpha") == [message]
    (await alice.put("/rooms/{}/redact/{}/2", room, message)).ok()
    assert await ids(alice, "alpha") == []


async def test_an_edit_that_one_may_not_see_finds_nothing(server: RunningServer) -> None:
    """T-G8"""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    message = await alice.send(room, "alpha")
    (await bob.post("/rooms/{}/leave", room)).ok()
    await edit(alice, room, message, "beta")
    assert await ids(bob, "beta") == []
    assert await ids(alice, "beta") == [message]


async def test_nothing_encrypted_is_kept(server: RunningServer) -> None:
    """T-G12"""
    alice = await server.user("alice")
    room = await alice.create_room()
    body = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "cipher", "body": "cipher", "session_id": "s"}
    (await alice.put("/rooms/{}/send/m.room.encrypted/1", room, body=body)).ok()
    assert await ids(alice, "cipher") == []


async def test_pages_context_groups_and_state(server: RunningServer) -> None:
    """T-G13: what surrounds a hit is bounded."""
    alice = await server.user("alice")
    room, other = await alice.create_room(name="Pier one"), await alice.create_room()
    sent = [await alice.send(room, f"message number {n}") for n in range(12)]
    elsewhere = await alice.send(other, "another message")
    answer = await found(alice, "message", filter={"limit": 5, "rooms": [room]})
    hits = [hit["result"]["event_id"] for hit in answer["results"]]
    await alice.send(room, "one more message")
    while "next_batch" in answer:
        criteria = {"filter": {"limit": 5, "rooms": [room]}, "next_batch": answer["next_batch"]}
        answer = await found(alice, "message", **criteria)
        assert answer["count"] == 12
        hits += [hit["result"]["event_id"] for hit in answer["results"]]
    assert hits == sent[::-1]
    context = {"before_limit": 2, "after_limit": 10**6, "include_profile": True}
    answer = await found(alice, "number 4", event_context=context, include_state=True)
    hit = answer["results"][0]
    assert [event["event_id"] for event in hit["context"]["events_before"]] == [sent[3], sent[2]]
    assert [event["event_id"] for event in hit["context"]["events_after"]][:7] == sent[5:]
    assert hit["context"]["profile_info"][alice.user_id] == {"displayname": "alice"}
    assert {event["type"] for event in answer["state"][room]} >= {"m.room.create", "m.room.member"}
    assert set(answer["highlights"]) == {"number", "4"}
    page = (await alice.get("/rooms/{}/messages", room, dir="b", **{"from": hit["context"]["start"]})).ok()
    assert page["chunk"][0]["event_id"] == sent[1]
    groups = (await found(alice, "message", groupings={"group_by": [{"key": "room_id"}]}))["groups"]["room_id"]
    assert groups[other]["results"] == [elsewhere]
    assert await ids(alice, "pier", keys=["content.name"]) and not await ids(alice, "pier", keys=["content.body"])
    assert len(await ids(alice, "message", order_by="rank")) == 10


@pytest.mark.parametrize(
    "criteria",
    [
        {"order_by": "x"},
        {"keys": ["content.secret"]},
        {"groupings": {"group_by": [{"key": "x"}]}},
        {"search_term": "x" * 5_000},
        {"search_term": 5},
        {"filter": []},
        {"event_context": {"before_limit": "x"}},
    ],
)
async def test_bad_searches(server: RunningServer, criteria: dict[str, Any]) -> None:
    alice = await server.user("alice")
    body = {"search_categories": {"room_events": {"search_term": "x", **criteria}}}
    assert (await alice.post("/search", body=body)).status == 400
    assert (await alice.request("POST", "/search", body=body, query={"next_batch": "?"})).status == 400


@pytest.mark.parametrize("term", ["", "!", "' OR 1=1 --", "a:* & !b | c", "\\", "%_", "x" * 900, "😀", "\u0000"])
async def test_nothing_in_a_term_is_syntax(server: RunningServer, term: str) -> None:
    """T-G10"""
    alice = await server.user("alice")
    room = await alice.create_room()
    await alice.send(room, "nothing of it")
    assert await ids(alice, term) == []


async def test_the_index_catches_up(database_dsn: str) -> None:
    """T-O7: it is derived: emptied, it is built again."""
    async with running_server(database_dsn) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        message = await alice.send(room, "alpha")
        edited = await alice.send(room, "gamma")
        await edit(alice, room, edited, "beta")
        assert await ids(alice, "alpha") == [message]
        await server.db.execute("DELETE FROM journal_cursors WHERE consumer = 'search'")
        token = alice.token
    async with running_server(database_dsn) as server:
        alice = server.anonymous()
        alice.token = token

        async def is_back() -> bool:
            return bool(await ids(alice, "beta"))

        await until(is_back)
        assert (await ids(alice, "alpha"), await ids(alice, "beta")) == ([message], [edited])


async def test_operators(server: RunningServer) -> None:
    """T-G10: what one types is a query; a wrong one is refused with the place where it is wrong."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat", room_alias_name="pier")
    await bob.join(room)
    other = await alice.create_room()
    first = await alice.send(room, "the red harbour, see https://example.org/x")
    second = await bob.send(room, "the harbour is red", **{"m.mentions": {"user_ids": [alice.user_id]}})
    third = await alice.send(other, "green harbor", **{"m.relates_to": {"rel_type": "m.thread", "event_id": first}})
    assert await ids(alice, "red harbour") == [second, first]
    assert await ids(alice, '"red harbour"') == [first]
    assert await ids(alice, "the -see") == [second]
    assert await ids(alice, "see OR green") == [third, first]
    assert await ids(alice, "harb*") == [third, second, first]
    assert await ids(alice, "harbour~") == [third, second, first]
    assert await ids(alice, "from:me harb*") == [third, first]
    assert await ids(alice, f"from:{bob.user_id}") == [second]
    assert await ids(alice, "mentions:me") == [second]
    assert await ids(alice, "has:link") == await ids(alice, "host:example.org") == [first]
    assert await ids(alice, "host:xample.org") == await ids(alice, "host:www.example.org") == []
    assert await ids(alice, "is:thread") == [third]
    assert await ids(alice, "in:#pier:hansa.test red") == [second, first]
    assert await ids(bob, f"in:{other} harb*") == []
    assert await ids(alice, "harb* before:2001") == [] and len(await ids(alice, "harb* after:2001")) == 3
    assert (await found(alice, '"red harbour" -sea wav* OR the'))["highlights"] == ["red", "harbour", "wav", "the"]
    for wrong, place in (("has:wings", 5), ("red (the", 5), ("a OR " * 100 + "a", 321), ("x*", 1), ("in:#no:where", 4)):
        body = {"search_categories": {"room_events": {"search_term": wrong}}}
        refusal = (await alice.post("/search", body=body)).refused(400, "M_INVALID_PARAM")
        assert f"character {place}:" in refusal["error"]


async def test_a_topic_is_found_by_its_plain_text(server: RunningServer) -> None:
    """In whichever of its two places, and by no other form of it."""
    alice = await server.user("alice")
    room = await alice.create_room()
    forms = [{"mimetype": "text/html", "body": "<b>barges</b>"}, {"body": "lighters"}, {"body": "ferries"}]
    body = {"topic": "Where ships lie", "m.topic": {"m.text": forms}}
    topic = (await alice.put("/rooms/{}/state/m.room.topic", room, body=body)).ok()["event_id"]
    for term in ("ships", "lighters"):
        assert await ids(alice, term, keys=["content.topic"]) == [topic]
    for term in ("barges", "ferries"):
        assert await ids(alice, term) == []
    odd_ones: list[Any] = [{"m.text": {}}, {"m.text": [1, {"mimetype": 1, "body": "lighters"}, {"body": 1}]}, []]
    for odd in odd_ones:
        (await alice.put("/rooms/{}/state/m.room.topic", room, body={"topic": "odd", "m.topic": odd})).ok()
    assert await ids(alice, "lighters") == [topic]
