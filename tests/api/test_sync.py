"""/sync over HTTP: first, incremental, waiting, limited, lazy, left, invited; and patched answers equal fresh ones."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from tests.kit.server import Client, RunningServer
from tests.kit.sliding import SlidingClient, window
from tests.kit.until import SOON_S, until


def rooms(answer: dict[str, Any], section: str = "join") -> dict[str, Any]:
    found: dict[str, Any] = answer.get("rooms", {}).get(section, {})
    return found


def bodies(room: dict[str, Any]) -> list[str]:
    return [e["content"]["body"] for e in room["timeline"]["events"] if e["type"] == "m.room.message"]


async def test_a_first_sync_shows_a_room_whole(server: RunningServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room(name="Hof", topic="x")
    await alice.send(room_id, "moin")
    room = rooms(await alice.sync())[room_id]
    types = [event["type"] for event in (*room["state"]["events"], *room["timeline"]["events"])]
    assert sorted(set(types)) == sorted(types) and "m.room.create" in types and "m.room.topic" in types
    assert bodies(room) == ["moin"]
    assert room["summary"]["m.joined_member_count"] == 1


async def test_a_waiting_sync_is_woken(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    waiting = asyncio.create_task(bob.sync(since=since, timeout=120_000))
    async with asyncio.timeout(SOON_S):
        await server.hansa.sync.hub.has_waiting.wait()
    await alice.send(room_id, "moin")
    async with asyncio.timeout(SOON_S):
        room = rooms(await waiting)[room_id]
    assert bodies(room) == ["moin"] and room["unread_notifications"]["notification_count"] == 1


async def test_nothing_new_asks_no_query(server: RunningServer) -> None:
    """An idle client costs the database nothing."""
    alice = await server.user("alice")
    await alice.create_room()
    since = (await alice.sync())["next_batch"]
    since = (await alice.sync(since=since))["next_batch"]
    await alice.sync(since=since)  # what this token acknowledges, it has acknowledged
    before = server.db.asked
    for _ in range(5):
        answer = await alice.sync(since=since)
        assert set(answer) == {"next_batch", "device_one_time_keys_count", "device_unused_fallback_key_types"}
    assert server.db.asked == before


async def test_a_gap_is_marked_and_its_state_is_told(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    (await alice.put("/rooms/{}/state/m.room.topic", room_id, body={"topic": "new"})).ok()
    for number in range(15):
        await alice.send(room_id, str(number))
    room = rooms(await bob.sync(since=since))[room_id]
    assert room["timeline"]["limited"] and bodies(room) == [str(number) for number in range(5, 15)]
    assert [event["content"] for event in room["state"]["events"]] == [{"topic": "new"}]
    older = (
        await bob.get("/rooms/{}/messages", room_id, dir="b", limit=6, **{"from": room["timeline"]["prev_batch"]})
    ).ok()
    assert [e["content"].get("body", e["type"]) for e in older["chunk"]] == ["4", "3", "2", "1", "0", "m.room.topic"]


async def test_who_comes_back_has_a_timeline_that_doesnt_continue_the_older(server: RunningServer) -> None:
    """It begins anew: a client that put it behind what it has would show messages twice."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    all_of_it = json.dumps({"room": {"timeline": {"limit": 100}}})
    since = (await bob.sync(filter=all_of_it))["next_batch"]
    await bob.join(room_id)
    first = await bob.sync(filter=all_of_it, since=since)
    assert not rooms(first)[room_id]["timeline"]["limited"]
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    left = await bob.sync(filter=all_of_it, since=first["next_batch"])
    await bob.join(room_id)
    again = rooms(await bob.sync(filter=all_of_it, since=left["next_batch"]))[room_id]["timeline"]
    assert again["limited"] and again["events"][0]["type"] == "m.room.create"


