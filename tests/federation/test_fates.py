"""Events of other servers that are refused, or come with a false past: what they may change, and what not."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from immutables import Map

from federation.room_told import STRIPPED_BYTES_MAX, STRIPPED_MAX, shown_state
from homeserver.core.auth_rules import auth_keys
from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, RoomId
from homeserver.rooms.arrivals import Arrival, Fate
from homeserver.rooms.residents import Room
from homeserver.runtime.logging import configure_logging
from tests.kit.dag import make_event
from tests.kit.server import Client, RunningServer

EVE = "@eve:away.test"


class Stage:
    """A room of ours, and events of somebody on another server."""

    def __init__(self, server: RunningServer, alice: Client, room_id: RoomId) -> None:
        self.server = server
        self.alice = alice
        self.room_id = room_id
        self._ts = 1

    async def room(self) -> Room:
        room = await self.server.hansa.rooms.rooms.get(self.room_id)
        assert room is not None
        return room

    async def event(self, type: str, content: dict[str, Any], key: str | None, prev: list[str]) -> Event:
        """An event of Eve's after these, resting on the state as it is now."""
        room = await self.room()
        keys = auth_keys(room.version, type=type, sender=EVE, state_key=key, content=content)
        room = await self.server.hansa.rooms.rooms.with_known(room, keys)
        known = [event for name in keys if (event := room.head.known.get(name)) is not None]
        self._ts += 1
        return make_event(
            room.version,
            type=type,
            sender=EVE,
            content=content,
            state_key=key,
            room_id=self.room_id,
            prev=prev,
            auth=[event.event_id for event in known],
            depth=room.head.depth + 1,
            ts=self._ts,
        )

    async def take(self, event: Event, **given: Any) -> Fate:
        return (await self.server.hansa.rooms.incoming.take(self.room_id, [Arrival(event=event, **given)]))[0]

    async def heads(self) -> list[EventId]:
        return [head.event_id for head in (await self.room()).head.heads]

    async def texts(self) -> list[str]:
        page = (await self.alice.get("/rooms/{}/messages", self.room_id, dir="b", limit="50")).ok()
        return [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]


@pytest.fixture
async def stage(here: RunningServer) -> Stage:
    alice = await here.user("alice")
    room_id = await alice.create_room(preset="public_chat", room_version="11", name="Town")
    stage = Stage(here, alice, RoomId(room_id))
    join = await stage.event("m.room.member", {"membership": "join"}, EVE, list(await stage.heads()))
    assert await stage.take(join) is Fate.ACCEPTED
    return stage


def text(body: str) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body}


async def test_a_soft_failed_event_waits_to_be_cited(stage: Stage) -> None:
    """T-C18: not shown and no extremity; what cites it later is judged as ever."""
    before = await stage.heads()
    late = await stage.event("m.room.message", text("late"), None, list(before))
    (await stage.alice.post("/rooms/{}/kick", stage.room_id, body={"user_id": EVE})).ok()
    after = await stage.heads()
    assert await stage.take(late) is Fate.SOFT_FAILED
    assert await stage.heads() == after and await stage.texts() == []
    (await stage.alice.put("/rooms/{}/state/m.room.topic", stage.room_id, body={"topic": "open"})).ok()
    again = await stage.event("m.room.member", {"membership": "join"}, EVE, [*await stage.heads(), late.event_id])
    assert await stage.take(again) is Fate.ACCEPTED
    assert await stage.heads() == [again.event_id]
    assert await stage.texts() == []
    assert (await stage.room()).membership(EVE) == "join"  # type: ignore[arg-type]


async def test_nothing_rests_on_a_rejected_event(stage: Stage) -> None:
    """T-C17: rejected is kept as such; what names it as its authorisation is rejected as well."""
    levels = await stage.event("m.room.power_levels", {"users": {EVE: 100}}, "", list(await stage.heads()))
    assert await stage.take(levels) is Fate.REJECTED
    room = await stage.room()
    topic = await stage.event("m.room.topic", {"topic": "mine"}, "", list(await stage.heads()))
    cited = list(topic.auth_event_ids)
    power = room.known_state("m.room.power_levels")
    assert power is not None
    forged = make_event(
        room.version, type="m.room.topic", sender=EVE, content={"topic": "mine"}, state_key="", room_id=stage.room_id,
        prev=list(await stage.heads()), auth=[*(n for n in cited if n != power.event_id), levels.event_id],
    )  # fmt: skip
    assert await stage.take(forged) is Fate.REJECTED
    assert (await stage.alice.get("/rooms/{}/state/m.room.topic", stage.room_id)).status == 404
    child = await stage.event("m.room.message", text("after it"), None, [levels.event_id])
    assert await stage.take(child) is Fate.ACCEPTED
    assert await stage.texts() == ["after it"]


