"""Many branches of a room at once: what they cost is bounded, and what is decided on them is right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import pytest

from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.core.room import KNOT, Head
from homeserver.core.state_resolution import resolve
from homeserver.rooms.arrivals import WORK_EACH_TURN, Arrival, Fate
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.forks import Forks, Meetings
from homeserver.rooms.ties import HEADS_MAX
from homeserver.rooms.tips import Tip, cited_states, in_order
from tests.federation.test_hostile_peers import joined, name_of
from tests.kit.authority import Authority
from tests.kit.fork_flood import branches, changing_names, flood, heads_of, two_in_turn
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, PeerRoom
from tests.kit.server import RunningServer
from tests.kit.until import until


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


class Counted:
    """What was resolved: for each time, how many events had a say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[int] = []
        monkeypatch.setattr("homeserver.rooms.forks.resolve", self._counted)

    def _counted(self, *values: Any, **named: Any) -> Any:
        conflicted, difference = values[2], values[3]
        self.events.append(len({name for names in conflicted.values() for name in names} | difference))
        return resolve(*values, **named)


async def take(here: RunningServer, room: PeerRoom, events: list[Any]) -> list[Fate]:
    return await here.hansa.rooms.incoming.take(RoomId(room.room_id), [Arrival(event=event) for event in events])


