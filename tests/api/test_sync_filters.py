"""What filters take out of /sync, and what they must not; sections and gaps that are seldom met."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import SOON_S


def filtered(**room: Any) -> str:
    return json.dumps({"room": room})


def rooms(answer: dict[str, Any], section: str = "join") -> dict[str, Any]:
    found: dict[str, Any] = answer.get("rooms", {}).get(section, {})
    return found


def contents(events: list[dict[str, Any]]) -> list[Any]:
    return [event["content"] for event in events]


async def pair(server: RunningServer, **body: Any) -> tuple[Client, Client, str]:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat", **body)
    await bob.join(room_id)
    return alice, bob, room_id


async def topic(client: Client, room_id: str, text: str) -> None:
    (await client.put("/rooms/{}/state/m.room.topic", room_id, body={"topic": text})).ok()


async def test_state_that_the_timeline_leaves_out_is_told_as_state(server: RunningServer) -> None:
    alice, bob, room_id = await pair(server)
    messages = filtered(timeline={"types": ["m.room.message"]}, state={"types": ["m.room.topic"]})
    await alice.send(room_id, "before")
    await topic(alice, room_id, "first")
    first = await bob.sync(filter=messages)
    assert contents(rooms(first)[room_id]["state"]["events"]) == [{"topic": "first"}]

    await topic(alice, room_id, "second")
    await alice.send(room_id, "after")
    await topic(alice, room_id, "third")
    unstable = "org.matrix.msc4222."
    for name, wish in (
        ("state", {}),
        ("state_after", {"use_state_after": "true"}),
        (unstable + "state_after", {unstable + "use_state_after": "true"}),
        ("state_after", {"use_state_after": "true", unstable + "use_state_after": "true"}),
    ):
        room = rooms(await bob.sync(filter=messages, since=first["next_batch"], **wish))[room_id]
        assert not room["timeline"]["limited"] and len(room["timeline"]["events"]) == 1
        assert contents(room[name]["events"]) == [{"topic": "third"}]


async def test_state_shown_in_the_timeline_is_not_told_twice(server: RunningServer) -> None:
    alice, bob, room_id = await pair(server)
    since = (await bob.sync())["next_batch"]
    await topic(alice, room_id, "first")
    only_topic = filtered(timeline={"types": ["m.room.topic"]})
    room = rooms(await bob.sync(filter=only_topic, since=since))[room_id]
    assert contents(room["timeline"]["events"]) == [{"topic": "first"}] and room["state"]["events"] == []


async def test_a_filtered_timeline_of_a_room_just_joined_is_limited(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await alice.send(room_id)
    since = (await bob.sync())["next_batch"]
    await bob.join(room_id)
    messages = filtered(timeline={"types": ["m.room.message"]})
    assert rooms(await bob.sync(filter=messages, since=since))[room_id]["timeline"]["limited"]


async def test_rooms_and_senders_of_ephemeral_filters(server: RunningServer) -> None:
    alice, bob, room_id = await pair(server)
    carol = await server.user("carol")
    await carol.join(room_id)
    event_id = await alice.send(room_id)
    for client in (bob, carol):
        (await client.post("/rooms/{}/receipt/m.read/{}", room_id, event_id)).ok()
        (await client.put("/rooms/{}/typing/{}", room_id, client.user_id, body={"typing": True, "timeout": 9000})).ok()

    async def users(**wanted: Any) -> list[set[str]]:
        events = rooms(await alice.sync(filter=filtered(ephemeral=wanted)))[room_id]["ephemeral"]["events"]
        read = [event["content"][event_id]["m.read"] for event in events if event["type"] == "m.receipt"]
        typing = [event["content"]["user_ids"] for event in events if event["type"] == "m.typing"]
        return [set(found) for found in (*read, *typing)]

    both = {bob.user_id, carol.user_id}
    assert await users() == [both, both]
    assert await users(senders=[bob.user_id]) == [{bob.user_id}, {bob.user_id}]
    assert await users(not_senders=[bob.user_id]) == [{carol.user_id}, {carol.user_id}]
    assert await users(not_rooms=[room_id]) == [] == await users(rooms=["!other:hansa.test"])


async def test_rooms_and_senders_of_account_data_filters(server: RunningServer) -> None:
    alice, bob, room_id = await pair(server)
    (await alice.put("/user/{}/rooms/{}/account_data/org.x", alice.user_id, room_id, body={"a": 1})).ok()
    (await alice.put("/user/{}/account_data/org.x", alice.user_id, body={"b": 1})).ok()

    async def kept(**wanted: Any) -> tuple[int, int]:
        wish = json.dumps({"account_data": wanted, "room": {"account_data": wanted}})
        answer = await alice.sync(filter=wish)
        found = [*answer.get("account_data", {}).get("events", ()), *rooms(answer)[room_id]["account_data"]["events"]]
        return sum(e["content"] == {"b": 1} for e in found), sum(e["content"] == {"a": 1} for e in found)

    assert await kept() == (1, 1)
    assert await kept(not_rooms=[room_id]) == (1, 0)
    assert await kept(senders=[bob.user_id]) == (0, 0) == await kept(not_senders=[alice.user_id])
    assert await kept(senders=[alice.user_id]) == (1, 1)


async def test_events_come_as_servers_exchange_them_when_asked_for(server: RunningServer) -> None:
    """T-B23: signed as they are, redacted ones as redacted; `unsigned` is ours."""
    alice, bob, room_id = await pair(server)
    kept, gone = await alice.send(room_id, "kept"), await alice.send(room_id, "gone")
    (await alice.put("/rooms/{}/redact/{}/1", room_id, gone)).ok()
    room = rooms(await bob.sync(filter=json.dumps({"event_format": "federation"})))[room_id]
    *_, first, second, _ = room["timeline"]["events"]
    for event in (first, second):
        assert {"hashes", "signatures", "auth_events", "prev_events", "depth", "room_id"} <= set(event)
        assert "event_id" not in event and "age" in event["unsigned"]
    assert (first["content"]["body"], second["content"]) == ("kept", {})
    assert kept != gone


async def test_the_presence_of_who_joins_is_told_once(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    (await bob.put("/presence/{}/status", bob.user_id, body={"presence": "online"})).ok()
    await server.hansa.live.presence.tick()
    since = (await alice.sync())["next_batch"]
    await server.hansa.live.presence.tick()
    since = (await alice.sync(since=since))["next_batch"]
    await bob.join(room_id)
    answer = await alice.sync(since=since)
    assert [event["sender"] for event in answer["presence"]["events"]] == [bob.user_id]
    assert "presence" not in await alice.sync(since=answer["next_batch"])


async def test_a_knock_has_its_section(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    knocked = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room_id = await alice.create_room(name="Hof", initial_state=[knocked])
    since = (await bob.sync())["next_batch"]
    (await bob.post("/knock/{}", room_id, body={"reason": "please"})).ok()
    for answer in (await bob.sync(since=since), await bob.sync()):
        events = rooms(answer, "knock")[room_id]["knock_state"]["events"]
        own = next(event for event in events if event["type"] == "m.room.member")
        assert own["content"]["membership"] == "knock" and own["state_key"] == bob.user_id
        assert {"name": "Hof"} in contents(events) and room_id not in rooms(answer)
    (await alice.post("/rooms/{}/kick", room_id, body={"user_id": bob.user_id})).ok()
    assert room_id not in rooms(await bob.sync(), "knock")


async def test_left_rooms_come_when_asked_for(server: RunningServer) -> None:
    """Up to the leaving, and nothing of what came after."""
    alice, bob, room_id = await pair(server)
    await alice.send(room_id, "while there")
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    await alice.send(room_id, "afterwards")
    assert room_id not in rooms(await bob.sync(), "leave")
    left = rooms(await bob.sync(filter=filtered(include_leave=True)), "leave")[room_id]
    said = [event["content"].get("body") for event in left["timeline"]["events"]]
    assert "while there" in said and "afterwards" not in said
    (await bob.post("/rooms/{}/forget", room_id)).ok()
    assert room_id not in rooms(await bob.sync(filter=filtered(include_leave=True)), "leave")


async def test_unread_messages_of_threads_are_counted_apart_when_asked_for(server: RunningServer) -> None:
    alice, bob, room_id = await pair(server)
    root = await alice.send(room_id, "root")
    (await bob.post("/rooms/{}/receipt/m.read/{}", room_id, root, body={})).ok()
    await alice.send(room_id, "main")
    for number in range(2):
        relation = {"rel_type": "m.thread", "event_id": root}
        await alice.send(room_id, f"in thread {number}", **{"m.relates_to": relation})
    apart = rooms(await bob.sync(filter=filtered(timeline={"unread_thread_notifications": True})))[room_id]
    assert apart["unread_notifications"]["notification_count"] == 1
    assert apart["unread_thread_notifications"][root]["notification_count"] == 2
    together = rooms(await bob.sync())[room_id]
    assert together["unread_notifications"]["notification_count"] == 3
    assert "unread_thread_notifications" not in together


async def test_nothing_is_lost_or_told_twice_across_a_restart(database_dsn: str) -> None:
    """T-G5: timelines and pages together are each event once, in order, though the memory of the server is gone."""
    async with running_server(database_dsn) as server:
        alice, bob, room_id = await pair(server)
        since = (await bob.sync())["next_batch"]
        sent = [await alice.send(room_id, str(number)) for number in range(8)]
        early = await bob.sync(since=since)
        sent += [await alice.send(room_id, str(number)) for number in range(8, 30)]
    async with running_server(database_dsn) as server:
        alice.base_url = bob.base_url = server.base_url
        alice._session = bob._session = server._session
        sent += [await alice.send(room_id, str(number), after="restart") for number in range(30, 33)]
        late = rooms(await bob.sync(since=early["next_batch"]))[room_id]
        assert late["timeline"]["limited"]
        gap: list[str] = []
        place = late["timeline"]["prev_batch"]
        while True:
            query = {"from": place, "to": early["next_batch"], "dir": "b", "limit": 5}
            page = (await bob.get("/rooms/{}/messages", room_id, **query)).ok()
            gap += [event["event_id"] for event in page["chunk"]]
            if "end" not in page:
                break
            place = page["end"]
        shown = [event["event_id"] for event in rooms(early)[room_id]["timeline"]["events"]]
        assert shown + gap[::-1] + [event["event_id"] for event in late["timeline"]["events"]] == sent


async def test_a_hundred_parked_syncs_are_woken_by_their_rooms_alone(server: RunningServer) -> None:
    """T-G22: an event wakes those whom it concerns, and nobody else."""
    alice, bob, room_id = await pair(server)
    others = [await server.user(f"other{number}") for number in range(48)]
    devices = [await server.login("bob") for _ in range(50)]
    waiting = [alice, *devices]

    async def park(client: Client) -> asyncio.Task[Any]:
        hidden = {"set_presence": "offline"}
        since = (await client.sync(**hidden))["next_batch"]
        return asyncio.create_task(client.sync(since=since, timeout=120_000, **hidden))

    news, quiet = [await park(one) for one in waiting], [await park(one) for one in others]
    hub = server.hansa.sync.hub
    async with asyncio.timeout(SOON_S):
        while hub.waiting < len(news) + len(quiet):
            await hub.has_waiting.wait()
            await asyncio.sleep(0)
        # Who is woken for nothing waits anew, by another future.
        parked = {future for waiting in hub._waiting.values() for future in waiting}
        await bob.send(room_id, "moin")
        for answer in await asyncio.gather(*news):
            assert rooms(answer)[room_id]["timeline"]["events"][-1]["content"]["body"] == "moin"
    assert hub.waiting == len(quiet) and not any(task.done() for task in quiet)
    assert {future for waiting in hub._waiting.values() for future in waiting} < parked
    for task in quiet:
        task.cancel()
    await asyncio.gather(*quiet, return_exceptions=True)


async def test_a_hundred_syncs_with_nothing_new_ask_no_query(server: RunningServer) -> None:
    """T-G22: a read wakes nobody and costs the database nothing."""
    alice, _, _ = await pair(server)
    since = (await alice.sync())["next_batch"]
    since = (await alice.sync(since=since))["next_batch"]
    await alice.sync(since=since)  # what this token acknowledges, it has acknowledged
    before = server.db.asked
    await asyncio.gather(*(alice.sync(since=since) for _ in range(100)))
    assert server.db.asked == before
