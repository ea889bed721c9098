"""Filters that ask for the events to which others relate. spec: client-server-api/#filtering"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.test_relations import edit, pair, react, redact, to
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

THREADS = {"related_by_rel_types": ["m.thread"]}


def bodies(events: list[dict[str, Any]]) -> list[str]:
    return [event["content"].get("body", event["type"]) for event in events if event["type"] == "m.room.message"]


async def pages(client: Client, room: str, **wanted: Any) -> list[str]:
    """The texts of /messages, oldest first."""
    asked = {"dir": "f", "limit": "100", "filter": json.dumps(wanted)}
    return bodies((await client.get("/rooms/{}/messages", room, **asked)).ok()["chunk"])


async def synced(client: Client, room: str, **wanted: Any) -> list[str]:
    """Those of the timeline of a first /sync."""
    asked = json.dumps({"room": {"timeline": {"limit": 50, **wanted}}})
    return bodies((await client.sync(filter=asked))["rooms"]["join"][room]["timeline"]["events"])


async def found(client: Client, room: str, **wanted: Any) -> list[str]:
    """Those that a search finds, by place."""
    category = {"search_term": "word", "order_by": "recent", "filter": {"rooms": [room], "limit": 50, **wanted}}
    answer = (await client.post("/search", body={"search_categories": {"room_events": category}})).ok()
    results = answer["search_categories"]["room_events"]["results"]
    return bodies([one["result"] for one in reversed(results)])


async def said(server: RunningServer) -> tuple[Client, Client, str]:
    """A room with a thread of bob's, an edit and a reaction of alice's, and a thread whose only reply was redacted."""
    alice, bob, room = await pair(server)
    ids = {name: await alice.send(room, f"word {name}") for name in ("threaded", "edited", "liked", "emptied", "plain")}
    await bob.send(room, "word reply", **to("m.thread", ids["threaded"]))
    await edit(alice, room, ids["edited"], "word edited")
    (await react(alice, room, ids["liked"], "+", "a")).ok()
    await redact(bob, room, await bob.send(room, "word gone", **to("m.thread", ids["emptied"])))
    return alice, bob, room


@pytest.mark.parametrize("ask", [pages, synced, found])
async def test_only_what_others_relate_to(server: RunningServer, ask: Any) -> None:
    alice, bob, room = await said(server)

    async def is_indexed() -> bool:
        return len(await found(alice, room)) >= 6

    await until(is_indexed)
    assert await ask(bob, room, **THREADS) == ["word threaded"]
    assert await ask(bob, room, related_by_rel_types=["m.annotation", "m.thread"]) == ["word threaded", "word liked"]
    assert await ask(bob, room, related_by_senders=[bob.user_id]) == ["word threaded"]
    assert await ask(bob, room, related_by_senders=[alice.user_id], **THREADS) == []
    assert await ask(bob, room, related_by_rel_types=[]) == []
    assert await ask(bob, room, related_by_rel_types=["m.thread"], not_senders=[alice.user_id]) == []
    assert len(await ask(bob, room)) >= 6


async def test_what_came_after_one_left_makes_nothing_related(server: RunningServer) -> None:
    """T-G1: whether something relates to an event is told by what the viewer sees."""
    alice, bob, room = await pair(server)
    first, second = await alice.send(room, "first"), await alice.send(room, "second")
    await alice.send(room, "reply", **to("m.thread", first))
    (await bob.post("/rooms/{}/leave", room, body={})).ok()
    await alice.send(room, "later reply", **to("m.thread", second))
    assert await pages(alice, room, **THREADS) == ["first", "second"]
    assert await pages(bob, room, **THREADS) == ["first"]


async def test_they_cost_a_query_and_none_by_event(server: RunningServer) -> None:
    alice, _, room = await pair(server)
    ids = [await alice.send(room, str(number)) for number in range(40)]
    for event_id in ids[::2]:
        await alice.send(room, "reply", **to("m.thread", event_id))
    await pages(alice, room, **THREADS)

    async def queries(**wanted: Any) -> int:
        before = server.db.asked
        await pages(alice, room, **wanted)
        return server.db.asked - before

    assert await queries(**THREADS) <= await queries(types=["m.room.message"]) + 1
