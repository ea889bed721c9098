"""What a server tells of a room's state where its events come from nowhere, and what rests on what was refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from homeserver.core.events import Event, parse_pdu
from homeserver.core.identifiers import EventId
from tests.federation.test_false_rights import said
from tests.federation.test_hostile_peers import name_of, texts
from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, PeerRoom
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

Json = dict[str, Any]
VERSIONS = ["6", "11", "12"]

pytestmark = pytest.mark.slow


async def state(alice: Client, room_id: str, type: str) -> Json:
    found: Json = (await alice.get("/rooms/{}/state/" + type, room_id)).ok()
    return found


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


async def town(here: RunningServer, peer: Peer, version: str) -> tuple[Client, PeerRoom]:
    """Alice's room, in which Eve of the peer once had power, and has none any more."""
    alice = await here.user("alice")
    room_id = await alice.create_room(preset="public_chat", room_version=version, name="Town", topic="true")
    room = await PeerRoom.visited(peer, name_of(here), room_id, version)
    levels = await state(alice, room_id, "m.room.power_levels")
    for power in (50, 0):
        changed = {**levels, "users": {**levels["users"], room.eve: power}}
        (await alice.put("/rooms/{}/state/m.room.power_levels", room_id, body=changed)).ok()
    await peer.until(lambda: len([pdu for pdu in peer.pdus if pdu["type"] == "m.room.power_levels"]) == 2)
    return alice, room


def powers(peer: Peer, room: PeerRoom) -> list[Event]:
    """The power levels that the peer was sent: Eve's good ones, and those that took them back."""
    return [parse_pdu(room.version, pdu) for pdu in peer.pdus if pdu["type"] == "m.room.power_levels"]


def tells(peer: Peer, room: PeerRoom, told: list[Event], others: list[str] | None = None) -> list[Event]:
    """Has the peer say that this is the state before a message from nowhere: that message, and one after it."""
    lost = room.make("m.room.message", {"msgtype": "m.text", "body": "lost"}, prev=[EventId("$" + "n" * 43)], depth=50)
    events = {event.event_id: event for event in [lost, *told]}

    def alone(pdu: Json, sent: Any) -> Json:
        return {"origin": peer.name, "pdus": [pdu]}

    ids = {"pdu_ids": [event.event_id for event in told] + (others or []), "auth_chain_ids": []}
    peer.answers[V1 + "/get_missing_events"] = lambda sent: {"events": []}
    peer.answers[V1 + "/state_ids"] = lambda sent: ids
    peer.answers[V1 + "/state/"] = lambda sent: {"pdus": [event.pdu for event in told], "auth_chain": []}
    for event_id, event in events.items():
        for name in (event_id, quote(event_id, safe="")):
            peer.answers[V1 + "/event/" + name] = partial(alone, event.pdu)
    return [lost, room.make("m.room.message", {"msgtype": "m.text", "body": "found"}, prev=[lost.event_id], depth=51)]


