"""What isn't an event, between two servers: typing, receipts, presence, devices and their messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from nacl.signing import SigningKey

from homeserver.core.events import parse_pdu
from tests.api.test_keys import device_keys
from tests.federation.test_claimed_keys import one_time_of
from tests.federation.test_rooms import has, join
from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import PeerRoom
from tests.kit.server import Client, RunningServer
from tests.kit.until import until


async def ephemeral(user: Client, room_id: str, kind: str) -> list[Any]:
    room = (await user.sync()).get("rooms", {}).get("join", {}).get(room_id, {})
    return [event["content"] for event in room.get("ephemeral", {}).get("events", []) if event["type"] == kind]


async def a_room(here: RunningServer, there: RunningServer) -> tuple[Client, Client, str]:
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await join(bob, room_id, here)
    return alice, bob, room_id


async def test_typing_and_receipts_are_seen(here: RunningServer, there: RunningServer) -> None:
    alice, bob, room_id = await a_room(here, there)
    event_id = await alice.send(room_id, "hello")
    await until(lambda: has(bob, room_id, {"hello"}))
    (await bob.put("/rooms/{}/typing/{}", room_id, bob.user_id, body={"typing": True, "timeout": 30000})).ok()
    (await bob.post("/rooms/{}/receipt/m.read/{}", room_id, event_id)).ok()

    async def typing() -> bool:
        return {"user_ids": [bob.user_id]} in await ephemeral(alice, room_id, "m.typing")

    async def read() -> bool:
        found = await ephemeral(alice, room_id, "m.receipt")
        return any(bob.user_id in content.get(event_id, {}).get("m.read", {}) for content in found)

    await until(typing)
    await until(read)


async def test_presence_is_seen(here: RunningServer, there: RunningServer) -> None:
    alice, bob, _ = await a_room(here, there)
    (await bob.put("/presence/{}/status", bob.user_id, body={"presence": "online", "status_msg": "baking"})).ok()

    async def seen() -> bool:
        answer = await alice.get("/presence/{}/status", bob.user_id)
        return bool(answer.status == 200 and answer.json.get("status_msg") == "baking")

    await until(seen)


@pytest.mark.parametrize("kind", ["m.device_list_update", "m.signing_key_update"])
async def test_devices_of_made_up_users_leave_nothing(here: RunningServer, authority: Authority, kind: str) -> None:
    """T-A18, T-E13: a server may name any number of users of its own; those whom nobody here has to do with take no
    room, those who share one are heard of."""
    async with running_peer(authority) as peer:
        alice = await here.user("alice")
        room_id = await alice.create_room(preset="public_chat", room_version="11")
        room = await PeerRoom.visited(peer, here.hansa.config.server_name, room_id)
        users = [f"@made-up-{number}:{peer.name}" for number in range(20)] + [room.eve]
        edus = [
            {"edu_type": kind, "content": {"user_id": user, "device_id": "D", "stream_id": 1, "prev_id": []}}
            for user in users
        ]
        await room.send(here.hansa.config.server_name, edus=edus)
        kept = await here.db.fetch("SELECT user_id FROM remote_device_lists")
        assert [row["user_id"] for row in kept] == [room.eve]
        told = await here.db.fetch("SELECT user_id FROM device_list_changes WHERE user_id LIKE '@made-up%'")
        assert told == []


async def test_keys_and_messages_reach_devices(here: RunningServer, there: RunningServer) -> None:
    """A message to a device comes once, and a key is handed out once."""
    alice, bob, _ = await a_room(here, there)
    since = (await alice.sync())["next_batch"]
    key = SigningKey.generate()
    keys, one_time = device_keys(bob, key), one_time_of(bob.user_id, str(bob.device_id), key)
    body = {"device_keys": keys, "one_time_keys": {"signed_curve25519:A": one_time}}
    (await bob.post("/keys/upload", body=body)).ok()

    async def told() -> bool:
        changed = (await alice.sync(since=since)).get("device_lists", {}).get("changed", [])
        return bob.user_id in changed

    await until(told)
    found = (await alice.post("/keys/query", body={"device_keys": {bob.user_id: []}})).ok()
    shown = found["device_keys"][bob.user_id][bob.device_id]
    assert shown["keys"] == keys["keys"]
    wanted = {bob.user_id: {bob.device_id: "signed_curve25519"}}
    claimed = (await alice.post("/keys/claim", body={"one_time_keys": wanted})).ok()
    assert list(claimed["one_time_keys"][bob.user_id][bob.device_id]) == ["signed_curve25519:A"]
    again = (await alice.post("/keys/claim", body={"one_time_keys": wanted})).ok()
    assert not again["one_time_keys"].get(bob.user_id, {}).get(bob.device_id)
    message = {"messages": {bob.user_id: {bob.device_id: {"n": 1}, "*": {"n": 2}}}}
    (await alice.put("/sendToDevice/m.test/t1", body=message)).ok()

    async def messages() -> list[Any]:
        return [event["content"] for event in (await bob.sync()).get("to_device", {}).get("events", [])]

    async def come() -> bool:
        return len(await messages()) >= 2

    await until(come)
    assert sorted(content["n"] for content in await messages()) == [1, 2]


async def test_a_server_speaks_for_its_own_users_alone(here: RunningServer, there: RunningServer) -> None:
    """T-F13, T-P1: typing, receipts, presence and devices of others' users in a transaction are nobody's word."""
    alice, _, room_id = await a_room(here, there)
    event_id = await alice.send(room_id, "hello")
    assert there.hansa.federation is not None
    forged: list[dict[str, Any]] = [
        {"edu_type": "m.typing", "content": {"room_id": room_id, "user_id": alice.user_id, "typing": True}},
        {"edu_type": "m.receipt", "content": {room_id: {"m.read": {alice.user_id: {"event_ids": [event_id]}}}}},
        {"edu_type": "m.presence", "content": {"push": [{"user_id": alice.user_id, "presence": "unavailable"}]}},
        {
            "edu_type": "m.direct_to_device",
            "content": {
                "sender": alice.user_id,
                "type": "m.test",
                "message_id": "1",
                "messages": {alice.user_id: {"*": {}}},
            },
        },
        {"edu_type": "m.receipt", "content": {"!nowhere:x": 5, room_id: [], "x": {}}},
        {"edu_type": 5, "content": []},
    ]
    path = "/_matrix/federation/v1/send/forged"
    name = here.hansa.federation.access.own if here.hansa.federation is not None else None
    assert name is not None
    body = {"origin": "x", "origin_server_ts": 1, "pdus": [], "edus": [*forged, None, "x"]}
    assert await there.hansa.federation.client.put(name, path, body) == {"pdus": {}}
    assert not any(content["user_ids"] for content in await ephemeral(alice, room_id, "m.typing"))
    assert await ephemeral(alice, room_id, "m.receipt") == []
    assert (await alice.get("/presence/{}/status", alice.user_id)).ok()["presence"] != "unavailable"
    assert not (await alice.sync()).get("to_device", {}).get("events")


async def test_a_closed_room_closes_no_other(here: RunningServer, there: RunningServer) -> None:
    """One transaction brings receipts of several rooms; an ACL of one of them counts there alone."""
    alice, bob, closed = await a_room(here, there)
    opened = await alice.create_room(preset="public_chat")
    await join(bob, opened, here)
    acl = {"allow": ["*"], "deny": ["localhost"], "allow_ip_literals": True}
    (await alice.put("/rooms/{}/state/m.room.server_acl", closed, body=acl)).ok()
    sent = {room_id: await alice.send(room_id, "hello") for room_id in (closed, opened)}
    content = {room_id: {"m.read": {bob.user_id: {"event_ids": [sent[room_id]]}}} for room_id in (closed, opened)}
    assert there.hansa.federation is not None
    body = {"origin_server_ts": 1, "pdus": [], "edus": [{"edu_type": "m.receipt", "content": content}]}
    await there.hansa.federation.client.put(here.hansa.signer.server_name, "/_matrix/federation/v1/send/receipts", body)
    found = await ephemeral(alice, opened, "m.receipt")
    assert any(bob.user_id in content.get(sent[opened], {}).get("m.read", {}) for content in found)
    assert await ephemeral(alice, closed, "m.receipt") == []


async def test_keys_of_who_is_in_no_room_with_us_are_asked_for_anew(here: RunningServer, there: RunningServer) -> None:
    """Nobody announces changes to a server that shares no room, so nothing kept is believed."""
    alice, bob, room_id = await a_room(here, there)

    async def upload() -> str:
        keys = device_keys(bob, SigningKey.generate())
        (await bob.post("/keys/upload", body={"device_keys": keys})).ok()
        shown: str = keys["keys"][f"ed25519:{bob.device_id}"]
        return shown

    async def seen() -> str:
        found = (await alice.post("/keys/query", body={"device_keys": {bob.user_id: []}})).ok()
        shown: str = found["device_keys"][bob.user_id][bob.device_id]["keys"][f"ed25519:{bob.device_id}"]
        return shown

    first = await upload()
    assert await seen() == first
    (await alice.post("/rooms/{}/leave", room_id)).ok()
    second = await upload()
    assert await seen() == second
    third = await upload()
    await join(alice, room_id, there)
    assert await seen() == third


async def test_a_receipt_that_comes_first_waits(here: RunningServer, there: RunningServer) -> None:
    """Receipts may overtake what they rest on: here the join of their user."""
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    event_id = await alice.send(room_id, "hello")
    assert there.hansa.federation is not None
    content = {room_id: {"m.read": {bob.user_id: {"event_ids": [event_id]}}}}
    body = {"origin_server_ts": 1, "pdus": [], "edus": [{"edu_type": "m.receipt", "content": content}]}
    await there.hansa.federation.client.put(here.hansa.signer.server_name, "/_matrix/federation/v1/send/early", body)
    assert await ephemeral(alice, room_id, "m.receipt") == []
    await join(bob, room_id, here)

    async def read() -> bool:
        found = await ephemeral(alice, room_id, "m.receipt")
        return any(bob.user_id in content.get(event_id, {}).get("m.read", {}) for content in found)

    await until(read)


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


async def read_by(user: Client, room_id: str, reader: str) -> dict[str, Any]:
    """Event id → `ts`, of what the reader has read as the user is shown."""
    return {
        event_id: by_kind["m.read"][reader]["ts"]
        for content in await ephemeral(user, room_id, "m.receipt")
        for event_id, by_kind in content.items()
        if reader in by_kind.get("m.read", {})
    }


def receipt_of(room: PeerRoom, *event_ids: object, **data: Any) -> dict[str, Any]:
    read = {room.eve: {"event_ids": list(event_ids), "data": {"ts": 1_436_451_550_453, **data}}}
    return {"edu_type": "m.receipt", "content": {room.room_id: {"m.read": read}}}


async def test_a_receipt_at_an_event_that_is_not_here(here: RunningServer, peer: Peer) -> None:
    """T-F13: who knows the event is shown it, with its time; any receipt at an event that is here takes its place."""
    alice, room = await here.user("alice"), PeerRoom(peer)
    room.answer_joins(alice.user_id)
    (await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)).ok()
    since = (await alice.sync())["next_batch"]
    server = here.hansa.config.server_name
    nonsense: list[Any] = ["", "x" * 256, "nul\0", 5, None, {}]
    for wrong in nonsense:
        await room.send(server, edus=[receipt_of(room, wrong)])
    assert await read_by(alice, room.room_id, room.eve) == {}
    await room.send(server, edus=[receipt_of(room, "$long_ago"), receipt_of(room, "$elsewhere", ts="x")])
    assert set(await read_by(alice, room.room_id, room.eve)) == {"$elsewhere"}
    await room.send(server, edus=[receipt_of(room, "$long_ago")])
    assert await read_by(alice, room.room_id, room.eve) == {"$long_ago": 1_436_451_550_453}
    told = (await alice.sync(since=since))["rooms"]["join"][room.room_id]["ephemeral"]["events"]
    assert [list(event["content"]) for event in told if event["type"] == "m.receipt"] == [["$long_ago"]]
    sent = next(body for method, path, body in peer.asked if method == "PUT" and "/send_join/" in path)
    join_event = parse_pdu(room.version, sent)
    said = room.make("m.room.message", {"msgtype": "m.text", "body": "said"}, prev=[join_event.event_id])
    await room.send(server, said)

    async def heard() -> bool:
        return await has(alice, room.room_id, {"said"})

    await until(heard, within_s=30)
    await room.send(server, edus=[receipt_of(room, said.event_id)])
    assert set(await read_by(alice, room.room_id, room.eve)) == {said.event_id}
    await room.send(server, edus=[receipt_of(room, "$long_ago")])
    assert set(await read_by(alice, room.room_id, room.eve)) == {said.event_id}


async def test_a_receipt_that_overtakes_its_event_is_kept(here: RunningServer, peer: Peer) -> None:
    """Its reader's last receipt stays until the event comes; then the new one counts."""
    alice, room = await here.user("alice"), PeerRoom(peer)
    room.answer_joins(alice.user_id)
    (await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)).ok()
    sent = next(body for method, path, body in peer.asked if method == "PUT" and "/send_join/" in path)
    room.take(parse_pdu(room.version, sent))
    server = here.hansa.config.server_name
    one, two = room.text("one"), room.text("two")
    await room.send(server, one)
    await until(lambda: has(alice, room.room_id, {"one"}), within_s=30)

    async def reads(event_id: str) -> bool:
        return set(await read_by(alice, room.room_id, room.eve)) == {event_id}

    await room.send(server, edus=[receipt_of(room, one.event_id)])
    await until(lambda: reads(one.event_id), within_s=30)
    await room.send(server, edus=[receipt_of(room, two.event_id)])
    assert await reads(one.event_id)
    await room.send(server, two)
    await until(lambda: reads(two.event_id), within_s=30)
