"""State resolution by itself: known rooms, what it asks for, and what must hold whatever comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import ROOM_VERSIONS, V1, V2, V6, V11, V12, RoomVersion, StateResolution
from homeserver.core.state_resolution import (
    ChainCover,
    MissingEvents,
    auth_difference,
    conflicted_subgraph,
    resolve,
    resolve_states,
    split,
    wanted_unconflicted_keys,
)
from tests.kit.dag import ALICE, BOB, CAROL, DAVE, EVE, RandomRoom
from tests.kit.scene import Scene

State = dict[StateKey, EventId]
MODERN = [version for version in ROOM_VERSIONS.values() if version is not V1]
EVERY_VERSION = pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: f"v{version.id}")
EVERY_MODERN = pytest.mark.parametrize("version", MODERN, ids=lambda version: f"v{version.id}")
POWER: StateKey = ("m.room.power_levels", "")
TOPIC: StateKey = ("m.room.topic", "")
EVES: StateKey = ("m.room.member", EVE)


class Branching:
    """A room whose branches are written out by hand. Everybody is in it; Bob and Carol moderate."""

    def __init__(self, version: RoomVersion) -> None:
        self.version = version
        self.scene = Scene(version)
        self.events: dict[EventId, Event] = {}
        self._ts = 10
        base: State = {}
        self.create = self.scene.create
        self.events[self.create.event_id] = self.create
        base[self.create.key] = self.create.event_id
        base = self.after(base, "m.room.member", ALICE, {"membership": "join"}, ALICE)
        base = self.after(base, "m.room.power_levels", ALICE, self.powers({BOB: 50, CAROL: 50}), "")
        base = self.after(base, "m.room.join_rules", ALICE, {"join_rule": "public"}, "")
        for user in (BOB, CAROL, EVE):
            base = self.after(base, "m.room.member", user, {"membership": "join"}, user)
        self.base = base

    def powers(self, users: Mapping[str, int], **more: Any) -> dict[str, Any]:
        return self.scene.with_alice({"users": dict(users), **more})

    def after(self, state: State, type: str, sender: str, content: Mapping[str, Any], key: str, ts: int = 0) -> State:
        """The state with one more event, which cites what that state says."""
        self._ts += 1
        keys = [self.create.key, POWER, ("m.room.member", sender), ("m.room.join_rules", "")]
        keys = keys[:3] if type != "m.room.member" else [*keys, ("m.room.member", key)]
        if self.version.room_id_from_create_event:
            keys = keys[1:]
        auth = [state[one] for one in dict.fromkeys(keys) if one in state]
        event = self.scene.event(type, sender, content, key, auth=auth, ts=ts or self._ts, depth=self._ts)
        self.events[event.event_id] = event
        return {**state, event.key: event.event_id}

    def merged(self, *states: State, rejected: frozenset[EventId] = frozenset()) -> State:
        return resolve_states(self.version, states, self.events, rejected=rejected)


@EVERY_MODERN
def test_a_ban_goes_before_what_the_banned_did_meanwhile(version: RoomVersion) -> None:
    """T-C19. spec: server-server-api/#soft-failure (its example)."""
    room = Branching(version)
    powered = room.after(room.base, "m.room.power_levels", ALICE, room.powers({BOB: 50, EVE: 50}), "")
    banned = room.after(powered, "m.room.member", ALICE, {"membership": "ban"}, EVE)
    evading = room.after(powered, "m.room.topic", EVE, {"topic": "mine"}, "", ts=1)
    assert room.merged(banned, evading) == banned


def test_version_1_lets_the_banned_keep_what_they_did() -> None:
    """The flaw that version 2 mends. spec: rooms/v1/#state-resolution"""
    room = Branching(V1)
    powered = room.after(room.base, "m.room.power_levels", ALICE, room.powers({BOB: 50, EVE: 50}), "")
    banned = room.after(powered, "m.room.member", ALICE, {"membership": "ban"}, EVE)
    evading = room.after(powered, "m.room.topic", EVE, {"topic": "mine"}, "")
    assert room.merged(banned, evading)[TOPIC] == evading[TOPIC]
    assert room.merged(banned, evading)[EVES] == banned[EVES]


@EVERY_MODERN
def test_the_greater_power_wins_a_power_fight(version: RoomVersion) -> None:
    """Bob demotes Carol while Alice demotes Bob: Alice's goes first, and Bob's is no longer allowed."""
    room = Branching(version)
    by_alice = room.after(room.base, "m.room.power_levels", ALICE, room.powers({CAROL: 50}), "", ts=500)
    by_bob = room.after(room.base, "m.room.power_levels", BOB, room.powers({BOB: 50, CAROL: 50}, ban=40), "", ts=1)
    assert room.merged(by_alice, by_bob)[POWER] == by_alice[POWER]


