"""State resolution of room version 1. spec: rooms/v1/#state-resolution

Where the text leaves open what servers do, this does what deployed ones do: memberships are resolved each by itself,
and of other events, if the rules allow none, the one of least depth stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from homeserver.core.auth_rules import POWER_LEVELS, is_allowed
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId
from homeserver.core.state_resolution.graph import Graph

_PASSES = ("m.room.join_rules", "m.room.member")


def resolve_v1(
    graph: Graph,
    unconflicted: Mapping[StateKey, EventId],
    conflicted: Mapping[StateKey, AbstractSet[EventId]],
) -> dict[StateKey, EventId]:
    """The formerly conflicted keys, each with the event that it keeps. Cost: one auth check for each contender."""
    graph.require(event_id for events in conflicted.values() for event_id in events)
    graph.require(unconflicted.values())
    contenders = {
        key: _deepest_first(graph[event_id] for event_id in ids if event_id not in graph.rejected)
        for key, ids in conflicted.items()
    }
    state = {key: graph[event_id] for key, event_id in unconflicted.items() if event_id not in graph.rejected}
    resolved: dict[StateKey, Event] = {}
    if contenders.get(POWER_LEVELS):
        resolved[POWER_LEVELS] = _longest_allowed_run(contenders[POWER_LEVELS], state)
        state.update(resolved)
    for event_type in _PASSES:
        settled = {
            key: _longest_allowed_run(events, state)
            for key, events in contenders.items()
            if key[0] == event_type and events
        }
        resolved.update(settled)
        state.update(settled)
    for key, events in contenders.items():
        if key not in resolved and events:
            resolved[key] = next((event for event in events if is_allowed(event, state)), events[-1])
    return {key: event.event_id for key, event in resolved.items()}


def _deepest_first(events: Iterable[Event]) -> list[Event]:
    return sorted(events, key=lambda event: (-event.depth, hashlib.sha1(event.event_id.encode()).hexdigest()))


def _longest_allowed_run(deepest_first: list[Event], state: Mapping[StateKey, Event]) -> Event:
    """From the shallowest event upwards, the last that is allowed after those before it."""
    kept = deepest_first[-1]
    trial = dict(state)
    for event in reversed(deepest_first[:-1]):
        trial[kept.key] = kept
        if not is_allowed(event, trial):
            break
        kept = event
    return kept
