"""Simplified sliding sync over HTTP: windows, deltas, filters, extensions; and patched answers equal fresh ones."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from tests.api.test_sync import act
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.sliding import WHOLE_STATE, SlidingClient, bodies, types, window
from tests.kit.until import SOON_S


async def rooms_of(client: Client, count: int) -> list[str]:
    return [await client.create_room(name=f"room {number}") for number in range(count)]


async def test_a_first_window_has_the_most_active_rooms(server: RunningServer) -> None:
    alice = await server.user("alice")
    room_ids = await rooms_of(alice, 6)
    await alice.send(room_ids[1], "moin")
    sliding = SlidingClient(alice)
    answer = await sliding.sync(lists={"main": window(0, 2, limit=1)})
    assert answer["lists"] == {"main": {"count": 6}}
    assert set(answer["rooms"]) == {room_ids[1], room_ids[5], room_ids[4]}
    room = answer["rooms"][room_ids[1]]
    assert room["initial"] and room["limited"] and bodies(room) == ["moin"] and room["name"] == "room 1"
    assert room["joined_count"] == 1 and room["num_live"] == 0 and types(room["required_state"]) == ["m.room.name"]
    assert room["bump_stamp"] > answer["rooms"][room_ids[5]]["bump_stamp"]
    older = (await alice.get("/rooms/{}/messages", room_ids[1], dir="b", limit=1, **{"from": room["prev_batch"]})).ok()
    assert older["chunk"][0]["type"] == "m.room.name"


async def test_only_what_is_new_is_told(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_ids = await rooms_of(alice, 3)
    (await alice.post("/rooms/{}/invite", room_ids[0], body={"user_id": bob.user_id})).ok()
    await bob.join(room_ids[0])
    sliding = SlidingClient(alice)
    lists = {"main": window(state=WHOLE_STATE)}
    await sliding.sync(lists=lists)
    assert (await sliding.sync(lists=lists))["rooms"] == {}
    await bob.send(room_ids[0], "moin")
    (await bob.put("/profile/{}/displayname", bob.user_id, body={"displayname": "Bob"})).ok()
    answer = await sliding.sync(lists=lists)
    assert set(answer["rooms"]) == {room_ids[0]}
    room = answer["rooms"][room_ids[0]]
    assert bodies(room) == ["moin"] and room["num_live"] == 2 and not room["limited"] and "initial" not in room
    assert types(room["required_state"]) == ["m.room.member"] and room["notification_count"] == 1
    assert (await sliding.sync(lists=lists))["rooms"] == {}


async def test_a_waiting_request_is_woken(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    sliding = SlidingClient(bob)
    await sliding.sync(lists={"main": window()})
    waiting = asyncio.create_task(sliding.sync(timeout=120_000, lists={"main": window()}))
    async with asyncio.timeout(SOON_S):
        await server.hansa.sync.hub.has_waiting.wait()
    await alice.send(room_id, "moin")
    async with asyncio.timeout(SOON_S):
        assert bodies((await waiting)["rooms"][room_id]) == ["moin"]


async def test_nothing_new_asks_no_query(server: RunningServer) -> None:
    """An idle client costs the database nothing, whatever it asks for."""
    alice = await server.user("alice")
    await rooms_of(alice, 3)
    sliding = SlidingClient(alice)
    lists = {"main": window(), "all": window(0, 999, limit=1)}
    extensions = {name: {"enabled": True} for name in ("to_device", "e2ee", "account_data", "receipts", "typing")}
    await sliding.sync(lists=lists, extensions=extensions)
    await sliding.sync(lists=lists, extensions=extensions)
    before = server.db.asked
    for _ in range(5):
        answer = await sliding.sync(lists=lists, extensions=extensions)
        assert answer["rooms"] == {} and set(answer["extensions"]) == {"to_device", "e2ee"}
    assert server.db.asked == before


async def test_an_answer_that_was_lost_is_told_again(server: RunningServer) -> None:
    """T-G3, T-G5: a client that repeats a position gets what the lost answer had."""
    alice = await server.user("alice")
    room_ids = await rooms_of(alice, 4)
    sliding = SlidingClient(alice)
    await sliding.sync(lists={"main": window(0, 0)})
    await alice.send(room_ids[0], "one")
    lost = (await sliding.ask(pos=sliding.pos, lists={"main": window(0, 2)})).ok()
    again = await sliding.sync(lists={"main": window(0, 2)})
    assert lost["rooms"].keys() == again["rooms"].keys() == {room_ids[0], room_ids[2]}
    assert bodies(again["rooms"][room_ids[0]]) == ["one"]
    assert (await sliding.sync(lists={"main": window(0, 2)}))["rooms"] == {}


async def test_a_room_that_falls_out_of_the_window_is_made_up_for(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_ids = [await alice.create_room(preset="public_chat", name=str(number)) for number in range(3)]
    for room_id in room_ids[:2]:
        await bob.join(room_id)
    sliding = SlidingClient(bob)
    await sliding.sync(lists={"main": window(0, 1)})
    await alice.send(room_ids[0], "missed")
    await alice.send(room_ids[1], "seen")
    answer = await sliding.sync(lists={"main": window(0, 0)})
    assert {room_id: bodies(room) for room_id, room in answer["rooms"].items()} == {room_ids[1]: ["seen"]}
    answer = await sliding.sync(lists={"main": window(0, 0)})
    assert answer["rooms"] == {}
    answer = await sliding.sync(lists={"main": window(0, 1)})
    assert {room_id: bodies(room) for room_id, room in answer["rooms"].items()} == {room_ids[0]: ["missed"]}


async def test_a_larger_timeline_and_more_state_come_at_once(server: RunningServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room(name="Hof", topic="x")
    for number in range(6):
        await alice.send(room_id, str(number))
    sliding = SlidingClient(alice)
    await sliding.sync(lists={"main": window(limit=1)})
    subscription = {room_id: {"timeline_limit": 4, "required_state": [["m.room.create", ""], ["m.room.name", ""]]}}
    room = (await sliding.sync(lists={"main": window(limit=1)}, room_subscriptions=subscription))["rooms"][room_id]
    assert room["unstable_expanded_timeline"] and bodies(room) == ["2", "3", "4", "5"] and room["num_live"] == 0
    assert types(room["required_state"]) == ["m.room.create"] and "initial" not in room
    again = await sliding.sync(lists={"main": window(limit=1)}, room_subscriptions=subscription)
    assert again["rooms"] == {}


async def test_lazy_members_come_when_they_speak_and_once(server: RunningServer) -> None:
    alice = await server.user("alice")
    others = [await server.user(name) for name in ("bob", "carol", "dave")]
    room_id = await alice.create_room(preset="public_chat", name="x")
    for other in others:
        await other.join(room_id)
    for number in range(4):
        await alice.send(room_id, str(number))
    lists = {"main": window(limit=2, state=[["m.room.member", "$LAZY"], ["m.room.member", "$ME"]])}
    sliding = SlidingClient(alice)

    def members(answer: dict[str, Any]) -> list[str]:
        return [event["state_key"] for event in answer["rooms"][room_id].get("required_state", ())]

    assert members(await sliding.sync(lists=lists)) == [alice.user_id]
    for expected in ([others[0].user_id], []):
        await others[0].send(room_id, "moin")
        assert members(await sliding.sync(lists=lists)) == expected


@pytest.mark.parametrize(
    ("required", "expected"),
    [
        ([["m.room.name", ""]], {"m.room.name"}),
        ([["org.x", "*"]], {"org.x"}),
        ([["*", "k"]], {"org.x"}),
        ([["m.room.member", "$ME"]], {"m.room.member"}),
        ([], set()),
        ({"include": [{"type": "org.x"}], "exclude": [{"state_key": "k"}]}, set()),
        ({"include": [{"type": "m.room.name", "state_key": ""}]}, {"m.room.name"}),
    ],
)
async def test_required_state(server: RunningServer, required: Any, expected: set[str]) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room(name="x", initial_state=[{"type": "org.x", "state_key": "k", "content": {}}])
    room = (await SlidingClient(alice).sync(lists={"main": window(state=required)}))["rooms"][room_id]
    assert set(types(room.get("required_state", []))) == expected


async def test_filters(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    encryption = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}, "state_key": ""}
    plain = await alice.create_room(name="plain")
    secret = await alice.create_room(name="secret", initial_state=[encryption])
    space = await alice.create_room(name="space", creation_content={"type": "m.space"})
    invited = await bob.create_room(name="invited", invite=[alice.user_id])
    (await alice.put("/rooms/{}/state/m.space.child/{}", space, plain, body={"via": ["hansa.test"]})).ok()
    (await alice.put("/user/{}/account_data/m.direct", alice.user_id, body={bob.user_id: [secret]})).ok()
    tag = "/user/{}/rooms/{}/tags/{}"
    (await alice.put(tag, alice.user_id, plain, "m.favourite", body={"order": 0.5})).ok()
    every = {plain, secret, space, invited}
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({}, every),
        ({"is_dm": True}, {secret}),
        ({"is_dm": False}, every - {secret}),
        ({"is_encrypted": True}, {secret}),
        ({"is_invite": True}, {invited}),
        ({"is_invited": False}, every - {invited}),
        ({"room_types": ["m.space"]}, {space}),
        ({"room_types": [None]}, every - {space}),
        ({"not_room_types": ["m.space"]}, every - {space}),
        ({"room_types": ["m.space"], "not_room_types": ["m.space"]}, set()),
        ({"spaces": [space]}, {plain}),
        ({"spaces": ["!nowhere:hansa.test"]}, set()),
        ({"tags": ["m.favourite"]}, {plain}),
        ({"not_tags": ["m.favourite"]}, every - {plain}),
        ({"is_dm": True, "is_encrypted": False}, set()),
    ]
    for number, (filters, expected) in enumerate(cases):
        answer = await SlidingClient(alice, f"c{number}").sync(lists={"main": window(filters=filters)})
        assert set(answer["rooms"]) == expected, filters
        assert answer["lists"]["main"]["count"] == len(expected)


async def test_a_list_follows_what_its_filter_asks(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(name="x")
    lists = {"dms": window(filters={"is_dm": True}), "all": window(filters={"is_dm": False})}
    sliding = SlidingClient(alice)
    assert (await sliding.sync(lists=lists))["lists"] == {"dms": {"count": 0}, "all": {"count": 1}}
    (await alice.put("/user/{}/account_data/m.direct", alice.user_id, body={bob.user_id: [room_id]})).ok()
    answer = await sliding.sync(lists=lists)
    assert answer["lists"] == {"dms": {"count": 1}, "all": {"count": 0}}
    assert answer["rooms"][room_id]["is_dm"] is True
    (await alice.put("/user/{}/account_data/m.direct", alice.user_id, body={})).ok()
    assert (await sliding.sync(lists=lists))["rooms"][room_id]["is_dm"] is False


async def test_an_invite_shows_stripped_state_alone(server: RunningServer) -> None:
    """T-B7, T-G2: who is invited sees what the room is called, not what is said; a subscription changes nothing."""
    alice, bob = await server.user("alice"), await server.user("bob")
    sliding = SlidingClient(bob)
    lists = {"main": window(state=WHOLE_STATE)}
    await sliding.sync(lists=lists)
    room_id = await alice.create_room(name="Hof", invite=[bob.user_id])
    await alice.send(room_id, "secret")
    other = await alice.create_room(name="other")
    subscriptions = {name: {"timeline_limit": 9, "required_state": WHOLE_STATE} for name in (room_id, other)}
    answer = await sliding.sync(lists=lists, room_subscriptions=subscriptions)
    assert set(answer["rooms"]) == {room_id}
    room = answer["rooms"][room_id]
    assert {"m.room.name", "m.room.member"} <= set(types(room["invite_state"])) and room["membership"] == "invite"
    assert not {"timeline", "required_state", "joined_count", "name"} & set(room)
    await alice.send(room_id, "secret")
    assert (await sliding.sync(lists=lists))["rooms"] == {}
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    left = (await sliding.sync(lists=lists))["rooms"][room_id]
    assert left["membership"] == "leave" and "secret" not in json.dumps(left)


async def test_who_was_kicked_sees_nothing_after_it(server: RunningServer) -> None:
    """T-G1: membership ends what one sees."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat", name="before")
    await bob.join(room_id)
    sliding = SlidingClient(bob)
    subscription = {room_id: {"timeline_limit": 9, "required_state": WHOLE_STATE}}
    await sliding.sync(room_subscriptions=subscription)
    await alice.send(room_id, "before")
    (await alice.post("/rooms/{}/kick", room_id, body={"user_id": bob.user_id})).ok()
    await alice.send(room_id, "after")
    (await alice.put("/rooms/{}/state/m.room.name", room_id, body={"name": "after"})).ok()
    for connection in (sliding, SlidingClient(bob, "fresh")):
        answer = await connection.sync(room_subscriptions=subscription)
        room = answer["rooms"][room_id]
        assert bodies(room) == ["before"] and room["membership"] == "leave" and "after" not in json.dumps(room)
        assert room["timeline"][-1]["content"]["membership"] == "leave"
        assert (await connection.sync(room_subscriptions=subscription))["rooms"] == {}


