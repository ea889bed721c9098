"""What is kept and isn't the room's word: refused events, and state that is known without its place."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from homeserver.core.identifiers import EventId, RoomId
from homeserver.runtime.clock import SystemClock
from tests.federation.test_hostile_peers import joined, name_of, texts
from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1
from tests.kit.server import RunningServer
from tests.kit.until import until


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


async def test_refused_events_are_served_to_nobody(here: RunningServer, peer: Peer) -> None:
    """T-D9: not by id, not as what was missed or came before, and no state is told at them."""
    alice, room = await joined(here, peer)
    refused = room.make("m.room.message", {"msgtype": "m.text", "body": "intruder"}, sender=f"@mallory:{peer.name}")
    good = room.make("m.room.message", {"msgtype": "m.text", "body": "good"}, prev=[*room.heads, refused.event_id])
    await room.send(name_of(here), refused, good)

    async def has_come() -> bool:
        return await texts(alice, room.room_id) == ["good"]

    await until(has_come)
    assert (await here.hansa.rooms.store.by_id(refused.event_id)) is not None
    server, room_id = name_of(here), room.room_id
    assert (await peer.ask("GET", server, f"{V1}/event/{refused.event_id}")).status == 404
    for kind in ("state", "state_ids"):
        path = f"{V1}/{kind}/{room_id}?event_id={refused.event_id}"
        assert (await peer.ask("GET", server, path)).status == 403
    assert (await peer.ask("GET", server, f"{V1}/event_auth/{room_id}/{refused.event_id}")).status == 403
    before = await peer.ask_json("GET", server, f"{V1}/backfill/{room_id}?v={good.event_id}&limit=50")
    body = {"latest_events": [good.event_id], "earliest_events": [], "limit": 20}
    missed = await peer.ask_json("POST", server, f"{V1}/get_missing_events/{room_id}", body)
    for pdus in (before["pdus"], missed["events"]):
        assert refused.pdu not in pdus
    assert good.pdu in before["pdus"]
    (await alice.get("/rooms/{}/event/{}", room_id, refused.event_id)).refused(404, "M_NOT_FOUND")
    (await alice.get("/rooms/{}/context/{}", room_id, refused.event_id)).refused(404, "M_NOT_FOUND")


async def test_state_without_a_place_is_no_part_of_the_timeline(here: RunningServer, peer: Peer) -> None:
    """T-D8: what a join was told, or somebody cited, isn't among what happened; servers outside get none of it."""
    alice, room = await joined(here, peer)
    topic = room.make("m.room.topic", {"topic": "kept"}, "")
    await here.hansa.rooms.incoming.keep(RoomId(room.room_id), [topic])
    assert (await here.hansa.rooms.store.by_id(topic.event_id)) is not None
    server, room_id = name_of(here), room.room_id
    page = (await alice.get("/rooms/{}/messages", room_id, dir="b", limit="50")).ok()
    assert [event["type"] for event in page["chunk"]] == ["m.room.member"]
    (await alice.get("/rooms/{}/context/{}", room_id, topic.event_id)).refused(404, "M_NOT_FOUND")
    assert (await alice.get("/rooms/{}/state/m.room.topic", room_id)).status == 404
    path = f"{V1}/backfill/{room_id}?v={topic.event_id}&v={room.heads[0]}&limit=50"
    assert topic.pdu not in (await peer.ask_json("GET", server, path))["pdus"]
    found = await peer.ask("GET", server, f"{V1}/timestamp_to_event/{room_id}?ts={topic.origin_server_ts}&dir=b")
    assert topic.event_id.encode() not in found.body


async def test_times_that_others_write_open_nothing(here: RunningServer, peer: Peer) -> None:
    """T-J12: who may see an event is decided by its place; a date before, or long after, changes nothing."""
    alice, room = await joined(here, peer)
    hidden = room.add("m.room.history_visibility", {"history_visibility": "joined"}, "")
    old = room.text("as if long ago", ts=1)
    late = room.text("as if long after", ts=SystemClock().now_ms() + 3_600_000)
    await room.send(name_of(here), hidden, old, late)

    async def has_come() -> bool:
        return len(await texts(alice, room.room_id)) == 2

    await until(has_come)
    bob = await here.user("bob")
    await bob.join(room.room_id)
    assert await texts(bob, room.room_id) == []
    for event in (old, late):
        (await bob.get("/rooms/{}/event/{}", room.room_id, EventId(event.event_id))).refused(404, "M_NOT_FOUND")
