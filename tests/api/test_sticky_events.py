"""Events that are told for sure while they last (MSC4354)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.clock import FakeClock
from tests.kit.server import Answered, Client, RunningServer, running_server
from tests.kit.sliding import PATH, window
from tests.kit.until import until

PARAMETER = "org.matrix.msc4354.sticky_duration_ms"
EXTENSION = "org.matrix.msc4354.sticky_events"
TTL = "msc4354_sticky_duration_ttl_ms"
HOUR_MS = 3_600_000


async def put(client: Client, room_id: str, rest: str, content: dict[str, Any], **query: Any) -> Answered:
    path = f"/rooms/{{}}/{rest}"
    return await client.request("PUT", path, room_id, body=content, query=query)


async def stick(client: Client, room_id: str, text: str, ms: int = HOUR_MS, kind: str = "m.room.message") -> str:
    content = {"msgtype": "m.text", "body": text}
    answer = await put(client, room_id, f"send/{kind}/{text}", content, **{PARAMETER: ms})
    event_id: str = answer.ok()["event_id"]
    return event_id


async def bury(client: Client, room_id: str, count: int = 25) -> None:
    """Enough to push everything before out of a first timeline."""
    for number in range(count):
        await client.send(room_id, f"chatter {number}")


def section(answer: dict[str, Any], room_id: str) -> list[str]:
    room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
    return [event["event_id"] for event in room.get("msc4354_sticky", {}).get("events", [])]


def timeline(answer: dict[str, Any], room_id: str) -> list[str]:
    return [event["event_id"] for event in answer["rooms"]["join"][room_id]["timeline"]["events"]]


async def slide(client: Client, pos: str | None = None, **extension: Any) -> dict[str, Any]:
    body = {"lists": {"all": window(limit=1)}, "extensions": {EXTENSION: {"enabled": True, **extension}}}
    query = {"timeout": 0} if pos is None else {"timeout": 0, "pos": pos}
    answer: dict[str, Any] = (await client.request("POST", PATH, body=body, query=query)).ok()
    return answer


def told(answer: dict[str, Any], room_id: str) -> list[str]:
    found = answer["extensions"][EXTENSION]["rooms"].get(room_id, {}).get("events", [])
    return [event["event_id"] for event in found]


async def test_what_an_event_says(server: RunningServer) -> None:
    """A duration of more than an hour counts as one; state may stick, and be said anew with the same content."""
    alice = await server.user("alice")
    assert (await alice.get("/_matrix/client/versions")).ok()["unstable_features"]["org.matrix.msc4354"] is True
    room_id = await alice.create_room()
    brief = (await alice.get("/rooms/{}/event/{}", room_id, await stick(alice, room_id, "brief", 5_000))).ok()
    assert brief["msc4354_sticky"] == {"duration_ms": 5_000} and 0 < brief["unsigned"][TTL] <= 5_000
    capped = (await alice.get("/rooms/{}/event/{}", room_id, await stick(alice, room_id, "long", 2 * HOUR_MS))).ok()
    assert capped["msc4354_sticky"] == {"duration_ms": HOUR_MS}
    plain = (await alice.get("/rooms/{}/event/{}", room_id, await alice.send(room_id))).ok()
    assert "msc4354_sticky" not in plain and TTL not in plain["unsigned"]
    state = [
        (await put(alice, room_id, "state/org.example.call/me", {"a": 1}, **{PARAMETER: 1_000})).ok() for _ in range(2)
    ]
    assert state[0] != state[1]
    for wrong in ("-1", "soon", "1.5"):
        refused = await put(alice, room_id, "send/m.room.message/x", {"body": "x"}, **{PARAMETER: wrong})
        refused.refused(400, "M_INVALID_PARAM")
    member = await put(alice, room_id, f"state/m.room.member/{alice.user_id}", {"membership": "join"}, **{PARAMETER: 1})
    member.refused(400, "M_INVALID_PARAM")


async def test_sync_tells_what_the_timeline_lacks(server: RunningServer) -> None:
    alice, bob, eve = await server.user("alice"), await server.user("bob"), await server.user("eve")
    room_id = await alice.create_room(preset="public_chat", initial_state=[hidden_history()])
    await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    first = await stick(alice, room_id, "first")
    answer = await bob.sync(since=since)
    assert timeline(answer, room_id) == [first] and section(answer, room_id) == []
    await bury(alice, room_id)
    last = await stick(alice, room_id, "last")
    limited = await bob.sync(since=since)
    assert last in timeline(limited, room_id) and section(limited, room_id) == [first]
    whole = await bob.sync()
    assert last in timeline(whole, room_id) and section(whole, room_id) == [first]
    told_event = whole["rooms"]["join"][room_id]["msc4354_sticky"]["events"][0]
    assert told_event["content"]["body"] == "first" and "room_id" not in told_event
    assert 0 < told_event["unsigned"][TTL] <= HOUR_MS
    assert section(await bob.sync(since=whole["next_batch"]), room_id) == []
    # Who comes in later is told all of them, though the room's history isn't theirs.
    since = (await eve.sync())["next_batch"]
    await eve.join(room_id)
    came_in = await eve.sync(since=since)
    assert section(came_in, room_id) == [first, last]
    assert first not in timeline(came_in, room_id)
    assert section(await eve.sync(since=came_in["next_batch"]), room_id) == []


def hidden_history() -> dict[str, Any]:
    return {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"}}


async def test_who_is_told_nothing(server: RunningServer) -> None:
    """Neither who has left, nor of senders who are ignored; a redacted event doesn't stick."""
    alice, bob, eve = await server.user("alice"), await server.user("bob"), await server.user("eve")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await eve.join(room_id)
    from_eve, from_alice = await stick(eve, room_id, "spam"), await stick(alice, room_id, "notspam")
    await bury(alice, room_id)
    assert section(await bob.sync(), room_id) == [from_eve, from_alice]
    ignored: dict[str, Any] = {"ignored_users": {eve.user_id: {}}}
    (await bob.put("/user/{}/account_data/m.ignored_user_list", bob.user_id, body=ignored)).ok()
    assert section(await bob.sync(), room_id) == [from_alice]
    assert told(await slide(bob), room_id) == [from_alice]
    (await alice.put("/rooms/{}/redact/{}/r", room_id, from_alice)).ok()
    assert section(await bob.sync(), room_id) == []
    (await eve.post("/rooms/{}/leave", room_id)).ok()
    left = await eve.sync()
    assert room_id not in left.get("rooms", {}).get("join", {})
    assert told(await slide(eve), room_id) == []


