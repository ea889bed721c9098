"""What is shown beside an event in its `unsigned`: as much of it as the viewer may see, by whatever way it is read."""

from __future__ import annotations

import json
from typing import Any

from tests.api.test_account_end import password_of
from tests.kit.server import Client, RunningServer
from tests.kit.sliding import WHOLE_STATE, SlidingClient

SECRET = "what-is-told-to-few"


async def ways(client: Client, room_id: str, event_id: str) -> dict[str, Any]:
    """An event as each way of reading shows it."""
    left = json.dumps({"room": {"include_leave": True, "timeline": {"limit": 50}}})
    wish: dict[str, Any] = {"room_subscriptions": {room_id: {"timeline_limit": 50, "required_state": WHOLE_STATE}}}
    found = {
        "event": (await client.get("/rooms/{}/event/{}", room_id, event_id)).ok(),
        "messages": (await client.get("/rooms/{}/messages", room_id, dir="b", limit=100)).ok(),
        "context": (await client.get("/rooms/{}/context/{}", room_id, event_id)).ok(),
        "sync": await client.sync(filter=left),
        "sliding": await SlidingClient(client, "fresh").sync(**wish),
    }
    return {name: one for name, answer in found.items() for one in events_in(answer, event_id)}


def events_in(answer: Any, event_id: str) -> list[dict[str, Any]]:
    if isinstance(answer, list):
        return [event for one in answer for event in events_in(one, event_id)]
    if not isinstance(answer, dict):
        return []
    if answer.get("event_id") == event_id and "unsigned" in answer:
        return [answer]
    return [event for one in answer.values() for event in events_in(one, event_id)]


async def test_what_an_erased_user_had_set_is_not_told_to_who_came_later(server: RunningServer) -> None:
    """T-C13: nor as what another state replaced."""
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    room_id = await alice.create_room(preset="public_chat", power_level_content_override={"state_default": 0})
    await bob.join(room_id)
    path = "/rooms/{}/state/m.room.topic"
    (await bob.put(path, room_id, body={"topic": SECRET})).ok()
    replaced = (await alice.put(path, room_id, body={"topic": "new"})).ok()["event_id"]
    await alice.sync()  # from here on it is rendered already
    (await bob.post("/account/deactivate", body={"auth": password_of(bob), "erase": True})).ok()
    await carol.join(room_id)
    shown = await ways(carol, room_id, replaced)
    assert set(shown) == {"event", "messages", "context", "sync", "sliding"}
    assert all(event["unsigned"]["prev_content"] == {} for event in shown.values()), shown
    for name, event in (await ways(alice, room_id, replaced)).items():
        assert event["unsigned"]["prev_content"] == {"topic": SECRET}, name


async def test_why_something_was_redacted_is_not_told_to_who_had_left(server: RunningServer) -> None:
    """T-G1, T-C13: that it is redacted they see, and no more of what was said later."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    said = await alice.send(room_id, "hello")
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    (await alice.put("/rooms/{}/redact/{}/1", room_id, said, body={"reason": SECRET})).ok()
    for client, reason in ((alice, SECRET), (bob, None)):
        shown = await ways(client, room_id, said)
        assert {"event", "messages", "context", "sync"} <= set(shown)
        for name, event in shown.items():
            assert event["content"] == {}, name
            because = event["unsigned"]["redacted_because"]
            assert (because["sender"], because["content"].get("reason")) == (alice.user_id, reason), name


async def test_what_notified_is_listed_as_its_reader_may_see_it(server: RunningServer) -> None:
    """T-G8: nothing by users who are ignored by now."""
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    room_id = await alice.create_room(preset="public_chat")
    for client in (bob, carol):
        await client.join(room_id)
    await bob.send(room_id, SECRET)
    await carol.send(room_id, "moin")

    async def listed() -> list[str]:
        found = (await alice.get("/notifications")).ok()["notifications"]
        return [one["event"]["content"].get("body") for one in found]

    assert await listed() == ["moin", SECRET]
    body: dict[str, Any] = {"ignored_users": {bob.user_id: {}, "@nul\x00:test": {}}}
    (await alice.put("/user/{}/account_data/m.ignored_user_list", alice.user_id, body=body)).ok()
    assert await listed() == ["moin"]