@EVERY_MODERN
def test_of_equal_topics_the_later_stays(version: RoomVersion) -> None:
    room = Branching(version)
    early = room.after(room.base, "m.room.topic", BOB, {"topic": "1"}, "", ts=100)
    late = room.after(room.base, "m.room.topic", CAROL, {"topic": "2"}, "", ts=200)
    assert room.merged(early, late) == room.merged(late, early) == late


@EVERY_MODERN
def test_the_mainline_goes_before_the_clock(version: RoomVersion) -> None:
    """A topic that cites older power levels loses, whatever time it claims."""
    room = Branching(version)
    stale = room.after(room.base, "m.room.topic", BOB, {"topic": "stale"}, "", ts=10_000)
    changed = room.after(room.base, "m.room.power_levels", ALICE, room.powers({BOB: 50, CAROL: 50}, kick=40), "")
    fresh = room.after(changed, "m.room.topic", CAROL, {"topic": "fresh"}, "", ts=5)
    assert room.merged(stale, fresh)[TOPIC] == fresh[TOPIC]


@EVERY_MODERN
def test_rejected_events_never_enter_state(version: RoomVersion) -> None:
    """T-C5: neither as candidates nor as what authorises others."""
    room = Branching(version)
    one = room.after(room.base, "m.room.topic", BOB, {"topic": "1"}, "", ts=100)
    other = room.after(room.base, "m.room.topic", CAROL, {"topic": "2"}, "", ts=200)
    assert room.merged(one, other, rejected=frozenset({other[TOPIC]}))[TOPIC] == one[TOPIC]
    assert TOPIC not in room.merged(one, other, rejected=frozenset({one[TOPIC], other[TOPIC]}))


@EVERY_VERSION
def test_only_version_1_takes_absence_for_no_conflict(version: RoomVersion) -> None:
    """T-C3: which algorithm is a matter of the version alone."""
    key = ("m.room.topic", "")
    _same, conflicted = split(version, [{key: EventId("$a")}, {}])
    assert (key in conflicted) is (version is not V1)


def test_algorithms_by_version() -> None:
    """T-C1, T-C3."""
    found = {version.id: version.state_resolution for version in ROOM_VERSIONS.values()}
    assert found.pop("1") is StateResolution.V1
    assert found.pop("12") is StateResolution.V2_1
    assert set(found.values()) == {StateResolution.V2}


@EVERY_MODERN
def test_version_12_replays_what_lies_between_conflicted_events(version: RoomVersion) -> None:
    """T-C1: a forged fork resets a room of version 2's resolution, not one of version 2.1's.

    One state is as a lying server would give it: Eve's membership from before she was invited back into the closed
    room. Only the invite explains how she came to be in it, which no state has any more, but both have in their chains,
    by what Eve did since.
    """
    room = Branching(version)
    out = room.after(room.base, "m.room.member", EVE, {"membership": "leave"}, EVE)
    closed = room.after(out, "m.room.join_rules", ALICE, {"join_rule": "invite"}, "")
    invited = room.after(closed, "m.room.member", BOB, {"membership": "invite"}, EVE)
    back = room.after(invited, "m.room.member", EVE, {"membership": "join"}, EVE)
    honest = room.after(back, "m.room.member", EVE, {"membership": "invite"}, DAVE)
    forged: State = {**honest, EVES: out[EVES]}
    subgraph = conflicted_subgraph({out[EVES], back[EVES]}, lambda name: room.events[name].auth_event_ids)
    assert {out[EVES], invited[EVES], back[EVES]} <= subgraph
    is_reset = version.state_resolution is StateResolution.V2
    assert room.merged(forged, honest)[EVES] == (out if is_reset else back)[EVES]


@pytest.mark.slow
@EVERY_MODERN
def test_long_chains_are_walked_without_recursion(version: RoomVersion) -> None:
    """Thousands of power level events, each citing the one before."""
    room = Branching(version)
    state = room.base
    for number in range(3_000):
        powers = room.powers({BOB: 50, CAROL: 50}, kick=number % 50)
        state = room.after(state, "m.room.power_levels", ALICE, powers, "")
    one = room.after(state, "m.room.topic", BOB, {"topic": "1"}, "", ts=100)
    assert room.merged(one, room.base) == one
    assert room.merged(room.base, one) == one


