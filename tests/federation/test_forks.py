"""Many branches of a room at once: what they cost is bounded, and what is decided on them is right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.core.identifiers import RoomId, UserId
from homeserver.core.room import KNOT
from homeserver.core.state_resolution import resolve
from homeserver.rooms.arrivals import Arrival, Fate
from homeserver.rooms.ties import HEADS_MAX
from tests.federation.test_hostile_peers import joined
from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import PeerRoom
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
