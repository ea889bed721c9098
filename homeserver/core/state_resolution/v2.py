"""State resolution of room versions 2 to 11, and version 2.1 of it for room version 12.

Where the text, read literally, would differ from every deployed server, this does what they do: the sort of power
events follows auth links only through events of the full conflicted set, create events count as power events, and
events that we rejected are never let in. spec: rooms/v2/#state-resolution, rooms/v12/#state-resolution
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import heapify, heappop, heappush

from homeserver.core.auth_rules import CREATE, JOIN_RULES, POWER_LEVELS, is_allowed, keys_for_check
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId
from homeserver.core.state_resolution.graph import Graph, is_at

_POWER_KEYS = (POWER_LEVELS, JOIN_RULES, CREATE)


def resolve_v2(
    graph: Graph, base: Mapping[StateKey, EventId], full_conflicted: AbstractSet[EventId]
) -> dict[StateKey, EventId]:
    """The state that the full conflicted set leads to from this base state: the algorithm's steps 1 to 4.

    Cost: O(n log n) comparisons and one auth check for each event of the full conflicted set.
    """
    graph.require(full_conflicted)
    graph.require(auth_id for event_id in full_conflicted for auth_id in graph.auth_ids(graph[event_id]))
    graph.require(base.values())
    power_events = sort_power_events(graph, full_conflicted)
    state = apply_in_order(graph, base, power_events)
    others = full_conflicted - set(power_events)
    in_order = sort_by_mainline(graph, others, state.get(POWER_LEVELS))
    return apply_in_order(graph, state, in_order)


def is_power_event(event: Event) -> bool:
    """Whether this event may take away what somebody may do. spec: rooms/v2/#definitions"""
    if any(is_at(event, key) for key in _POWER_KEYS):
        return True
    return event.type == "m.room.member" and event.membership in ("leave", "ban") and event.sender != event.state_key


def may_take_away(event: Event) -> bool:
    """Whether somebody may be allowed less once this is part of the state: also who leaves by themselves."""
    return is_power_event(event) or (event.type == "m.room.member" and event.membership in ("leave", "ban"))


def sort_power_events(graph: Graph, full_conflicted: AbstractSet[EventId]) -> list[EventId]:
    """The power events and those behind them, in reverse topological power ordering.

    An event in a circle of citations, which only versions 1 and 2 can't rule out, is left to the second pass.
    """
    cited_by: dict[EventId, set[EventId]] = {}
    unplaced: dict[EventId, int] = {}
    waiting = [event_id for event_id in full_conflicted if is_power_event(graph[event_id])]
    while waiting:
        event_id = waiting.pop()
        if event_id in unplaced:
            continue
        cites = {auth_id for auth_id in graph[event_id].auth_event_ids if auth_id in full_conflicted}
        unplaced[event_id] = len(cites)
        for auth_id in cites:
            cited_by.setdefault(auth_id, set()).add(event_id)
        waiting.extend(cites)
    ready = [_power_rank(graph, event_id) for event_id, count in unplaced.items() if count == 0]
    heapify(ready)
    in_order: list[EventId] = []
    while ready:
        event_id = heappop(ready)[2]
        in_order.append(event_id)
        for later in cited_by.get(event_id, ()):
            unplaced[later] -= 1
            if unplaced[later] == 0:
                heappush(ready, _power_rank(graph, later))
    return in_order


def _power_rank(graph: Graph, event_id: EventId) -> tuple[int, int, EventId]:
    event = graph[event_id]
    return (-graph.sender_power(event), event.origin_server_ts, event_id)


def sort_by_mainline(graph: Graph, event_ids: Iterable[EventId], power_levels: EventId | None) -> list[EventId]:
    """These events in mainline ordering based on this m.room.power_levels event."""
    mainline = _Mainline(graph, power_levels)

    def rank(event_id: EventId) -> tuple[float, int, EventId]:
        event = graph[event_id]
        return (-mainline.position(event), event.origin_server_ts, event_id)

    return sorted(event_ids, key=rank)


class _Mainline:
    """The chain of power level events behind one, walked no further than somebody asks."""

    def __init__(self, graph: Graph, head: EventId | None) -> None:
        self._graph = graph
        self._next = graph[head] if head is not None else None
        self._positions: dict[EventId, int] = {}
        self._known: dict[EventId, float] = {}

    def position(self, event: Event) -> float:
        """How far back in the mainline the event's power levels lie; infinite if they don't.

        Walks both chains in step: once they have met they stay together, so the first meeting is the nearest.
        """
        first = self._graph.power_levels_before(event)
        if first is None:
            return float("inf")
        if first.event_id not in self._known:
            self._known[first.event_id] = self._meeting(first)
        return self._known[first.event_id]

    def _meeting(self, first: Event) -> float:
        behind: dict[EventId, None] = {}
        current: Event | None = first
        while current is not None or self._next is not None:
            if current is not None:
                if current.event_id in self._positions:
                    return self._positions[current.event_id]
                behind[current.event_id] = None
                current = self._graph.power_levels_before(current)
                if current is not None and current.event_id in behind:
                    current = None
            reached = self._extend()
            if reached is not None and reached in behind:
                return self._positions[reached]
        return float("inf")

    def _extend(self) -> EventId | None:
        """The next event of the mainline, which has its position from now on."""
        event = self._next
        if event is None:
            return None
        self._positions[event.event_id] = len(self._positions)
        before = self._graph.power_levels_before(event)
        self._next = None if before is None or before.event_id in self._positions else before
        return event.event_id


def apply_in_order(
    graph: Graph, base: Mapping[StateKey, EventId], event_ids: Sequence[EventId]
) -> dict[StateKey, EventId]:
    """The iterative auth checks: this state with each of these events that the rules allow, one after the other."""
    state = dict(base)
    for event_id in event_ids:
        if event_id in graph.rejected:
            continue
        event = graph[event_id]
        if event.is_state and is_allowed(event, _state_for(graph, state, event)):
            state[event.key] = event_id
    return state


def _state_for(graph: Graph, state: Mapping[StateKey, EventId], event: Event) -> dict[StateKey, Event]:
    """What the event is checked against: the state so far, and where that has nothing, what the event cites."""
    found = {
        auth_event.key: auth_event
        for auth_event in graph.auth_events(event)
        if auth_event.is_state and auth_event.event_id not in graph.rejected
    }
    for key in keys_for_check(event):
        event_id = state.get(key)
        if event_id is not None and event_id not in graph.rejected:
            found[key] = graph[event_id]
    return found
