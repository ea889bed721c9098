"""Events of another server that are of good form and signed, but mean to bend a room: its beginning, its order."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from homeserver.core.events import DEPTH_MAX, Event
from tests.federation.test_hostile_peers import joined, name_of, texts
from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import PeerRoom
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

VERSIONS = ("1", "2", "3", "6", "10", "11")


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


async def heard(here: RunningServer, alice: Client, room: PeerRoom) -> None:
    """All that came before was taken in: what is said now is heard."""
    room.text("the last word", depth=9)
    await room.send(name_of(here), room.events[room.heads[0]])

    async def is_heard() -> bool:
        return "the last word" in await texts(alice, room.room_id)

    await until(is_heard)


async def state(alice: Client, room_id: str, type: str) -> dict[str, object]:
    found: dict[str, object] = (await alice.get("/rooms/{}/state/" + type, room_id)).ok()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_room_begins_once(here: RunningServer, peer: Peer, version: str) -> None:
    """T-C2: a second create event for a room that is known, after it or beside it, is nobody's beginning."""
    alice, room = await joined(here, peer, version)
    mallory = f"@mallory:{peer.name}"
    content = {"room_version": version, "creator": mallory, "m.federate": False}
    beside = room.make("m.room.create", content, "", sender=mallory, prev=[], auth=[], depth=1)
    after = room.make("m.room.create", content, "", auth=[])
    levels = room.make(
        "m.room.power_levels", {"users": {mallory: 100}}, "", sender=mallory, prev=[beside.event_id],
        auth=[beside.event_id],
    )  # fmt: skip
    await room.send(name_of(here), beside, after, levels)
    await heard(here, alice, room)
    assert "m.federate" not in await state(alice, room.room_id, "m.room.create")
    assert mallory not in str(await state(alice, room.room_id, "m.room.power_levels"))
    members = (await alice.get("/rooms/{}/joined_members", room.room_id)).ok()["joined"]
    assert set(members) == {alice.user_id, room.eve}
    await alice.send(room.room_id, "still mine")


@pytest.mark.parametrize("version", ["1", "10"])
async def test_a_create_event_stays_what_it_is(here: RunningServer, peer: Peer, version: str) -> None:
    """T-C10: redacted by who has all power, it still says which version the room has."""
    alice, room = await joined(here, peer, version)
    create = room.state["m.room.create", ""]
    redaction = room.add("m.room.redaction", {}, redacts=create.event_id)
    await room.send(name_of(here), redaction)
    await heard(here, alice, room)
    assert (await state(alice, room.room_id, "m.room.create"))["room_version"] == version
    await alice.send(room.room_id, "goes on")


@pytest.mark.parametrize("version", ["5", "11"])
async def test_depth_is_no_order(here: RunningServer, peer: Peer, version: str) -> None:
    """T-B2: an event as deep as can be comes where it came, and the room goes on after it."""
    alice, room = await joined(here, peer, version)
    deep = room.text("deep", depth=DEPTH_MAX)
    shallow = room.text("shallow", depth=3)
    await room.send(name_of(here), deep, shallow)
    await heard(here, alice, room)
    assert await texts(alice, room.room_id) == ["deep", "shallow", "the last word"]
    mine = await alice.send(room.room_id, "mine")
    await peer.until(lambda: any(pdu["content"].get("body") == "mine" for pdu in peer.pdus))
    (sent,) = [pdu for pdu in peer.pdus if pdu["content"].get("body") == "mine"]
    assert sent["depth"] <= DEPTH_MAX
    assert (await texts(alice, room.room_id))[-1] == "mine" and mine


async def test_one_bad_event_costs_no_other(here: RunningServer, peer: Peer) -> None:
    """T-B4, T-B6: of fifty events in one transaction one can't be an event, and 49 are said."""
    alice, room = await joined(here, peer)
    good: list[Event] = []
    for number in range(49):
        room.text(f"message {number}")
        good.append(room.events[room.heads[0]])
    bad = {**good[20].pdu, "depth": 2**60, "content": {"body": "bad"}}
    pdus = [event.pdu for event in good]
    pdus.insert(20, bad)
    body = {"origin": peer.name, "origin_server_ts": 1, "pdus": pdus, "edus": []}
    answer = await peer.ask_json("PUT", name_of(here), "/_matrix/federation/v1/send/fifty", body)
    assert {event.event_id for event in good} <= set(answer["pdus"])

    async def all_said() -> bool:
        return len(await texts(alice, room.room_id)) == 49

    await until(all_said)
    assert await texts(alice, room.room_id) == [f"message {number}" for number in range(49)]


async def test_a_redaction_of_nothing_stops_no_room(here: RunningServer, peer: Peer) -> None:
    """T-B17, T-O1, T-G4: what names no event it can name is said and redacts nothing; the room goes on."""
    alice, room = await joined(here, peer, "10")
    for odd in ("\x00", "$a\x00b", "$" + "x" * 9_000, "", "not an id"):
        room.add("m.room.redaction", {"reason": odd}, redacts=odd)
        await room.send(name_of(here), room.events[room.heads[0]])
        room.text("x", redacts=odd)
        await room.send(name_of(here), room.events[room.heads[0]])
    await heard(here, alice, room)
    assert await texts(alice, room.room_id) == ["x"] * 5 + ["the last word"]
    (await alice.get("/sync")).ok()
