"""Where branches of a room meet: the resolved state as one more line of small differences.

spec: server-server-api/#room-state-resolution
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from homeserver.core.errors import MissingEvents
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import RoomVersion, StateResolution
from homeserver.core.state_resolution import conflicted_subgraph, resolve, wanted_unconflicted_keys
from homeserver.rooms.auth_graph import AuthGraph, AuthGraphs
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.storage.events import StoredEvent
from homeserver.storage.states import UNSET, Line, StateMap, View, own_bytes, values_of, views

T = TypeVar("T")

RESOLVED_MAX = 10_000
# More contenders than this are resolved in a thread: about 5 ms of work.
_INLINE_MAX = 60
# So many events at most are read at once: what is read is parsed in the loop.
_READ_AT_ONCE = 200
# Lines that differ by more are compared in a thread.
_BYTES_INLINE_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Resolved:
    """The state of several lines: the first of them with `changes` (0 = unset) made, or just one of them: `same`."""

    base: Line
    changes: Mapping[int, int]
    same: Line | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A state event that is about to be written, with the number of its (type, state_key)."""

    stored: StoredEvent
    key_nid: int


@dataclass(slots=True)
class Meetings:
    """What a batch's resolutions have in common. `pending` has, by number, its events, which aren't written yet."""

    room_nid: int
    version: RoomVersion
    pending: dict[int, Pending] = field(default_factory=dict)
    graph: AuthGraph | None = None


class Forks:
    """Resolves states of one room. Remembers what lately met."""

    def __init__(self, event_store: EventStore, numbers: StateNumbers, graphs: AuthGraphs) -> None:
        self._events = event_store
        self._numbers = numbers
        self._graphs = graphs
        self._resolved: OrderedDict[tuple[int, ...], Line] = OrderedDict()

    def met(self, nids: Collection[int]) -> Line | None:
        """What these states became when they lately met."""
        return self._resolved.get(_name_of(nids))

    def remember(self, nids: Collection[int], line: Line) -> None:
        self._resolved[_name_of(nids)] = line
        if len(self._resolved) > RESOLVED_MAX:
            self._resolved.popitem(last=False)

    async def resolve(self, meetings: Meetings, lines: Collection[Line], other: Line, state: StateMap) -> Resolved:
        """What the states of these lines, each given once, become together.

        Cost: that of their difference, not of their size, given another line that has most in common with them, and
        all the state there.
        """
        ordered = sorted(lines, key=lambda line: -line.nid)
        if sum(own_bytes(line, other) for line in ordered) > _BYTES_INLINE_MAX:
            states, differing = await asyncio.to_thread(_compared, ordered, other, state)
        else:
            states, differing = _compared(ordered, other, state)
        changes = await self._changes(meetings, states, differing)
        base = states[0]
        wanted = {key: changes[key] if key in changes else base.get(key) for key in {*differing, *changes}}
        same = (
            line
            for line, view in zip(ordered, states, strict=True)
            if all(view.get(key) == nid for key, nid in wanted.items())
        )
        return Resolved(ordered[0], changes, next(same, None))

    async def correct(self, meetings: Meetings, accepted: Collection[EventId], rejected: Collection[EventId]) -> None:
        """Told of fates that are another than those written, until `forget`."""
        graph = await self._graph(meetings)
        graph.rejected.difference_update(accepted)
        graph.rejected.update(rejected)

    def forget(self, room_nid: int) -> None:
        """Told when pending events were not written after all."""
        self._graphs.forget(room_nid)
        self._resolved.clear()

    async def _graph(self, meetings: Meetings) -> AuthGraph:
        """The room's, with what is pending. Nothing else is written to the room meanwhile, so it is read once."""
        if meetings.graph is None:
            meetings.graph = await self._graphs.of(meetings.room_nid, meetings.version)
        graph = meetings.graph
        for new in meetings.pending.values():
            event = new.stored.event
            if graph.places.get(event.event_id) != (new.stored.nid, new.key_nid):
                graph.add(event.event_id, event.auth_event_ids)
                graph.places[event.event_id] = (new.stored.nid, new.key_nid)
        return graph

    async def _changes(
        self, meetings: Meetings, states: Sequence[View], differing: Mapping[int, Collection[int]]
    ) -> dict[int, int]:
        """What the first of these states becomes another in, given by key what they have where they differ."""
        absence_conflicts = meetings.version.state_resolution is not StateResolution.V1
        conflicted: dict[int, set[int]] = {}
        settled: dict[int, int] = {}
        for number, values in differing.items():
            present = {value for value in values if value != UNSET}
            if len(present) > 1 or absence_conflicts:
                conflicted[number] = present
            else:
                settled[number] = present.pop()
        base = states[0]
        if not conflicted:
            return {number: nid for number, nid in settled.items() if base.get(number) != nid}
        graph = await self._graph(meetings)
        events = _Events(self._events, [new.stored for new in meetings.pending.values()])
        decided = await self._decide(meetings.version, graph, events, states, conflicted, settled)
        changes = {**settled, **{number: decided.get(number, UNSET) for number in conflicted}, **decided}
        return {number: nid for number, nid in changes.items() if base.get(number) != nid}

    async def _decide(
        self,
        version: RoomVersion,
        graph: AuthGraph,
        events: _Events,
        states: Sequence[View],
        conflicted: Mapping[int, Collection[int]],
        settled: Mapping[int, int],
    ) -> dict[int, int]:
        """Key number → event number, for the conflicted keys that some event may have."""
        contenders = await events.by_nids({nid for nids in conflicted.values() for nid in nids})
        ids = {nid: stored.event.event_id for nid, stored in contenders.items()}
        if len(ids) > _INLINE_MAX:
            difference = await asyncio.to_thread(_auth_difference, version, graph, states, conflicted, ids)
        else:
            difference = _auth_difference(version, graph, states, conflicted, ids)
        await events.by_ids(difference)
        keys = wanted_unconflicted_keys(version, list(events.known.values()))
        base = await self._unconflicted(events, states[0], settled, keys, conflicted)
        numbers = await self._numbers.keys_of(conflicted)
        by_key = {numbers[number]: {ids[nid] for nid in nids if nid in ids} for number, nids in conflicted.items()}
        decided = await _with_all_events(version, graph, base, by_key, difference, events)
        key_numbers = await self._numbers.find(list(decided))
        winners = await events.by_ids(set(decided.values()))
        return {key_numbers[key]: winners[event_id].nid for key, event_id in decided.items() if event_id in winners}

    async def _unconflicted(
        self,
        events: _Events,
        state: View,
        settled: Mapping[int, int],
        keys: Collection[StateKey],
        conflicted: Collection[int],
    ) -> dict[StateKey, EventId]:
        """What the rules look at of what is no conflict: in version 1 also what only some of the states have."""
        numbers = await self._numbers.find(list(keys))
        nids = {
            key: settled.get(number) or state.get(number) for key, number in numbers.items() if number not in conflicted
        }
        stored = await events.by_nids(list(nids.values()))
        return {key: stored[nid].event.event_id for key, nid in nids.items() if nid in stored}