async def test_a_room_that_was_left_is_told_once(server: RunningServer) -> None:
    alice = await server.user("alice")
    room_ids = await rooms_of(alice, 2)
    other = await server.login("alice")
    sliding = SlidingClient(alice)
    await sliding.sync(lists={"main": window(0, 0)}, room_subscriptions={room_ids[0]: window()})
    (await other.post("/rooms/{}/leave", room_ids[0])).ok()
    answer = await sliding.sync(lists={"main": window(0, 0)})
    assert answer["rooms"][room_ids[0]]["membership"] == "leave" and answer["lists"]["main"]["count"] == 1
    assert (await sliding.sync(lists={"main": window(0, 0)}))["rooms"] == {}
    assert room_ids[0] not in (await SlidingClient(alice, "b").sync(lists={"main": window()}))["rooms"]


async def test_names_of_a_wrong_type_are_no_names(server: RunningServer) -> None:
    """T-B9: clients get a string or nothing."""
    alice = await server.user("alice")
    room_id = await alice.create_room(name="x")
    (await alice.put("/rooms/{}/state/m.room.name", room_id, body={"name": {"a": 1}})).ok()
    (await alice.put("/rooms/{}/state/m.room.avatar", room_id, body={"url": 5})).ok()
    room = (await SlidingClient(alice).sync(lists={"main": window()}))["rooms"][room_id]
    assert "name" not in room and "avatar" not in room


