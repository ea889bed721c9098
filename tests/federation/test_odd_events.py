"""Events of another server that are of good form and signed, but mean to bend a room: its beginning, its order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.core.events import DEPTH_MAX, Event, parse_pdu, sign_event
from homeserver.core.identifiers import RoomId
from tests.federation.test_hostile_peers import joined, name_of, texts
from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, PeerRoom
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


@pytest.mark.parametrize("version", ["1", "10", "12"])
async def test_an_encrypted_room_stays_so(here: RunningServer, peer: Peer, version: str) -> None:
    """T-F19: whoever may redact from elsewhere switches no encryption off, not even before it is heard of."""
    alice, room = await joined(here, peer, version)
    content = {"algorithm": "m.megolm.v1.aes-sha2"}
    before = list(room.heads)
    late = room.make("m.room.encryption", content, "")
    early = redacting(room, late.event_id, prev=before)
    await room.send(name_of(here), early)
    await room.send(name_of(here), late)
    room.heads = [early.event_id, late.event_id]
    await heard(here, alice, room)
    assert await state(alice, room.room_id, "m.room.encryption") == content
    room.take(redacting(room, late.event_id))
    await room.send(name_of(here), room.events[room.heads[0]])
    await heard(here, alice, room)
    here.hansa.rooms.rooms.drop(RoomId(room.room_id))
    assert await state(alice, room.room_id, "m.room.encryption") == content
    found = (await alice.sync())["rooms"]["join"][room.room_id]
    events = [*found["state"]["events"], *found["timeline"]["events"]]
    assert [one["content"] for one in events if one["type"] == "m.room.encryption"] == [content]


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


# --- redactions


async def shown(alice: Client, room_id: str, event_id: str) -> bool:
    """Whether an event's words are there, the same on every way to them."""
    event = (await alice.get("/rooms/{}/event/{}", room_id, event_id)).ok()
    page = (await alice.get("/rooms/{}/messages", room_id, dir="b", limit="50")).ok()["chunk"]
    timeline = (await alice.sync())["rooms"]["join"][room_id]["timeline"]["events"]
    found = [event, *(one for one in (*page, *timeline) if one["event_id"] == event_id)]
    are_there = {"body" in one["content"] for one in found}
    assert len(are_there) == 1, found
    assert all(("redacted_because" in one.get("unsigned", {})) != ("body" in one["content"]) for one in found)
    return are_there.pop()


@pytest.mark.parametrize("version", ["1", "3", "10", "11", "12"])
async def test_who_redacts_what(here: RunningServer, peer: Peer, version: str) -> None:
    """T-C11, T-B5: who has the power, or a server what its own users said; never what somebody said elsewhere."""
    alice, room = await joined(here, peer, version)
    mallory = f"@mallory:{peer.name}"
    await room.send(name_of(here), room.add("m.room.member", {"membership": "join"}, mallory, sender=mallory))
    private = await alice.create_room(room_version=version)
    elsewhere = await alice.send(private, "elsewhere")
    mine, moderated = [await alice.send(room.room_id, words) for words in ("mine", "moderated")]
    await peer.until(lambda: {mine, moderated} <= {parse_pdu(room.version, pdu).event_id for pdu in peer.pdus})
    for pdu in peer.pdus:
        room.take(parse_pdu(room.version, pdu))
    theirs = room.text("theirs")
    await room.send(name_of(here), theirs)
    for sender, target in (
        (mallory, mine), (room.eve, moderated), (mallory, theirs.event_id), (room.eve, elsewhere), (mallory, elsewhere)
    ):  # fmt: skip
        redaction = redacting(room, target, sender=sender)
        if version != "1" or (sender, target) not in ((mallory, mine), (mallory, elsewhere)):
            room.take(redaction)  # else it is rejected: nothing goes on from it
        await room.send(name_of(here), redaction)
    await heard(here, alice, room)
    assert await shown(alice, room.room_id, mine)
    assert not await shown(alice, room.room_id, moderated)
    assert not await shown(alice, room.room_id, theirs.event_id)
    assert await shown(alice, private, elsewhere)