async def is_as_it_was(here: RunningServer, alice: Client, room: PeerRoom) -> None:
    """The last word is heard, and nothing of the room's state has changed by what was told."""
    await said(room, here, alice)
    assert (await state(alice, room.room_id, "m.room.name"))["name"] == "Town"
    assert (await state(alice, room.room_id, "m.room.topic"))["topic"] == "true"
    assert (await state(alice, room.room_id, "m.room.power_levels"))["users"].get(room.eve, 0) == 0
    members = (await alice.get("/rooms/{}/joined_members", room.room_id)).ok()["joined"]
    assert set(members) == {alice.user_id, room.eve}
    await alice.send(room.room_id, "still here")
    assert "still here" in await texts(alice, room.room_id)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_small_state_takes_nothing_away(here: RunningServer, peer: Peer, version: str) -> None:
    """T-C7: a state of two events before an event whose past nobody has: what is known of the room stays."""
    alice, room = await town(here, peer, version)
    told = [room.state["m.room.create", ""], room.state["m.room.member", room.eve]]
    _, found = tells(peer, room, told)
    await room.send(name_of(here), found)
    await is_as_it_was(here, alice, room)
    assert "found" in await texts(alice, room.room_id)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_made_up_state_gives_no_power(here: RunningServer, peer: Peer, version: str) -> None:
    """T-C7, T-A5: each event of a state that is told is checked as any other, also one in another's name or room."""
    alice, room = await town(here, peer, version)
    levels = {"users": {room.eve: 90}, "state_default": 0}
    power = room.make("m.room.power_levels", levels, "")
    forged = room.make("m.room.power_levels", levels, "", sender=alice.user_id)
    banned = room.make("m.room.member", {"membership": "ban"}, alice.user_id)
    other = await alice.create_room(room_version=version, name="Elsewhere")
    others = [one["event_id"] for one in (await alice.get("/rooms/{}/state", other)).ok()]
    told = [room.state["m.room.create", ""], room.state["m.room.member", room.eve], power, forged, banned]
    _, found = tells(peer, room, told, others)
    create = [] if version == "12" else [room.state["m.room.create", ""].event_id]
    auth = [*create, power.event_id, room.state["m.room.member", room.eve].event_id]
    topic = room.make("m.room.topic", {"topic": "evil"}, "", prev=[found.event_id], auth=auth, depth=60)
    await room.send(name_of(here), found, topic)
    await is_as_it_was(here, alice, room)
    for event in (power, forged, banned, topic):
        (await alice.get("/rooms/{}/event/{}", room.room_id, event.event_id)).refused(404, "M_NOT_FOUND")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_state_of_the_past_is_not_the_state(here: RunningServer, peer: Peer, version: str) -> None:
    """T-C7, T-C18: power that was taken back doesn't come again by telling that it is the state at a gap."""
    alice, room = await town(here, peer, version)
    mighty, _ = powers(peer, room)
    state_then = {**room.state, ("m.room.power_levels", ""): mighty}
    lost, _ = tells(peer, room, list(state_then.values()))
    create = [] if version == "12" else [room.state["m.room.create", ""].event_id]
    auth = [*create, mighty.event_id, room.state["m.room.member", room.eve].event_id]
    evil = [
        room.make("m.room.topic", {"topic": "evil"}, "", prev=[lost.event_id], auth=auth, depth=60),
        room.make("m.room.name", {"name": "evil"}, "", prev=[lost.event_id], auth=auth, depth=60),
    ]
    await room.send(name_of(here), *evil)
    await is_as_it_was(here, alice, room)


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_rests_on_the_refused_is_refused(here: RunningServer, peer: Peer, version: str) -> None:
    """T-C17: refused events give no right and are given to nobody; what follows them may be heard."""
    alice, room = await town(here, peer, version)
    create = [] if version == "12" else [room.state["m.room.create", ""].event_id]
    room.state["m.room.power_levels", ""] = powers(peer, room)[-1]
    before = list(room.heads)
    power = room.make("m.room.power_levels", {"users": {room.eve: 90}, "state_default": 0}, "", prev=before)
    auth = [*create, power.event_id, room.state["m.room.member", room.eve].event_id]
    topic = room.make("m.room.topic", {"topic": "evil"}, "", prev=[power.event_id], auth=auth)
    child = room.make("m.room.message", {"msgtype": "m.text", "body": "after it"}, prev=[topic.event_id])
    word = {"msgtype": "m.text", "body": "by the refused"}
    resting = room.make("m.room.message", word, prev=before, auth=auth)
    await room.send(name_of(here), power, topic, resting, child)

    async def is_heard() -> bool:
        return "after it" in await texts(alice, room.room_id)

    await until(is_heard)
    assert (await state(alice, room.room_id, "m.room.topic"))["topic"] == "true"
    assert (await state(alice, room.room_id, "m.room.power_levels"))["users"].get(room.eve, 0) == 0
    last = await alice.send(room.room_id, "mine")
    await peer.until(lambda: any(pdu["content"].get("body") == "mine" for pdu in peer.pdus))
    sent = next(pdu for pdu in peer.pdus if pdu["content"].get("body") == "mine")
    assert not any(event.event_id in str(sent["prev_events"]) for event in (power, topic, resting))
    path = f"{V1}/state_ids/{quote(room.room_id)}?event_id={quote(last, safe='')}"
    ids = await peer.ask_json("GET", name_of(here), path)
    assert "by the refused" not in await texts(alice, room.room_id)
    for event in (power, topic, resting):
        assert event.event_id not in [*ids["pdu_ids"], *ids["auth_chain_ids"]]
        (await alice.get("/rooms/{}/event/{}", room.room_id, event.event_id)).refused(404, "M_NOT_FOUND")
        found = await peer.ask("GET", name_of(here), f"{V1}/event/{quote(event.event_id, safe='')}")
        assert found.status in (403, 404)
    path = f"{V1}/backfill/{quote(room.room_id)}?limit=50&v={quote(last, safe='')}"
    given = str((await peer.ask_json("GET", name_of(here), path))["pdus"])
    assert "after it" in given and "evil" not in given and "by the refused" not in given