async def test_what_rests_on_the_unknown_is_unknown_itself(stage: Stage) -> None:
    """T-C7: who withholds what an event cites has it neither kept nor rejected: it is taken in once all is there."""
    incoming, store = stage.server.hansa.rooms.incoming, stage.server.hansa.rooms.store
    first = await stage.event(
        "m.room.member", {"membership": "join", "displayname": "Eve"}, EVE, list(await stage.heads())
    )
    plain = await stage.event("m.room.member", {"membership": "join", "displayname": "E"}, EVE, [first.event_id])
    old = await stage.server.hansa.rooms.rooms.state_event(stage.room_id, "m.room.member", EVE)
    assert old is not None
    cited = [first.event_id if name == old.event_id else name for name in plain.auth_event_ids]
    second = make_event(
        plain.version, type=plain.type, sender=EVE, content=plain.content, state_key=EVE, room_id=stage.room_id,
        prev=[first.event_id], auth=cited, depth=plain.depth, ts=plain.origin_server_ts,
    )  # fmt: skip
    assert await incoming.keep(stage.room_id, [second]) == 1
    assert await store.by_id(second.event_id) is None
    assert await stage.take(second) is Fate.UNCONNECTED
    assert await store.by_id(second.event_id) is None
    assert await incoming.keep(stage.room_id, [second, first]) == 0
    assert await stage.take(first) is Fate.ACCEPTED
    assert await stage.take(second) is Fate.ACCEPTED
    assert await stage.heads() == [second.event_id]


async def test_reading_back_goes_past_what_rests_on_the_unknown(stage: Stage) -> None:
    """T-C7: an event that cites what nobody has ends no reading, and is neither kept nor missing afterwards."""
    incoming = stage.server.hansa.rooms.incoming
    before = await stage.event("m.room.message", text("before"), None, list(await stage.heads()))
    whole = await stage.event("m.room.message", text("nowhere"), None, [before.event_id])
    lost = make_event(
        whole.version, type=whole.type, sender=EVE, content=whole.content, room_id=stage.room_id,
        prev=[before.event_id], auth=[*whole.auth_event_ids, "$" + "u" * 43], depth=whole.depth, ts=2,
    )  # fmt: skip
    after = await stage.event("m.room.message", text("after"), None, [lost.event_id])
    told = await stage.server.hansa.rooms.rooms.state_map(await stage.room())
    assert await stage.take(after, states_before=[told]) is Fate.ACCEPTED
    assert await incoming.extend_back(stage.room_id, after.event_id, [lost]) == 1
    gaps = await stage.server.db.fetch("SELECT missing_id FROM backward_extremities")
    assert [row["missing_id"] for row in gaps] == [before.event_id]
    assert await incoming.extend_back(stage.room_id, after.event_id, [lost]) == 0
    assert await incoming.extend_back(stage.room_id, after.event_id, [before, lost]) == 1
    assert await stage.server.hansa.rooms.store.by_id(lost.event_id) is None
    assert await stage.server.db.fetch("SELECT missing_id FROM backward_extremities") == []
    assert sorted(await stage.texts()) == ["after", "before"]


async def test_a_false_state_at_a_gap_takes_nothing_away(stage: Stage) -> None:
    """T-C7: what another server says of the state before its event never replaces what we know."""
    room = await stage.room()
    hansa = stage.server.hansa.rooms
    numbers = await hansa.numbers.find([("m.room.create", ""), ("m.room.member", EVE)])
    state = await hansa.rooms.state_map(room)
    small = Map({number: state[number] for number in numbers.values()})
    gap = await stage.event("m.room.message", text("from nowhere"), None, ["$" + "x" * 43])
    assert await stage.take(gap, states_before=[small]) in (Fate.ACCEPTED, Fate.REJECTED, Fate.SOFT_FAILED)
    assert (await stage.alice.get("/rooms/{}/state/m.room.name", stage.room_id)).ok()["name"] == "Town"
    members = (await stage.alice.get("/rooms/{}/joined_members", stage.room_id)).ok()["joined"]
    assert set(members) == {stage.alice.user_id, EVE}
    await stage.alice.send(stage.room_id, "still here")
    assert "still here" in await stage.texts()


