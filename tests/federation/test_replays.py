"""Servers that send once more what was right once, and names that are none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from homeserver.core.events import sign_event
from tests.federation.test_hostile_peers import joined, name_of
from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, V2, PeerRoom
from tests.kit.server import RunningServer


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


async def test_a_join_of_long_ago_opens_nothing(here: RunningServer, peer: Peer) -> None:
    """T-D7, T-D16: a server that was put out sends its old join again, and isn't told who is in the room by now."""
    alice = await here.user("alice")
    room_id = await alice.create_room(preset="public_chat", room_version="11")
    room = await PeerRoom.visited(peer, name_of(here), room_id)
    (join_id,) = room.heads
    path = f"/send_join/{quote(room_id)}/{quote(join_id, safe='')}"
    again = await peer.ask("PUT", name_of(here), V2 + path, room.events[join_id].pdu)
    assert again.status == 200  # the answer got lost, say
    (await alice.post("/rooms/{}/kick", room_id, body={"user_id": room.eve})).ok()
    for version in (V1, V2):
        answer = await peer.ask("PUT", name_of(here), version + path, room.events[join_id].pdu)
        assert answer.status == 403, answer.body
        assert b"servers_in_room" not in answer.body


async def test_a_knock_of_long_ago_opens_nothing(here: RunningServer, peer: Peer) -> None:
    """T-D7, T-C22: who knocked and was turned away isn't told the room's new name for the old knock."""
    alice = await here.user("alice")
    rules = [{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]
    room_id = await alice.create_room(preset="private_chat", room_version="11", initial_state=rules, name="Before")
    room = PeerRoom(peer)
    path = f"{V1}/make_knock/{quote(room_id)}/{quote(room.eve)}?ver=11"
    template = (await peer.ask_json("GET", name_of(here), path))["event"]
    knock = sign_event(room.version, {**template, "origin_server_ts": 1_700_000_000_000}, peer.signer)
    path = f"{V1}/send_knock/{quote(room_id)}/{quote(knock.event_id, safe='')}"
    for _ in range(2):
        told = await peer.ask_json("PUT", name_of(here), path, knock.pdu)
        assert "Before" in str(told["knock_room_state"])
    (await alice.post("/rooms/{}/kick", room_id, body={"user_id": room.eve})).ok()
    (await alice.put("/rooms/{}/state/m.room.name", room_id, body={"name": "Afterwards"})).ok()
    answer = await peer.ask("PUT", name_of(here), path, knock.pdu)
    assert answer.status == 403 and b"Afterwards" not in answer.body


async def test_answers_name_events_by_names_alone(here: RunningServer, peer: Peer) -> None:
    """T-A18, T-E13: answers are remembered, so nothing of any size gets into one in an event id's place: of a room
    that is unknown here, of one of old with ids in its events, and of one that is neither."""
    _, room = await joined(here, peer, "2")
    huge = "$" + "x" * 100_000
    wrong = {**room.make("m.room.message", {"body": "x"}).pdu, "event_id": huge}
    elsewhere = {**wrong, "room_id": f"!elsewhere:{peer.name}"}
    short = {**elsewhere, "event_id": "$short:x"}
    body = {"origin": peer.name, "origin_server_ts": 1, "pdus": [wrong, elsewhere, short], "edus": []}
    answer = await peer.ask_json("PUT", name_of(here), V1 + "/send/sizes", body)
    assert set(answer["pdus"]) == {"$short:x"}