async def test_heroes_name_a_nameless_room(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    (await bob.put("/profile/{}/displayname", bob.user_id, body={"displayname": "Bob"})).ok()
    room_id = await alice.create_room(preset="public_chat")
    sliding = SlidingClient(alice)
    room = (await sliding.sync(lists={"main": window()}))["rooms"][room_id]
    assert "heroes" not in room
    await bob.join(room_id)
    room = (await sliding.sync(lists={"main": window()}))["rooms"][room_id]
    assert room["heroes"] == [{"user_id": bob.user_id, "displayname": "Bob"}] and room["joined_count"] == 2


async def test_extensions(server: RunningServer) -> None:
    """Messages to the device, keys, account data, receipts and typing, each as a difference."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    event_id = await bob.send(room_id, "moin")
    (await bob.post("/rooms/{}/receipt/m.read/{}", room_id, event_id)).ok()
    (await alice.put("/user/{}/account_data/org.x", alice.user_id, body={"a": 1})).ok()
    (await alice.put("/user/{}/rooms/{}/account_data/org.y", alice.user_id, room_id, body={"b": 2})).ok()
    extensions: dict[str, Any] = {
        name: {"enabled": True} for name in ("to_device", "e2ee", "account_data", "receipts", "typing")
    }
    sliding = SlidingClient(alice)
    found = (await sliding.sync(lists={"main": window()}, extensions=extensions))["extensions"]
    assert found["receipts"]["rooms"][room_id]["content"][event_id]["m.read"][bob.user_id]
    assert {"type": "org.x", "content": {"a": 1}} in found["account_data"]["global"]
    assert {"type": "org.y", "content": {"b": 2}} in found["account_data"]["rooms"][room_id]
    assert "device_one_time_keys_count" in found["e2ee"] and found["to_device"]["events"] == []
    messages = {"messages": {alice.user_id: {"*": {"c": 3}}}}
    (await bob.put("/sendToDevice/org.z/t1", body=messages)).ok()
    (await bob.put("/rooms/{}/typing/{}", room_id, bob.user_id, body={"typing": True, "timeout": 30_000})).ok()
    (await alice.put("/user/{}/rooms/{}/account_data/org.y", alice.user_id, room_id, body={"b": 3})).ok()
    event_id = await alice.send(room_id, "moin")
    (await bob.post("/rooms/{}/receipt/m.read/{}", room_id, event_id)).ok()
    extensions["to_device"]["since"] = found["to_device"]["next_batch"]
    found = (await sliding.sync(lists={"main": window()}, extensions=extensions))["extensions"]
    assert [event["content"] for event in found["to_device"]["events"]] == [{"c": 3}]
    assert found["typing"]["rooms"][room_id]["content"]["user_ids"] == [bob.user_id]
    assert found["account_data"] == {"rooms": {room_id: [{"type": "org.y", "content": {"b": 3}}]}}
    assert set(found["receipts"]["rooms"][room_id]["content"]) == {event_id}
    again = (await sliding.sync(lists={"main": window()}, extensions=extensions))["extensions"]
    assert [event["content"] for event in again["to_device"]["events"]] == [{"c": 3}]
    extensions["to_device"]["since"] = found["to_device"]["next_batch"]
    again = (await sliding.sync(lists={"main": window()}, extensions=extensions))["extensions"]
    assert again["to_device"]["events"] == [] and not {"typing", "receipts", "account_data"} & set(again)


async def test_reading_on_another_device_changes_the_counts(server: RunningServer) -> None:
    """T-F15: a private receipt is told to its owner alone, and moves no room in a list."""
    alice, bob = await server.user("alice"), await server.user("bob")
    phone = await server.login("alice")
    room_id, other = [await alice.create_room(preset="public_chat", name=name) for name in "ab"]
    await bob.join(room_id)
    sliding, watching = SlidingClient(alice), SlidingClient(bob)
    lists, extensions = {"main": window()}, {"receipts": {"enabled": True}}
    event_id = await bob.send(room_id, "moin")
    await alice.send(other, "newest")
    assert (await sliding.sync(lists=lists, extensions=extensions))["rooms"][room_id]["notification_count"] == 1
    await watching.sync(lists=lists, extensions=extensions)
    (await phone.post("/rooms/{}/receipt/m.read.private/{}", room_id, event_id)).ok()
    answer = await sliding.sync(lists=lists, extensions=extensions)
    assert answer["rooms"][room_id]["notification_count"] == 0
    assert answer["extensions"]["receipts"]["rooms"][room_id]["content"][event_id]["m.read.private"]
    assert alice.user_id not in json.dumps(await watching.sync(lists=lists, extensions=extensions))
    assert list((await SlidingClient(alice, "b").sync(lists={"main": window(0, 0)}))["rooms"]) == [other]


@pytest.mark.parametrize("pos", ["x", "1_1", "s5", "999999999999_1", "1_999999999999999999", "-1_2", "0_0"])
async def test_strange_positions_are_unknown(server: RunningServer, pos: str) -> None:
    """T-G6: the client is told to begin anew."""
    alice = await server.user("alice")
    await alice.create_room()
    await SlidingClient(alice).sync(lists={"main": window()})
    (await SlidingClient(alice).ask(pos=pos, lists={"main": window()})).refused(400, "M_UNKNOWN_POS")


def _deep(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "body",
    [
        {"lists": {str(number): window() for number in range(1_000)}},
        {"lists": {"x" * 256: window()}},
        {"lists": {"a": {**window(), "ranges": [[0, 1]] * 101}}},
        {"lists": {"a": {**window(), "ranges": [[0, 2**70]]}}},
        {"lists": {"a": {**window(), "ranges": [[-1, 5]]}}},
        {"lists": {"a": {**window(), "ranges": [[5, 1]]}}},
        {"lists": {"a": {**window(), "timeline_limit": 10**9}}},
        {"lists": {"a": {**window(), "timeline_limit": "1"}}},
        {"lists": {"a": {**window(), "required_state": [["m.room.name", ""]] * 301}}},
        {"lists": {"a": {**window(), "required_state": [["m.room.name"]]}}},
        {"lists": {"a": {**window(), "filters": {"spaces": ["!a:b"] * 101}}}},
        {"lists": {"a": {**window(), "filters": {"is_dm": "yes"}}}},
        {"lists": {"a": {**window(), "filters": _deep(500)}}},
        {"room_subscriptions": {f"!{number}:b": window() for number in range(1_001)}},
        {"conn_id": "x" * 256},
        {"conn_id": "\x00"},
        {"extensions": {"to_device": {"enabled": True, "since": "moin"}}},
        {"extensions": {"account_data": {"enabled": True, "lists": "all"}}},
        {"timeout": -1},
        {"lists": []},
    ],
)
async def test_hostile_bodies_are_refused(server: RunningServer, body: dict[str, Any]) -> None:
    """T-G20: nothing that a client can make grow is without a limit."""
    alice = await server.user("alice")
    answered = await SlidingClient(alice).ask(**body)
    assert answered.status == 400 and answered.json["errcode"] in ("M_BAD_JSON", "M_INVALID_PARAM"), answered.body


async def test_the_largest_body_is_answered(server: RunningServer) -> None:
    alice = await server.user("alice")
    await rooms_of(alice, 3)
    lists = {
        str(number): window(0, 2**53, limit=number % 7, state=[["*", f"k{number}"]], filters={"tags": [f"t{number}"]})
        for number in range(50)
    }
    wide = {f"w{number}": window(0, 2**53, limit=number, state=[["m.x", f"k{number}"]]) for number in range(50)}
    subscriptions = {f"!{number}:hansa.test": window() for number in range(1_000)}
    sliding = SlidingClient(alice)
    answer = await sliding.sync(lists=lists | wide, room_subscriptions=subscriptions)
    assert len(answer["rooms"]) == 3 and answer["lists"]["w1"]["count"] == 3
    assert (await sliding.sync(lists=lists | wide, room_subscriptions=subscriptions))["rooms"] == {}


async def test_connections_of_a_device_are_bounded(server: RunningServer) -> None:
    """T-G20: the least recently used connection goes, and its client begins anew after a restart."""
    alice = await server.user("alice")
    await alice.create_room()
    for number in range(20):
        await SlidingClient(alice, f"c{number}").sync(lists={"main": window()})
    count = await server.db.fetchval("SELECT count(*) FROM sliding_connections WHERE user_id = $1", alice.user_id)
    assert count == 16
    (await alice.post("/logout")).ok()
    assert await server.db.fetchval("SELECT count(*) FROM sliding_states") == 0


async def test_positions_survive_a_restart(database_dsn: str) -> None:
    """What was sent is known beyond the process; what was not is sent, and nothing twice."""
    lists = {"main": window(0, 1)}
    async with running_server(database_dsn) as server:
        alice = await server.user("alice")
        room_ids = await rooms_of(alice, 4)
        sliding, lost = SlidingClient(alice), SlidingClient(alice, "lost")
        await sliding.sync(lists=lists)
        await lost.sync(lists=lists)
        await alice.send(room_ids[0], "one")
        await sliding.sync(lists=lists)
        await alice.send(room_ids[1], "two")
        await server.db.execute("DELETE FROM sliding_states WHERE connection_nid = 2")
    async with running_server(database_dsn) as server:
        again = server.anonymous()
        again.token, again.user_id = alice.token, alice.user_id
        sliding.client = lost.client = again
        await (await server.login("alice")).send(room_ids[0], "three")
        answer = await sliding.sync(lists=lists)
        assert {room_id: bodies(room) for room_id, room in answer["rooms"].items()} == {
            room_ids[0]: ["three"],
            room_ids[1]: ["two"],
        }
        assert answer["rooms"][room_ids[1]].get("initial") and "initial" not in answer["rooms"][room_ids[0]]
        (await lost.ask(pos=lost.pos, lists=lists)).refused(400, "M_UNKNOWN_POS")


def _lists(chance: random.Random) -> dict[str, Any]:
    """What a client may ask for next: windows grow and shrink."""
    last = chance.choice([0, 1, 2, 9])
    state = chance.choice([WHOLE_STATE, [["m.room.topic", ""], ["org.x", "*"], ["m.room.member", "*"]]])
    return {"main": window(0, last, limit=chance.choice([1, 5, 20]), state=state)}


async def _compare(sliding: SlidingClient, seed: int) -> None:
    whole = {"main": window(0, 99, limit=20, state=WHOLE_STATE)}
    for _ in range(3):
        await sliding.sync(lists=whole)
    fresh = SlidingClient(sliding.client, f"fresh{seed}")
    await fresh.sync(lists=whole)
    for room_id, room in fresh.rooms.items():
        known = sliding.rooms[room_id]
        assert known["events"][-len(room["events"]) :] == room["events"], seed
        assert {key: value for key, value in known.items() if key != "events"} == {
            key: value for key, value in room.items() if key != "events"
        }, seed
    listed = {room_id for room_id, room in sliding.rooms.items() if room.get("membership") == "join"}
    assert listed == {room_id for room_id, room in fresh.rooms.items() if room["membership"] == "join"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
async def test_patched_answers_equal_fresh_ones(database_dsn: str, seed: int) -> None:
    """T-G5: no gap, no event twice, over whatever users do and clients ask, with lost answers and restarts between."""
    chance = random.Random(seed)
    tokens: list[Client] = []
    room_ids: list[str] = []
    views: list[SlidingClient] = []
    for life in range(3):
        async with running_server(database_dsn) as server:
            if life == 0:
                tokens = [await server.user(name) for name in ("alice", "bob", "carol")]
            clients = []
            for known in tokens:
                client = server.anonymous()
                client.token, client.user_id, client.device_id = known.token, known.user_id, known.device_id
                clients.append(client)
            if life == 0:
                room_ids = [await clients[0].create_room(preset="public_chat") for _ in range(4)]
                views = [SlidingClient(client) for client in clients]
            for view, client in zip(views, clients, strict=True):
                view.client = client
            for _ in range(8):
                for _ in range(chance.randrange(1, 14)):
                    await act(clients, room_ids, chance)
                for view in views:
                    if chance.random() < 0.3:  # an answer that never arrives
                        await view.ask(pos=view.pos, lists=_lists(chance))
                    if chance.random() < 0.6:
                        await view.sync(lists=_lists(chance))
            for view in views:
                await _compare(view, life)