def redacting(room: PeerRoom, target: str, **made: Any) -> Event:
    """A redaction on top of the room, which doesn't go on from it."""
    if room.version.redacts_in_content:
        return room.make("m.room.redaction", {"redacts": target}, **made)
    return room.make("m.room.redaction", {}, redacts=target, **made)


@pytest.mark.parametrize("version", ["1", "10", "11"])
async def test_a_redaction_that_comes_before_its_target(
    here: RunningServer, peer: Peer, authority: Authority, version: str
) -> None:
    """T-C11, T-C13: it applies as soon as there is something that it may redact, and only then."""
    alice, room = await joined(here, peer, version)
    async with running_peer(authority) as other:
        mallory = f"@mallory:{other.name}"
        join = room.make("m.room.member", {"membership": "join"}, mallory, sender=mallory)
        room.take(resigned(join, other))
        await room.send(name_of(here), room.events[room.heads[0]])
        fork = list(room.heads)
        late = [room.make("m.room.message", {"body": body, "msgtype": "m.text"}) for body in ("withdrawn", "kept")]
        topic = room.make("m.room.topic", {"topic": "withdrawn"}, "")
        by_eve = [redacting(room, target.event_id, prev=fork) for target in (late[0], topic)]
        by_mallory = resigned(redacting(room, late[1].event_id, sender=mallory, prev=fork), other)
        await room.send(name_of(here), *by_eve, *([] if version == "1" else [by_mallory]))
        await room.send(name_of(here), *late, topic)
        room.heads = [event.event_id for event in (*by_eve, *late, topic)]
        await heard(here, alice, room)
        assert not await shown(alice, room.room_id, late[0].event_id)
        assert await shown(alice, room.room_id, late[1].event_id)
        assert await state(alice, room.room_id, "m.room.topic") == {}
        told = await peer.ask_json("GET", name_of(here), f"{V1}/event/{late[0].event_id}")
        assert "body" not in told["pdus"][0]["content"]


def resigned(event: Event, peer: Peer) -> Event:
    """The same event as another server makes it."""
    kept = {key: value for key, value in event.pdu.items() if key not in ("hashes", "signatures")}
    if "event_id" in kept:
        kept["event_id"] = f"$other{kept['origin_server_ts']}:{peer.name}"
    return sign_event(event.version, kept, peer.signer)


@pytest.mark.parametrize("version", ["1", "10", "11"])
async def test_redactions_of_what_was_said_before_we_came(here: RunningServer, peer: Peer, version: str) -> None:
    """T-C13: what is read back is redacted by what is read back with it, before it or after it, whoever tells it."""
    words: list[Event] = []

    def fill(room: PeerRoom) -> None:
        words.append(room.text("withdrawn"))
        words.append(room.text("kept"))
        room.take(redacting(room, words[0].event_id))

    alice, room = await joined(here, peer, version, filled=fill)
    said = sorted((event for event in room.events.values() if event.depth > 4), key=lambda event: -event.depth)
    told = [event.pdu for event in said if event.sender == room.eve]
    pages = [told[:1], told[1:]]

    def answer(sent: Any) -> dict[str, Any]:
        return {"origin": peer.name, "origin_server_ts": 1, "pdus": pages.pop(0) if pages else []}

    peer.answers[V1 + "/backfill"] = answer

    async def is_read_back() -> bool:
        found = await texts(alice, room.room_id)
        return "kept" in found and not pages

    await until(is_read_back)
    assert await texts(alice, room.room_id) == ["kept"]
    event = (await alice.get("/rooms/{}/event/{}", room.room_id, words[0].event_id)).ok()
    assert event["content"] == {} and "redacted_because" in event["unsigned"]
