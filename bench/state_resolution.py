"""What resolving a fork costs, as the room behind it grows: as a whole, and as production does it.

A room of n members forks into two branches of ten state events each (topics, bans, power levels, joins). "in parts" is
`resolve` with what `wanted_unconflicted_keys` names and a chain cover for the auth difference; the rest of the state
has no part in it.
"""

from __future__ import annotations

from bench.harness import measure, report
from homeserver.core.auth_rules import auth_keys
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import V6, V12, RoomVersion, StateResolution
from homeserver.core.state_resolution import (
    ChainCover,
    conflicted_subgraph,
    resolve,
    resolve_states,
    wanted_unconflicted_keys,
)
from tests.kit.dag import ALICE, BOB
from tests.kit.scene import Scene

State = dict[StateKey, EventId]
SIZES = (1_000, 10_000, 100_000)
BRANCH = 10


class Fork:
    """A room with this many members, and two states that grew apart."""

    def __init__(self, version: RoomVersion, members: int) -> None:
        self.version = version
        self.scene = Scene(version)
        self.cover = ChainCover()
        self.events: dict[EventId, Event] = {}
        self._ts = 0
        state = self._with({}, self.scene.create)
        state = self._add(state, "m.room.member", ALICE, {"membership": "join"}, ALICE)
        state = self._add(state, "m.room.power_levels", ALICE, self.scene.with_alice({"users": {BOB: 50}}), "")
        state = self._add(state, "m.room.join_rules", ALICE, {"join_rule": "public"}, "")
        for user in (BOB, *(f"@user{number}:a.example" for number in range(members))):
            state = self._add(state, "m.room.member", user, {"membership": "join"}, user)
        self.base = state
        self.branches = [self._branch(dict(state), 0), self._branch(dict(state), 1)]

        # What a store of deltas knows without looking: the keys that either branch set.
        self.changed = {key for one in self.branches for key in one if self.base.get(key) != one[key]}

    def _branch(self, state: State, side: int) -> State:
        for number in range(BRANCH):
            kind = number % 5
            user = f"@user{number * 2 + side}:a.example"
            if kind == 0:
                powers = self.scene.with_alice({"users": {BOB: 50}, "kick": 40 + number, "ban": 45 + side})
                state = self._add(state, "m.room.power_levels", ALICE, powers, "")
            elif kind in (1, 2):
                state = self._add(state, "m.room.topic", BOB, {"topic": f"{side}/{number}"}, "")
            elif kind == 3:
                state = self._add(state, "m.room.member", BOB, {"membership": "ban"}, user)
            else:
                state = self._add(state, "m.room.member", user, {"membership": "join", "displayname": "x"}, user)
        return state

    def _add(self, state: State, type: str, sender: str, content: dict[str, object], key: str) -> State:
        keys = auth_keys(self.version, type=type, sender=sender, state_key=key, content=content)
        auth = [state[one] for one in keys if one in state]
        self._ts += 1
        return self._with(state, self.scene.event(type, sender, content, key, auth=auth, ts=self._ts, depth=self._ts))

    def _with(self, state: State, event: Event) -> State:
        self.events[event.event_id] = event
        self.cover.add(event.event_id, event.auth_event_ids)
        state[event.key] = event.event_id
        return state

    def resolved_whole(self) -> State:
        return resolve_states(self.version, self.branches, self.events)

    def resolved_in_parts(self) -> State:
        """The conflicted keys alone, as a store that keeps states as deltas and a cover finds them."""
        conflicted = {
            key: {state[key] for state in self.branches if key in state}
            for key in self.changed
            if len({state.get(key) for state in self.branches}) > 1
        }
        sets = [{state[key] for key in conflicted if key in state} for state in self.branches]
        difference = self.cover.difference_of_states(sets, self._is_shared)
        if self.version.state_resolution is StateResolution.V2_1:
            difference |= conflicted_subgraph(sets[0] | sets[1], lambda name: self.events[name].auth_event_ids)
        contended = {event_id for ids in conflicted.values() for event_id in ids} | difference
        keys = wanted_unconflicted_keys(self.version, [self.events[event_id] for event_id in contended])
        wanted = {key: self.base[key] for key in keys if key in self.base and key not in conflicted}
        return resolve(self.version, wanted, conflicted, difference, self.events)

    def _is_shared(self, event_id: EventId) -> bool:
        key = self.events[event_id].key
        return all(state.get(key) == event_id for state in self.branches)


def run() -> None:
    for version in (V6, V12):
        for size in SIZES:
            fork = Fork(version, size)
            report(f"resolution v{version.id}: conflicted keys", size, len(fork.resolved_in_parts()), "keys")
            measure(f"resolution v{version.id}: in parts", size, fork.resolved_in_parts, seconds=0.3)
            measure(f"resolution v{version.id}: whole states", size, fork.resolved_whole, seconds=0.3)