async def test_power_levels_that_are_lost_are_told_of(stage: Stage) -> None:
    """T-C30: a state without them, from across a gap, while who set them has left: they are gone here as on every other
    server, nothing is mended, and the operator hears of it."""
    bob = await stage.server.user("bob")
    await bob.join(stage.room_id)
    (await stage.alice.post("/rooms/{}/leave", stage.room_id)).ok()
    room, hansa = await stage.room(), stage.server.hansa
    levels = (await hansa.rooms.numbers.find([("m.room.power_levels", "")])).popitem()[1]
    without = (await hansa.rooms.rooms.state_map(room)).delete(levels)
    metric = "hansa_power_levels_lost_total"
    assert hansa.metrics.value(metric) == 0
    lines = io.StringIO()
    configure_logging(format="json", level="info", value_chars_max=2000, stream=lines)
    gap = await stage.event("m.room.message", text("from nowhere"), None, ["$" + "x" * 43])
    assert await stage.take(gap, states_before=[without]) is Fate.ACCEPTED
    assert (await bob.get("/rooms/{}/state/m.room.power_levels", stage.room_id)).status == 404
    assert hansa.metrics.value(metric) == 1
    (said,) = [line for line in map(json.loads, lines.getvalue().splitlines()) if line["event"] == "power_levels_lost"]
    assert (said["level"], said["room_id"], said["room_version"]) == ("warning", stage.room_id, "11")
    await bob.send(stage.room_id, "still here")
    assert hansa.metrics.value(metric) == 1


async def test_an_event_across_many_gaps_takes_no_numbers_of_others(stage: Stage) -> None:
    """T-C7: each state that is told of is kept under a number of its own, whatever is written next."""
    alice, hansa = stage.alice, stage.server.hansa.rooms
    keys = [(f"test.{number}", "") for number in range(5)]
    for kind, _ in keys:
        (await alice.put("/rooms/{}/state/{}", stage.room_id, kind, body={"set": True})).ok()
    whole = await hansa.rooms.state_map(await stage.room())
    told = [whole.delete(number) for number in (await hansa.numbers.find(keys)).values()]
    prevs = ["$" + letter * 43 for letter in "vwxyz"]
    gap = await stage.event("m.room.message", text("from nowhere"), None, prevs)
    last = hansa.journal.visible
    assert await stage.take(gap, states_before=told) is Fate.ACCEPTED
    taken = await stage.server.db.fetch("SELECT max(state_nid) AS most FROM states WHERE state_nid > $1", last)
    assert last < taken[0]["most"] <= hansa.journal.visible
    other = await alice.create_room(preset="public_chat", name="Next door")
    for room_id in (other, stage.room_id):
        (await alice.put("/rooms/{}/state/m.room.topic", room_id, body={"topic": "new"})).ok()
        assert (await alice.get("/rooms/{}/state/m.room.topic", room_id)).ok()["topic"] == "new"


async def test_what_lies_before_a_state_that_was_told_is_still_to_be_fetched(stage: Stage) -> None:
    """An event that is here as part of a state alone has a past that isn't: reading back has to go through it."""
    hansa = stage.server.hansa.rooms
    before = await stage.event("m.room.message", text("unheard"), None, list(await stage.heads()))
    member = {"membership": "join", "displayname": "Eve"}
    named = await stage.event("m.room.member", member, EVE, [before.event_id])
    await hansa.incoming.keep(stage.room_id, [named])
    whole = await hansa.rooms.state_map(await stage.room())
    after = await stage.event("m.room.message", text("heard"), None, [named.event_id])
    assert await stage.take(after, states_before=[whole]) is Fate.ACCEPTED
    gaps = await stage.server.db.fetch("SELECT missing_id FROM backward_extremities")
    assert [row["missing_id"] for row in gaps] == [named.event_id]
    assert await hansa.incoming.extend_back(stage.room_id, after.event_id, [before, named]) == 2
    assert sorted(await stage.texts()) == ["heard", "unheard"]
    assert await stage.server.db.fetch("SELECT missing_id FROM backward_extremities") == []


async def test_who_was_away_sees_what_a_neighbour_had_fetched(stage: Stage) -> None:
    """A gap that somebody's reading has filled is no gap for others: their next sync has its events, in order."""
    alice = stage.alice
    since = (await alice.sync())["next_batch"]
    hansa = stage.server.hansa.rooms
    before = await stage.event("m.room.message", text("unheard"), None, list(await stage.heads()))
    after = await stage.event("m.room.message", text("heard"), None, [before.event_id])
    whole = await hansa.rooms.state_map(await stage.room())
    assert await stage.take(after, states_before=[whole]) is Fate.ACCEPTED
    assert await hansa.incoming.extend_back(stage.room_id, after.event_id, [before]) == 1
    timeline = (await alice.sync(since=since))["rooms"]["join"][stage.room_id]["timeline"]
    assert [event["content"]["body"] for event in timeline["events"]] == ["unheard", "heard"]


@pytest.mark.parametrize("content", [{}, {"x": "y" * 60_000}])
def test_what_is_told_of_a_room_is_bounded(content: dict[str, Any]) -> None:
    """T-B8: in number and in bytes."""
    told = [{"type": "m.room.name", "state_key": str(n), "sender": EVE, "content": content} for n in range(1_000)]
    shown = shown_state([None, *told, 5])
    assert 0 < len(shown) <= STRIPPED_MAX
    assert sum(len(str(event)) for event in shown) < STRIPPED_BYTES_MAX + 10_000