async def test_a_batch_of_branches_is_resolved_once(
    here: RunningServer, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E10: not for each of its events, though each is one more branch."""
    _, room = await joined(here, peer)
    before = list(room.heads)
    branches = [room.make("x.state", {"n": number}, f"{number % 10}", prev=before) for number in range(45)]
    counted = Counted(monkeypatch)
    assert await take(here, room, branches) == [Fate.ACCEPTED] * 45
    assert 1 <= len([one for one in counted.events if one]) <= 2
    assert sum(counted.events) <= 100
    rooms = here.hansa.rooms.rooms
    known = await rooms.get(RoomId(room.room_id))
    assert known is not None
    now = {stored.event.key: stored.event for stored in await rooms.full_state(known)}
    for number in range(10):
        assert now["x.state", f"{number}"].content["n"] % 10 == number


async def test_loose_ends_are_tied_and_nobody_sees_it(here: RunningServer, peer: Peer) -> None:
    """T-E10: also where nobody says anything, the room soon has few ends again."""
    alice, room = await joined(here, peer)
    since = (await alice.sync())["next_batch"]
    before = list(room.heads)
    branches = [room.make("m.room.message", {"body": f"{number}"}, prev=before) for number in range(45)]
    await take(here, room, branches)

    async def is_tied() -> bool:
        known = await here.hansa.rooms.rooms.get(RoomId(room.room_id))
        return known is not None and len(known.head.heads) <= HEADS_MAX

    await until(is_tied, within_s=60)
    knots = await here.db.fetch("SELECT event_id, sender FROM events WHERE json LIKE $1", f"%{KNOT}%".encode())
    assert {row["sender"] for row in knots} == {alice.user_id}
    assert 0 < len(knots) <= 3
    told = await alice.sync(since=since)
    assert len(told["rooms"]["join"][room.room_id]["timeline"]["events"]) > 0
    assert KNOT not in str(told)
    shown = (await alice.get("/rooms/{}/messages", room.room_id, dir="b", limit="100")).ok()
    assert KNOT not in str(shown) and len(shown["chunk"]) >= 45
    for row in knots:
        assert (await alice.get("/rooms/{}/event/{}", room.room_id, row["event_id"])).status == 404


async def test_what_is_made_on_too_many_ends_is_made_on_what_it_cites(here: RunningServer, peer: Peer) -> None:
    """T-E10: of more states than an event may cite, those have a say that it cites, so others find the same; when all
    ends are tied, all have had it."""
    alice, room = await joined(here, peer)
    rooms = here.hansa.rooms
    before = list(room.heads)
    branches = [room.make("x.state", {"n": number}, f"{number}", prev=before) for number in range(65)]
    assert await take(here, room, branches) == [Fate.ACCEPTED] * 65
    known = await rooms.rooms.get(RoomId(room.room_id))
    assert known is not None and len(known.head.cited_heads) <= 20
    await alice.send(room.room_id, "between the ends")
    rooms.rooms.drop(RoomId(room.room_id))  # as a restart does

    async def is_tied() -> bool:
        now = await rooms.rooms.get(RoomId(room.room_id))
        return now is not None and len(now.head.heads) <= HEADS_MAX

    await until(is_tied, within_s=60)
    await alice.send(room.room_id, "after all")
    made = [
        stored
        for row in await here.db.fetch("SELECT event_id FROM events WHERE sender = $1", alice.user_id)
        if (stored := await rooms.store.by_id(row["event_id"])) is not None and len(stored.event.prev_event_ids) > 1
    ]
    assert sum(len(stored.event.prev_event_ids) > 15 for stored in made) >= 3
    for stored in made:
        beside = room.make("m.room.message", {"body": "beside"}, prev=list(stored.event.prev_event_ids))
        assert await take(here, room, [beside]) == [Fate.ACCEPTED]
        found = await rooms.store.by_id(beside.event_id)
        assert found is not None and found.state_nid is not None and stored.state_nid is not None
        maps = await rooms.rooms.maps([found.state_nid, stored.state_nid])
        assert dict(maps[found.state_nid]) == dict(maps[stored.state_nid])
    now = await rooms.rooms.get(RoomId(room.room_id))
    assert now is not None
    state = {stored.event.key for stored in await rooms.rooms.full_state(now)}
    assert state >= {("x.state", f"{number}") for number in range(65)}


async def test_ends_that_nobody_may_tie_are_bounded(
    here: RunningServer, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E10: where none of our users may send anything, the newest are kept, and those who run the server see it."""
    monkeypatch.setattr("homeserver.rooms.tips.KEPT_MAX", 60)
    alice, room = await joined(here, peer)
    quiet = room.add("m.room.power_levels", {"users": {room.eve: 100}, "events_default": 100}, "")
    assert await take(here, room, [quiet]) == [Fate.ACCEPTED]
    before, figure = list(room.heads), here.hansa.base.metrics.value
    branches = [room.make("x.state", {"n": number}, f"{number}", prev=before) for number in range(100)]
    for at in (0, 50):
        assert await take(here, room, branches[at : at + 50]) == [Fate.ACCEPTED] * 50
    known = await here.hansa.rooms.rooms.get(RoomId(room.room_id))
    assert known is not None
    assert [head.event_id for head in known.head.heads] == [event.event_id for event in branches[40:]]
    assert (figure("hansa_room_ends", figure="rooms"), figure("hansa_room_ends", figure="most")) == (1, 60)
    old = room.make("m.room.message", {"body": "on one that was let go"}, prev=[branches[0].event_id])
    knots = [
        room.make("m.room.message", {}, prev=[one.event_id for one in branches[at : at + 20]]) for at in (40, 60, 80)
    ]
    assert await take(here, room, [old, *knots]) == [Fate.ACCEPTED] * 4
    assert figure("hansa_room_ends", figure="rooms") == 0
    assert (await alice.get("/rooms/{}/state/x.state/99", room.room_id)).status == 200


async def test_each_end_that_is_not_here_is_asked_for(here: RunningServer, peer: Peer) -> None:
    """T-E10: an event on many ends of which nothing is here has the states of all of them before it."""
    alice, room = await joined(here, peer)
    known, before = [event.event_id for event in room.state.values()], list(room.heads)
    ends = {one.event_id: one for one in (room.make("x.state", {}, f"{number}", prev=before) for number in range(20))}
    peer.answers[V1 + "/get_missing_events"] = lambda sent: {"events": []}
    peer.answers[V1 + "/state_ids"] = lambda sent: {"pdu_ids": known, "auth_chain_ids": []}
    peer.answers[V1 + "/event/"] = lambda sent: {"pdus": [ends[EventId(unquote(peer.asked[-1][1])[-44:])].pdu]}
    last = room.make("m.room.message", {"msgtype": "m.text", "body": "on all"}, prev=list(ends))
    await room.send(name_of(here), last)

    async def is_here() -> bool:
        return (await alice.get("/rooms/{}/event/{}", room.room_id, last.event_id)).status == 200

    await until(is_here, within_s=60)
    for number in range(20):
        assert (await alice.get("/rooms/{}/state/x.state/{}", room.room_id, f"{number}")).ok() == {}


def test_whoever_makes_too_many_ends_crowds_out_its_own() -> None:
    """T-E10: of each server the newest end is cited before a second of any."""
    mine = [Tip(Head(EventId(f"$mine{n}")), n, 1, n, "mine.test") for n in range(3)]
    flood = [Tip(Head(EventId(f"$flood{n}")), n, 1, n, "flood.test") for n in range(10, 200)]
    cited = in_order([*mine, *flood])[-20:]
    assert {tip.nid for tip in cited} == {0, 1, 2, *range(183, 200)}
    assert len(cited_states([*mine, *flood])) == 20


async def test_a_ban_on_one_branch_counts_on_another_at_once(here: RunningServer, peer: Peer) -> None:
    """T-C19: within one batch too."""
    _, room = await joined(here, peer)
    mallory = f"@mallory:{peer.name}"
    room.add("m.room.member", {"membership": "join"}, mallory, sender=mallory)
    await take(here, room, [room.events[room.heads[0]]])
    before = list(room.heads)
    one = room.make("x.state", {}, "one", prev=before)
    other = room.make("x.state", {}, "other", prev=before)
    ban = room.make("m.room.member", {"membership": "ban"}, mallory, prev=[one.event_id])
    said = room.make("m.room.message", {"body": "still here"}, sender=mallory, prev=[other.event_id])
    fates = await take(here, room, [one, other, ban, said])
    assert fates == [Fate.ACCEPTED, Fate.ACCEPTED, Fate.ACCEPTED, Fate.SOFT_FAILED]
    assert await here.hansa.rooms.rooms.membership(RoomId(room.room_id), UserId(mallory)) == "ban"


async def test_who_comes_in_on_one_branch_speaks_there_at_once(here: RunningServer, peer: Peer) -> None:
    """What a batch has brought counts for the events after it."""
    _, room = await joined(here, peer)
    bob, before = f"@bob:{peer.name}", list(room.heads)
    one = room.make("x.state", {}, "one", prev=before)
    other = room.make("x.state", {}, "other", prev=before)
    join = room.make("m.room.member", {"membership": "join"}, bob, sender=bob, prev=[one.event_id])
    auth = [*room.make("m.room.message", {}, sender=bob).auth_event_ids, join.event_id]
    said = room.make("m.room.message", {"body": "hello"}, sender=bob, prev=[join.event_id], auth=auth)
    assert await take(here, room, [one, other, join, said]) == [Fate.ACCEPTED] * 4


async def test_a_fork_that_grows_is_not_resolved_anew(
    here: RunningServer, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E10: what is new has a say, not all that came since the branches parted; the state is that of all the same."""
    _, room = await joined(here, peer)
    made = two_in_turn(room, 400)
    counted = Counted(monkeypatch)
    for at in range(0, len(made), 50):
        assert await take(here, room, made[at : at + 50]) == [Fate.ACCEPTED] * 50
    assert max(counted.events) <= 120
    await _state_is_that_of_a_fresh_look(here, room)


@pytest.mark.slow
async def test_what_was_found_counts_only_while_what_decides_is_the_same(here: RunningServer, peer: Peer) -> None:
    """T-C19: whoever loses their power on one branch loses what they did on the other, also where it was found to
    stand before."""
    _, room = await joined(here, peer)
    mallory = f"@mallory:{peer.name}"
    room.add("m.room.member", {"membership": "join"}, mallory, sender=mallory)
    room.add("m.room.power_levels", {"users": {room.eve: 100, mallory: 50}}, "")
    await take(here, room, list(room.events.values())[-3:])
    before, ends = list(room.heads), [list(room.heads), list(room.heads)]
    for number in range(40):
        event = room.make("x.state", {"n": number}, f"{number}", sender=mallory, prev=ends[number % 2])
        ends[number % 2] = [event.event_id]
        assert await take(here, room, [event]) == [Fate.ACCEPTED]
    fall = room.make("m.room.power_levels", {"users": {room.eve: 100}}, "", prev=before)
    assert await take(here, room, [fall]) == [Fate.ACCEPTED]
    rooms = here.hansa.rooms.rooms
    known = await rooms.get(RoomId(room.room_id))
    assert known is not None
    assert not [one for one in await rooms.full_state(known) if one.event.type == "x.state"]
    await _state_is_that_of_a_fresh_look(here, room)


async def _state_is_that_of_a_fresh_look(here: RunningServer, room: PeerRoom) -> None:
    """Resolves what the forward extremities lead to with nothing remembered."""
    reads = here.hansa.rooms.incoming._parts.arrivals.reads
    known = await reads.rooms.get(RoomId(room.room_id))
    assert known is not None and len(known.head.heads) > 1
    heads = await reads.event_store.by_ids([head.event_id for head in known.head.heads])
    nids = {nid for stored in heads.values() if (nid := stored.state_after) is not None}
    lines = list((await reads.rooms.lines(nids)).values())
    fresh = Forks(EventStore(here.db), reads.numbers, reads.forks._graphs)
    state = (await reads.rooms.maps([known.line.nid]))[known.line.nid]
    resolved = await fresh.resolve(Meetings(known.nid, known.version), lines, known.line, state)
    base = (await reads.rooms.maps([resolved.base.nid]))[resolved.base.nid]
    whole = {**base, **resolved.changes}
    assert {key: nid for key, nid in whole.items() if nid} == dict(state.items())


async def test_a_turn_ends_after_much_work(here: RunningServer, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-E10: where each event of a batch costs a resolution, the others wait until somebody else had their turn."""
    monkeypatch.setattr("homeserver.rooms.arrivals.WORK_EACH_TURN", 100)
    _, room = await joined(here, peer)
    names = changing_names(room, 60)
    assert await take(here, room, names) == [Fate.ACCEPTED] * 60
    last = names[-2].event_id
    meetings = [room.make("x.state", {}, f"{at}", prev=[names[-1 - 2 * at].event_id, last]) for at in range(9)]
    fates = await take(here, room, meetings)
    done = fates.index(Fate.PUT_OFF)
    assert 1 <= done < 9
    assert fates[:done] == [Fate.ACCEPTED] * done and fates[done:] == [Fate.PUT_OFF] * (9 - done)
    assert WORK_EACH_TURN >= 1_000
    await room.send(here.hansa.config.server_name, *meetings)

    async def are_in() -> bool:
        ids = [event.event_id for event in meetings]
        count: int = await here.db.fetchval("SELECT count(*) FROM events WHERE event_id = ANY($1)", ids)
        return count == 9

    await until(are_in, within_s=60)


@pytest.mark.deep
@pytest.mark.parametrize(("flood_of", "count"), [(branches, 3_000), (two_in_turn, 4_000), (changing_names, 3_000)])
async def test_ten_thousand_events_of_forks(
    here: RunningServer, peer: Peer, monkeypatch: pytest.MonkeyPatch, flood_of: Any, count: int
) -> None:
    """T-E10: what each has a say in is bounded, our users talk on, no turn of the loop is long, few ends are left."""
    alice, room = await joined(here, peer)
    made = flood_of(room, count)
    counted = Counted(monkeypatch)
    seen = await flood(here, room, alice, made)
    # Once or twice a batch, not for each event; and nothing has a say twice in one resolution.
    assert len(counted.events) <= count // 5 and max(counted.events) <= 2 * count
    if flood_of is two_in_turn:
        assert sum(counted.events) <= 10 * count
    assert len(seen.sends_s) >= 3
    assert seen.stood_still_s < 0.3  # of processor time, which counts double where another shares the core
    assert await here.db.fetchval("SELECT count(*) FROM events WHERE sender = $1 AND depth >= 5", room.eve) >= count

    async def is_tied() -> bool:
        return (await heads_of(here, room)) <= HEADS_MAX

    await until(is_tied, within_s=120)