def _auth_difference(
    version: RoomVersion,
    graph: AuthGraph,
    states: Sequence[View],
    conflicted: Collection[int],
    ids: Mapping[int, EventId],
) -> set[EventId]:
    """What the rules call so, with the conflicted subgraph where they want it. `ids` are those of the contenders."""
    if version.state_resolution is StateResolution.V1:
        return set()
    sets = [{ids[nid] for number in conflicted if (nid := state.get(number)) in ids} for state in states]

    def is_shared(event_id: EventId) -> bool:
        nid, number = graph.places[event_id]
        return all(state.get(number) == nid for state in states)

    difference = graph.cover.difference_of_states(sets, is_shared)
    if version.state_resolution is StateResolution.V2_1:
        difference |= conflicted_subgraph(set.union(*sets), graph.auth_of)
    return difference


def _compared(lines: Sequence[Line], other: Line, state: StateMap) -> tuple[list[View], dict[int, set[int]]]:
    states = views(lines, other, state)
    return states, values_of(states)


def _name_of(nids: Collection[int]) -> tuple[int, ...]:
    return tuple(sorted(set(nids)))


class _Events:
    """The event store, with events beside it that aren't written yet. `known` has all that were asked for."""

    def __init__(self, event_store: EventStore, pending: Sequence[StoredEvent]) -> None:
        self._store = event_store
        self._by_nid = {stored.nid: stored for stored in pending}
        self._by_id = {stored.event.event_id: stored for stored in pending}
        self.known: dict[EventId, Event] = {}

    async def by_nids(self, nids: Collection[int]) -> dict[int, StoredEvent]:
        found: dict[int, StoredEvent] = {}
        for part in _parts([nid for nid in nids if nid not in self._by_nid]):
            found.update(await self._store.by_nids(part))
        found.update((nid, self._by_nid[nid]) for nid in nids if nid in self._by_nid)
        self.known.update((stored.event.event_id, stored.event) for stored in found.values())
        return found

    async def by_ids(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        found: dict[EventId, StoredEvent] = {}
        for part in _parts([event_id for event_id in event_ids if event_id not in self._by_id]):
            found.update(await self._store.by_ids(part))
        found.update((event_id, self._by_id[event_id]) for event_id in event_ids if event_id in self._by_id)
        self.known.update((event_id, stored.event) for event_id, stored in found.items())
        return found


def _parts(wanted: list[T]) -> Iterator[list[T]]:
    return (wanted[at : at + _READ_AT_ONCE] for at in range(0, len(wanted), _READ_AT_ONCE))


async def _with_all_events(
    version: RoomVersion,
    graph: AuthGraph,
    base: Mapping[StateKey, EventId],
    conflicted: Mapping[StateKey, set[EventId]],
    difference: set[EventId],
    events: _Events,
) -> dict[StateKey, EventId]:
    """Resolves, loading what turns out to be missing: some rounds, each with one query."""
    while True:
        known = dict(events.known)
        try:
            if len(known) > _INLINE_MAX:
                return await asyncio.to_thread(
                    resolve, version, base, conflicted, difference, known, rejected=graph.rejected
                )
            return resolve(version, base, conflicted, difference, known, rejected=graph.rejected)
        except MissingEvents as missing:
            if not await events.by_ids([EventId(event_id) for event_id in missing.ids]):
                raise
