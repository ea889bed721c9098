"""What is kept and isn't the room's word: refused events, and state that is known without its place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, RoomId
from homeserver.rooms.arrivals import Arrival, Fate, Work
from homeserver.rooms.missing_past import INHERITED_MAX
from homeserver.runtime.clock import SystemClock
from tests.federation.test_hostile_peers import joined, name_of, texts
from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, PeerRoom
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


async def _take(here: RunningServer, room: PeerRoom, *arrivals: Arrival) -> list[Fate]:
    return await here.hansa.rooms.incoming.take(RoomId(room.room_id), arrivals)


async def _unwelcome(here: RunningServer, room: PeerRoom, event: Event) -> Arrival:
    """The event as it comes where what it follows isn't here, and something speaks against showing it."""
    known = await here.hansa.rooms.rooms.get(RoomId(room.room_id))
    assert known is not None
    whole = await here.hansa.rooms.rooms.state_map(known)
    return Arrival(event=event, states_before=[whole], unwelcome="not now")


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_is_missing_before_a_hidden_event_is_fetched(
    here: RunningServer, peer: Peer, *, at_once: bool
) -> None:
    """T-C18: a soft-failed event across a gap hides itself and not what others said before it: whoever reads back from
    what follows it comes to that, and a sync says that something lies between."""
    alice, room = await joined(here, peer)
    since = (await alice.sync())["next_batch"]
    unheard = room.text("unheard")
    peer.answers[V1 + "/backfill"] = lambda sent: {"pdus": [unheard.pdu]}
    hidden = await _unwelcome(here, room, room.text("hidden"))
    next_hidden = Arrival(event=room.text("hidden too"), unwelcome="nor this")
    heard = Arrival(event=room.text("heard"))
    if at_once:
        fates = await _take(here, room, hidden, next_hidden, heard)
    else:
        fates = [fate for one in (hidden, next_hidden, heard) for fate in await _take(here, room, one)]
    assert fates == [Fate.SOFT_FAILED, Fate.SOFT_FAILED, Fate.ACCEPTED]
    timeline = (await alice.sync(since=since))["rooms"]["join"][room.room_id]["timeline"]
    assert timeline["limited"]
    assert [event["content"]["body"] for event in timeline["events"]] == ["heard"]
    assert await texts(alice, room.room_id) == ["unheard", "heard"]
    assert (
        await here.db.fetch("SELECT missing_id FROM backward_extremities WHERE missing_id = $1", unheard.event_id) == []
    )


async def test_a_gap_that_nobody_fills_keeps_nothing_else_away(here: RunningServer, peer: Peer) -> None:
    """T-E7: who scrolls back comes to what was said before an older gap as well, whatever the last one lacks."""
    alice, room = await joined(here, peer)
    unheard = room.text("unheard")
    heard = await _across_a_gap(here, room, room.text("heard"))
    lost = room.text("lost")
    later = await _across_a_gap(here, room, room.text("later"))
    assert await _take(here, room, heard, later) == [Fate.ACCEPTED, Fate.ACCEPTED]
    asked: list[str] = []

    def answer(sent: Any) -> dict[str, Any]:
        asked.extend([sent["v"]] if isinstance(sent["v"], str) else sent["v"])
        return {"pdus": [unheard.pdu] if unheard.event_id in sent["v"] else []}

    peer.answers[V1 + "/backfill"] = answer
    assert await texts(alice, room.room_id) == ["unheard", "heard", "later"]
    assert lost.event_id in asked


async def _across_a_gap(here: RunningServer, room: PeerRoom, event: Event) -> Arrival:
    return replace(await _unwelcome(here, room, event), unwelcome=None)


async def test_hidden_events_pass_on_a_bounded_number_of_gaps(here: RunningServer, peer: Peer) -> None:
    """T-C18: a chain of refused events that each cite what nobody has doesn't have more and more with each."""
    _, room = await joined(here, peer)
    for number in range(3):
        prevs = [*room.heads, *(EventId("$" + f"{number}{letter}" * 21 + "x") for letter in "abcdefghijklmnop")]
        assert await _take(here, room, await _unwelcome(here, room, room.text("hidden", prev=prevs))) == [
            Fate.SOFT_FAILED
        ]
    heard = room.text("heard")
    assert await _take(here, room, Arrival(event=heard)) == [Fate.ACCEPTED]
    shown = await here.hansa.rooms.store.by_id(heard.event_id)
    assert shown is not None
    gaps = await here.db.fetch("SELECT missing_id FROM backward_extremities WHERE event_nid = $1", shown.nid)
    assert len(gaps) == INHERITED_MAX


async def test_state_that_was_cited_first_is_gone_on_from(here: RunningServer, peer: Peer) -> None:
    """T-C18: what was kept beside the timeline, and found its place there when somebody read back, may be followed by
    more: the state after it is known."""
    alice, room = await joined(here, peer)
    incoming, room_id = here.hansa.rooms.incoming, RoomId(room.room_id)
    topic = room.add("m.room.topic", {"topic": "kept"}, "")
    await incoming.keep(room_id, [topic])
    known = await here.hansa.rooms.rooms.get(room_id)
    assert known is not None
    whole = await here.hansa.rooms.rooms.state_map(known)
    late = room.text("late")
    assert await _take(here, room, Arrival(event=late, states_before=[whole])) == [Fate.ACCEPTED]
    assert await incoming.extend_back(room_id, late.event_id, [topic]) == 1
    for again in range(2):
        fork = room.text(f"fork {again}", prev=[topic.event_id])
        assert await _take(here, room, Arrival(event=fork)) == [Fate.ACCEPTED]
    assert await texts(alice, room.room_id) == ["late", "fork 0", "fork 1"]


async def test_what_came_of_a_meeting_is_forgotten_where_it_is_not_written(
    here: RunningServer, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-O7: a batch that fails after states met leaves no number of a state that is nowhere."""
    _, room = await joined(here, peer)
    [head] = room.heads
    forks = [room.make(kind, {}, "", prev=[head]) for kind in ("m.one", "m.two", "m.three")]
    assert set(await _take(here, room, *(Arrival(event=fork) for fork in forks))) <= {Fate.ACCEPTED, Fate.SOFT_FAILED}
    met = [fork.event_id for fork in forks[:2]]

    async def fails(work: Work) -> None:
        raise RuntimeError("full")

    with monkeypatch.context() as patched:
        patched.setattr(Work, "built", fails)
        with pytest.raises(RuntimeError, match="full"):
            await _take(here, room, Arrival(event=room.make("m.x", {}, prev=met)))
    after = room.make("m.x", {"again": 1}, prev=met)
    await _take(here, room, Arrival(event=after))
    stored = await here.hansa.rooms.store.by_id(after.event_id)
    assert stored is not None and stored.state_nid is not None
    assert await here.hansa.rooms.rooms.lines([stored.state_nid])