def test_circles_of_citations_end() -> None:
    """T-C28: where a sender chooses event ids, events may cite one another. Nothing loops, nothing is let in twice."""
    room = Branching(V2)
    event_ids = [EventId("$one:a.example"), EventId("$two:a.example")]
    for own, other in (event_ids, reversed(event_ids)):
        auth = [room.create.event_id, room.base[("m.room.member", ALICE)], other]
        powers = room.powers({BOB: 50})
        event = room.scene.event("m.room.power_levels", ALICE, powers, "", auth=auth, event_id=own, ts=len(auth))
        room.events[own] = event
    topic = room.after({**room.base, POWER: event_ids[0]}, "m.room.topic", ALICE, {}, "")
    states: list[State] = [room.base, topic, {**room.base, POWER: event_ids[1]}]
    assert room.merged(*states) == room.merged(*reversed(states))


def test_unknown_events_are_asked_for() -> None:
    room = Branching(V11)
    one = room.after(room.base, "m.room.topic", BOB, {"topic": "1"}, "")
    other = room.after(room.base, "m.room.topic", CAROL, {"topic": "2"}, "")
    unconflicted, conflicted = split(V11, [one, other])
    with pytest.raises(MissingEvents) as missing:
        resolve(V11, unconflicted, conflicted, set(), {})
    assert missing.value.ids == {one[TOPIC], other[TOPIC]}


@pytest.mark.slow
@pytest.mark.parametrize("version", [V1, V2, V6, V12], ids=lambda version: f"v{version.id}")
@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_loading_only_what_is_asked_for_gives_the_same(version: RoomVersion, seed: int) -> None:
    """As production does it: unconflicted keys as named, events as they are missed, in few rounds."""
    room = RandomRoom(version, seed).grow(40)

    def auth_of(event_id: EventId) -> Sequence[EventId]:
        return room.events[event_id].auth_event_ids

    for fork in room.forks:
        unconflicted, conflicted = split(version, fork)
        sets = [{state[key] for key in conflicted if key in state} for state in fork]
        difference: set[EventId] = set()
        if version is not V1:
            difference = auth_difference(sets, auth_of, shared=unconflicted.values())
        if version.state_resolution is StateResolution.V2_1:
            difference |= conflicted_subgraph(set().union(*sets), auth_of)
        contended = set().union(*sets) | difference
        keys = wanted_unconflicted_keys(version, [room.events[event_id] for event_id in contended])
        wanted = {key: event_id for key, event_id in unconflicted.items() if key in keys}
        loaded: dict[EventId, Event] = {}
        for _round in range(20):
            try:
                resolved = resolve(version, wanted, conflicted, difference, loaded, rejected=room.rejected)
            except MissingEvents as missing:
                assert not missing.ids & set(loaded)
                loaded |= {EventId(name): room.events[EventId(name)] for name in missing.ids}
            else:
                whole = resolve_states(version, fork, room.events, rejected=room.rejected)
                assert {**resolved, **unconflicted} == whole
                break
        else:
            pytest.fail("twenty rounds of loading")


@pytest.mark.slow
@EVERY_VERSION
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), order=st.randoms(use_true_random=False))
def test_the_order_of_the_states_does_not_matter(version: RoomVersion, seed: int, order: Any) -> None:
    """T-C8."""
    room = RandomRoom(version, seed).grow(40)
    for fork in room.forks:
        shuffled = [dict(order.sample(sorted(state.items()), len(state))) for state in fork]
        order.shuffle(shuffled)
        merged = resolve_states(version, fork, room.events, rejected=room.rejected)
        assert resolve_states(version, [*shuffled, shuffled[0]], room.events, rejected=room.rejected) == merged
        assert resolve_states(version, [merged, merged], room.events, rejected=room.rejected) == merged


@pytest.mark.slow
@settings(max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_sets_equal_their_definitions(seed: int) -> None:
    """spec: rooms/v12/#definitions, each by the letter, a state's own events counted as part of its chain."""
    room = RandomRoom(V12, seed).grow(30)

    def auth_of(event_id: EventId) -> Sequence[EventId]:
        return room.events[event_id].auth_event_ids

    cover = ChainCover()
    chain: dict[EventId, set[EventId]] = {}
    for event_id in room.events:
        cover.add(event_id, auth_of(event_id))
        chain[event_id] = {event_id}.union(*(chain[auth_id] for auth_id in auth_of(event_id)))
    for fork in room.forks:
        unconflicted, conflicted = split(V12, fork)
        full = [set().union(*(chain[event_id] for event_id in state.values())) for state in fork]
        sets = [{state[key] for key in conflicted if key in state} for state in fork]
        expected = set().union(*full) - full[0].intersection(*full)
        assert auth_difference(sets, auth_of, shared=unconflicted.values()) == expected
        shared = set(unconflicted.values())
        assert cover.difference_of_states(sets, shared.__contains__) == expected
        ends = set().union(*sets)
        between = {event_id for event_id in room.events if chain[event_id] & ends}
        behind = set().union(*(chain[event_id] for event_id in ends))
        assert conflicted_subgraph(ends, auth_of) == between & behind
