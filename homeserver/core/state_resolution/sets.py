"""Which events a resolution is about: the conflict of the states, the auth difference and the conflicted subgraph.

All walks are loops, keep a visited set and stop where nothing more can be found. A room's full auth chains are the
worst they cost; where a chain cover is at hand (`chain_cover`), take its answers instead.
spec: rooms/v12/#definitions
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from homeserver.core.auth_rules import POWER_LEVELS, auth_keys_of
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import RoomVersion, StateResolution

AuthOf = Callable[[EventId], Sequence[EventId]]
StateIds = Mapping[StateKey, EventId]


def split(
    version: RoomVersion, states: Sequence[StateIds]
) -> tuple[dict[StateKey, EventId], dict[StateKey, set[EventId]]]:
    """The unconflicted entries of these states, and for each conflicted key the events that contend for it.

    A key that some states lack is conflicted; not so in version 1, where only different events are a conflict.
    spec: rooms/v12/#definitions, rooms/v1/#state-resolution
    """
    absence_conflicts = version.state_resolution is not StateResolution.V1
    unconflicted: dict[StateKey, EventId] = {}
    conflicted: dict[StateKey, set[EventId]] = {}
    for key in {key for state in states for key in state}:
        found = {state[key] for state in states if key in state}
        everywhere = not absence_conflicts or all(key in state for state in states)
        if len(found) == 1 and everywhere:
            unconflicted[key] = found.pop()
        else:
            conflicted[key] = found
    return unconflicted, conflicted


def reachable(starts: Iterable[EventId], auth_of: AuthOf, *, stop: Collection[EventId] = ()) -> set[EventId]:
    """These events and all that their auth events lead to, but nothing at or behind `stop`."""
    seen: set[EventId] = set()
    waiting = list(starts)
    while waiting:
        event_id = waiting.pop()
        if event_id not in seen and event_id not in stop:
            seen.add(event_id)
            waiting.extend(auth_of(event_id))
    return seen


def auth_difference(
    conflicted_sets: Sequence[AbstractSet[EventId]], auth_of: AuthOf, *, shared: Iterable[EventId] = ()
) -> set[EventId]:
    """The events that are in the auth chains of some states and not of all.

    `conflicted_sets` has each state's events under conflicted keys, `shared` those that all states have: what these
    lead to is in every chain. Without `shared` the answer may hold more, and resolution may come out otherwise than
    elsewhere. A state's own events count as part of its chain, as on every deployed server: else an event that all
    states have would differ because one of them cites it.
    """
    common = reachable(shared, auth_of)
    chains = [reachable(conflicted, auth_of, stop=common) for conflicted in conflicted_sets]
    if not chains:
        return set()
    return chains[0].union(*chains[1:]) - chains[0].intersection(*chains[1:])


def conflicted_subgraph(conflicted: Collection[EventId], auth_of: AuthOf) -> set[EventId]:
    """The conflicted events and all that lie on a path of auth links from one of them to another.

    Part of the full conflicted set in room version 12. spec: rooms/v12/#definitions
    """
    backwards = reachable(conflicted, auth_of)
    citing: dict[EventId, list[EventId]] = {}
    for event_id in backwards:
        for auth_id in auth_of(event_id):
            citing.setdefault(auth_id, []).append(event_id)
    return reachable(conflicted, lambda event_id: citing.get(event_id, ()))


def wanted_unconflicted_keys(version: RoomVersion, full_conflicted: Iterable[Event]) -> set[StateKey]:
    """The keys of the unconflicted state that `resolve` looks at, given the events of the full conflicted set.

    The rest of the unconflicted state, however large, has no part in it.
    """
    keys: set[StateKey] = {POWER_LEVELS}
    for event in full_conflicted:
        keys.update(auth_keys_of(event))
        if event.is_state:
            keys.add(event.key)
    return keys