async def test_lazy_members_come_when_they_speak_and_once(server: RunningServer) -> None:
    alice = await server.user("alice")
    others = [await server.user(name) for name in ("bob", "carol", "dave")]
    room_id = await alice.create_room(preset="public_chat", name="x")
    for other in others:
        await other.join(room_id)
    for number in range(12):
        await alice.send(room_id, str(number))
    lazy = json.dumps({"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 2}}})
    first = await alice.sync(filter=lazy)

    def members(answer: dict[str, Any]) -> set[str]:
        return {e["state_key"] for e in rooms(answer)[room_id]["state"]["events"] if e["type"] == "m.room.member"}

    assert members(first) == {alice.user_id}
    await others[0].send(room_id, "moin")
    second = await alice.sync(filter=lazy, since=first["next_batch"])
    assert members(second) == {others[0].user_id}
    await others[0].send(room_id, "moin")
    third = await alice.sync(filter=lazy, since=second["next_batch"])
    assert members(third) == set()


async def test_an_invite_shows_stripped_state_alone(server: RunningServer) -> None:
    """T-B7: who is invited sees what the room is called, not what is said in it."""
    alice, bob = await server.user("alice"), await server.user("bob")
    since = (await bob.sync())["next_batch"]
    room_id = await alice.create_room(name="Hof", invite=[bob.user_id])
    await alice.send(room_id, "secret")
    answer = await bob.sync(since=since)
    assert room_id not in rooms(answer)
    events = rooms(answer, "invite")[room_id]["invite_state"]["events"]
    assert {"m.room.name", "m.room.member", "m.room.create"} <= {event["type"] for event in events}
    told = {"type", "state_key", "content", "sender"}
    assert all(set(event) == told for event in events if event["type"] != "m.room.create")
    assert "secret" not in json.dumps(answer)
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    declined = await bob.sync(since=answer["next_batch"])
    left = rooms(declined, "leave")[room_id]
    assert [event["content"]["membership"] for event in left["timeline"]["events"]] == ["leave"]
    assert "secret" not in json.dumps(declined)


async def test_who_was_kicked_sees_nothing_after_it(server: RunningServer) -> None:
    """T-G1: membership ends what one sees."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    since = (await bob.sync())["next_batch"]
    await alice.send(room_id, "before")
    (await alice.post("/rooms/{}/kick", room_id, body={"user_id": bob.user_id})).ok()
    await alice.send(room_id, "after")
    answer = await bob.sync(since=since)
    assert room_id not in rooms(answer)
    left = rooms(answer, "leave")[room_id]
    assert bodies(left) == ["before"]
    assert room_id not in rooms(await bob.sync(since=answer["next_batch"]), "leave")


async def test_history_before_a_join_is_as_visible_as_the_room_says(server: RunningServer) -> None:
    """With `joined` visibility nobody reads what was said before them."""
    alice, bob = await server.user("alice"), await server.user("bob")
    hidden = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    room_id = await alice.create_room(preset="public_chat", initial_state=[hidden])
    await alice.send(room_id, "before")
    await bob.join(room_id)
    await alice.send(room_id, "after")
    assert bodies(rooms(await bob.sync())[room_id]) == ["after"]
    chunk = (await bob.get("/rooms/{}/messages", room_id, dir="b", limit=50)).ok()["chunk"]
    assert [event["content"]["body"] for event in chunk if event["type"] == "m.room.message"] == ["after"]


async def test_a_transaction_id_is_for_its_device_alone(server: RunningServer) -> None:
    """T-B24: nobody else sees under which id a device sent."""
    alice = await server.user("alice")
    other, bob = await server.login("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await alice.send(room_id, "moin")
    for client, is_own in ((alice, True), (other, False), (bob, False)):
        event = rooms(await client.sync())[room_id]["timeline"]["events"][-1]
        assert ("transaction_id" in event["unsigned"]) is is_own


async def test_ignored_users_say_nothing(server: RunningServer) -> None:
    """T-G16: neither messages nor invites of theirs arrive."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    ignored: dict[str, Any] = {"ignored_users": {bob.user_id: {}}}
    (await alice.put("/user/{}/account_data/m.ignored_user_list", alice.user_id, body=ignored)).ok()
    since = (await alice.sync())["next_batch"]
    await bob.send(room_id, "noise")
    await bob.create_room(invite=[alice.user_id])
    answer = await alice.sync(since=since)
    assert bodies(rooms(answer).get(room_id, {"timeline": {"events": []}})) == []
    assert not rooms(answer, "invite")


async def test_ignored_users_do_nothing_that_is_told(server: RunningServer) -> None:
    """T-G16: neither that they type, nor what they read, nor whether they are there; in both kinds of sync."""
    alice, bob, carol = await server.user("alice"), await server.user("bob"), await server.user("carol")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await carol.join(room_id)
    event_id = await alice.send(room_id, "moin")
    ignored: dict[str, Any] = {"ignored_users": {bob.user_id: {}}}
    (await alice.put("/user/{}/account_data/m.ignored_user_list", alice.user_id, body=ignored)).ok()
    sliding, extensions = SlidingClient(alice), {name: {"enabled": True} for name in ("receipts", "typing")}
    since = (await alice.sync())["next_batch"]
    await sliding.sync(lists={"main": window()}, extensions=extensions)
    for user in (bob, carol):
        (await user.put("/rooms/{}/typing/{}", room_id, user.user_id, body={"typing": True})).ok()
        (await user.post("/rooms/{}/receipt/m.read/{}", room_id, event_id, body={})).ok()
        (await user.put("/presence/{}/status", user.user_id, body={"presence": "online", "status_msg": "here"})).ok()
    told = (await sliding.sync(lists={"main": window()}, extensions=extensions))["extensions"]
    fresh = SlidingClient(alice, "fresh")
    first = (await fresh.sync(lists={"main": window()}, extensions=extensions))["extensions"]
    later, whole = await alice.sync(since=since), await alice.sync()
    ephemeral = [rooms(answer)[room_id]["ephemeral"]["events"] for answer in (later, whole)]
    slid = [
        [extension["rooms"][room_id] for extension in one.values() if "rooms" in extension] for one in (told, first)
    ]
    for events in (*ephemeral, *slid):
        by_type = {event["type"]: event["content"] for event in events}
        assert by_type["m.typing"] == {"user_ids": [carol.user_id]}
        assert list(by_type["m.receipt"][event_id]["m.read"]) == [carol.user_id]
    present = set[str]()

    async def is_told() -> bool:
        present.update(event["sender"] for event in (await alice.sync()).get("presence", {}).get("events", ()))
        return carol.user_id in present

    await until(is_told)
    assert bob.user_id not in present


async def test_ignored_users_say_nothing_in_pages_of_the_past(server: RunningServer) -> None:
    """T-G16: what a sync left out doesn't come back by scrolling; state does, as it does there."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await bob.send(room_id, "noise")
    mine = await alice.send(room_id, "mine")
    await bob.send(room_id, "noise again")

    async def texts() -> list[list[str]]:
        page = (await alice.get("/rooms/{}/messages", room_id, dir="b")).ok()
        context = (await alice.get("/rooms/{}/context/{}", room_id, mine)).ok()
        chunks = (page["chunk"], [*context["events_after"], *context["events_before"]])
        return [[one["content"]["body"] for one in chunk if one["type"] == "m.room.message"] for chunk in chunks]

    path = "/user/{}/account_data/m.ignored_user_list"
    assert await texts() == [["noise again", "mine", "noise"], ["noise again", "noise"]]
    # Who ignores themselves as well still sees what they say.
    body: dict[str, Any] = {"ignored_users": {bob.user_id: {}, alice.user_id: {}}}
    (await alice.put(path, alice.user_id, body=body)).ok()
    assert await texts() == [["mine"], []]
    page = (await alice.get("/rooms/{}/messages", room_id, dir="b")).ok()["chunk"]
    assert [one["content"]["membership"] for one in page if one.get("state_key") == bob.user_id] == ["join"]
    assert bodies(rooms(await alice.sync())[room_id]) == ["mine"]
    (await alice.put(path, alice.user_id, body={"ignored_users": {}})).ok()
    assert await texts() == [["noise again", "mine", "noise"], ["noise again", "noise"]]


@pytest.mark.parametrize("since", ["x", "s-1", "s99999999999999999999", "t5", "s5_x", "s999999999999"])
async def test_strange_tokens_are_refused(server: RunningServer, since: str) -> None:
    """T-G6: a token that we didn't make is the caller's mistake."""
    alice = await server.user("alice")
    (await alice.get("/sync", since=since)).refused(400, "M_INVALID_PARAM")


def patch(view: dict[str, Any], answer: dict[str, Any]) -> None:
    """What a client makes of an answer: state by key, messages by id."""
    for room_id, room in rooms(answer).items():
        known = view.setdefault(room_id, {"state": {}, "events": []})
        if room["timeline"]["limited"]:
            known["events"] = []
        for event in (*room["state"]["events"], *room["timeline"]["events"]):
            if "state_key" in event:
                known["state"][event["type"], event["state_key"]] = event["event_id"]
        known["events"] += [event["event_id"] for event in room["timeline"]["events"]]
        known["unread"] = room["unread_notifications"]
    for section in ("leave", "invite"):
        for room_id in rooms(answer, section):
            view.pop(room_id, None)


async def act(clients: list[Client], room_ids: list[str], chance: random.Random) -> None:
    """Something that a user does; what is refused changes nothing."""
    client, other, room_id = chance.choice(clients), chance.choice(clients), chance.choice(room_ids)
    what = chance.randrange(9)
    if what < 3:
        await client.put("/rooms/{}/send/m.room.message/{}", room_id, str(chance.random()), body={"body": "x"})
    elif what == 3:
        await client.put("/rooms/{}/state/m.room.topic", room_id, body={"topic": str(chance.random())})
    elif what == 4:
        await client.post("/rooms/{}/leave", room_id)
    elif what == 5:
        await client.post("/rooms/{}/join", room_id)
    elif what == 6:
        await client.post("/rooms/{}/kick", room_id, body={"user_id": other.user_id})
    elif what == 7:
        await client.put(
            "/rooms/{}/state/org.x/{}", room_id, str(chance.randrange(3)), body={"a": chance.random() > 0.5}
        )
    else:
        await client.put("/profile/{}/displayname", client.user_id, body={"displayname": str(chance.randrange(5))})


@pytest.mark.parametrize("seed", range(6))
async def test_a_patched_sync_equals_a_fresh_one(server: RunningServer, seed: int) -> None:
    """T-G5: no gap, no event twice, nothing out of order, over whatever users do."""
    chance = random.Random(seed)
    clients = [await server.user(name) for name in ("alice", "bob", "carol")]
    room_ids = [await clients[0].create_room(preset="public_chat") for _ in range(2)]
    views: list[dict[str, Any]] = [{} for _ in clients]
    tokens: list[str | None] = [None for _ in clients]
    for _ in range(12):
        for _ in range(chance.randrange(1, 14)):
            await act(clients, room_ids, chance)
        for index, client in enumerate(clients):
            if chance.random() < 0.6:
                answer = await client.sync(**({"since": tokens[index]} if tokens[index] else {}))
                tokens[index] = answer["next_batch"]
                patch(views[index], answer)
    for index, client in enumerate(clients):
        patch(views[index], await client.sync(**({"since": tokens[index]} if tokens[index] else {})))
        fresh: dict[str, Any] = {}
        patch(fresh, await client.sync())
        for room_id, room in fresh.items():
            assert views[index][room_id]["state"] == room["state"], (seed, client.user_id)
            assert views[index][room_id]["unread"] == room["unread"]
            assert views[index][room_id]["events"][-len(room["events"]) :] == room["events"]
        assert set(views[index]) == set(fresh)