@pytest.mark.slow
async def test_many_are_told_by_and_by(server: RunningServer) -> None:
    """A hundred in an answer; nobody misses one, and nobody gets one twice."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    sent = [await stick(alice, room_id, f"number{number}") for number in range(230)]
    await bury(alice, room_id)
    found: list[str] = []
    answer = await bob.sync()
    found += section(answer, room_id)
    assert len(found) == 100
    for _ in range(2):
        answer = await bob.sync(since=answer["next_batch"])
        found += section(answer, room_id)
    assert found == sent
    assert section(await bob.sync(since=answer["next_batch"]), room_id) == []


async def test_sliding_sync(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    events = [await stick(alice, room_id, f"number{number}") for number in range(3)]
    await alice.send(room_id)
    first = await slide(bob, limit=2)
    assert told(first, room_id) == events[:2]
    second = await slide(bob, first["pos"], since=first["extensions"][EXTENSION]["next_batch"])
    assert told(second, room_id) == events[2:]
    since = second["extensions"][EXTENSION]["next_batch"]
    third = await slide(bob, second["pos"], since=since)
    assert third["extensions"][EXTENSION]["rooms"] == {}
    # What the timeline has isn't told twice; without `since`, all is told from the beginning.
    last = await stick(alice, room_id, "last")
    fourth = await slide(bob, third["pos"], since=since)
    assert [event["event_id"] for event in fourth["rooms"][room_id]["timeline"]] == [last]
    assert told(fourth, room_id) == []
    assert told(await slide(bob), room_id) == events
    assert told(await slide(bob, limit=0), room_id) == []
    body = {"extensions": {EXTENSION: {"enabled": True, "since": "s12"}}}
    (await bob.request("POST", PATH, body=body)).refused(400, "M_INVALID_PARAM")
    named = {"room_subscriptions": {room_id: {"timeline_limit": 0}}, "extensions": {EXTENSION: {"enabled": True}}}
    assert told((await bob.request("POST", PATH, body=named)).ok(), room_id) == [*events, last]
    assert EXTENSION not in (await bob.request("POST", PATH, body={})).ok()["extensions"]


@pytest.mark.slow
async def test_time_ends_it(database_dsn: str) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        alice = await server.user("alice")
        room_id = await alice.create_room()
        brief, lasting = await stick(alice, room_id, "brief", 10_000), await stick(alice, room_id, "lasting", 100_000)
        await bury(alice, room_id)
        assert section(await alice.sync(), room_id) == [brief, lasting]
        clock.advance(10)
        after = await alice.sync()
        assert section(after, room_id) == [lasting] and told(await slide(alice), room_id) == [lasting]
        shown = after["rooms"]["join"][room_id]["msc4354_sticky"]["events"][0]
        assert shown["unsigned"][TTL] == 90_000
        clock.advance(90)
        assert section(await alice.sync(), room_id) == []

        async def is_forgotten() -> bool:
            clock.advance(61)
            return bool(await server.db.fetchval("SELECT count(*) FROM sticky_events") == 0)

        await until(is_forgotten, within_s=60)


@pytest.mark.slow
async def test_a_restart_keeps_them(database_dsn: str) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        await bob.join(room_id)
        since = (await bob.sync())["next_batch"]
        event_id = await stick(alice, room_id, "kept", 60_000)
        await bury(alice, room_id)
    async with running_server(database_dsn, clock=clock) as server:
        again = await server.login("bob")
        assert section(await again.sync(since=since), room_id) == [event_id]
        assert told(await slide(again), room_id) == [event_id]
        clock.advance(60)
        assert section(await again.sync(), room_id) == []


async def test_delayed_and_sticky(server: RunningServer) -> None:
    """What calls send: a delayed event that sticks from when it is sent."""
    alice = await server.user("alice")
    room_id = await alice.create_room()
    query = {PARAMETER: 60_000, "org.matrix.msc4140.delay": 50_000}
    delay_id = (await put(alice, room_id, "send/m.room.message/x", {"body": "later"}, **query)).ok()["delay_id"]
    state = (await put(alice, room_id, "state/org.example.call/me", {"a": 1}, **query)).ok()["delay_id"]
    for one in (delay_id, state):
        await alice.post(f"/_matrix/client/unstable/org.matrix.msc4140/delayed_events/{one}/send")
    events = (await alice.sync())["rooms"]["join"][room_id]["timeline"]["events"]
    sticky = {event["type"]: event["msc4354_sticky"] for event in events if "msc4354_sticky" in event}
    lasts = {"duration_ms": 60_000}
    assert sticky == {"m.room.message": lasts, "org.example.call": lasts}
