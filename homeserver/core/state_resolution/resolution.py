"""The state that several states become where branches of a room meet."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet

from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import RoomVersion, StateResolution
from homeserver.core.state_resolution.graph import Graph
from homeserver.core.state_resolution.sets import StateIds, auth_difference, conflicted_subgraph, split
from homeserver.core.state_resolution.v1 import resolve_v1
from homeserver.core.state_resolution.v2 import resolve_v2


def resolve(
    version: RoomVersion,
    unconflicted: StateIds,
    conflicted: Mapping[StateKey, AbstractSet[EventId]],
    auth_difference: AbstractSet[EventId],
    events: Mapping[EventId, Event],
    *,
    rejected: Collection[EventId] = frozenset(),
) -> dict[StateKey, EventId]:
    """What becomes of the conflicted keys; one that no event may have is left out.

    `unconflicted` needs only the entries of `wanted_unconflicted_keys`. `auth_difference` is, for state resolution 2.1,
    the union of auth difference and conflicted subgraph; version 1 uses none. `events` needs the full conflicted set
    (conflicted events and auth difference), what these cite, the unconflicted events given, and the chain of power
    level events behind them as far as it is asked for: raises MissingEvents with the ids that aren't there. Keys that
    only the auth difference brings in are in the answer too, unless they are unconflicted. The answer depends on the
    values alone, not on any order. spec: rooms/v12/#state-resolution
    """
    graph = Graph(version, events, rejected)
    if version.state_resolution is StateResolution.V1:
        return resolve_v1(graph, unconflicted, conflicted)
    full_conflicted = {event_id for ids in conflicted.values() for event_id in ids} | auth_difference
    base: StateIds = {} if version.state_resolution is StateResolution.V2_1 else unconflicted
    resolved = resolve_v2(graph, base, full_conflicted)
    return {key: event_id for key, event_id in resolved.items() if key not in unconflicted}


def resolve_states(
    version: RoomVersion,
    states: Sequence[StateIds],
    events: Mapping[EventId, Event],
    *,
    rejected: Collection[EventId] = frozenset(),
) -> dict[StateKey, EventId]:
    """The resolution of whole states, given every event of them and of their auth chains.

    Walks the full auth chains: for tests, for small rooms and for what comes from a peer with its chain.
    """
    unconflicted, conflicted = split(version, states)
    if not conflicted:
        return unconflicted
    difference: set[EventId] = set()
    if version.state_resolution is not StateResolution.V1:
        graph = Graph(version, events, rejected)

        def auth_of(event_id: EventId) -> Sequence[EventId]:
            return graph.auth_ids(graph[event_id])

        contenders = [{state[key] for key in conflicted if key in state} for state in states]
        difference = auth_difference(contenders, auth_of, shared=unconflicted.values())
        if version.state_resolution is StateResolution.V2_1:
            difference |= conflicted_subgraph(set.union(*contenders), auth_of)
    return {**resolve(version, unconflicted, conflicted, difference, events, rejected=rejected), **unconflicted}
