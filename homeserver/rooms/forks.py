"""Where branches of a room meet: the resolved state as one more line of small differences.

spec: server-server-api/#room-state-resolution
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.errors import MissingEvents
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import RoomVersion, StateResolution
from homeserver.core.state_resolution import conflicted_subgraph, resolve, wanted_unconflicted_keys
from homeserver.rooms.auth_graph import AuthGraph, AuthGraphs
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.residents import Rooms
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.storage.events import StoredEvent
from homeserver.storage.states import Line, StateMap, keys_in

RESOLVED_MAX = 10_000
# More contenders than this are resolved in a thread: about 5 ms of work.
_INLINE_MAX = 60


@dataclass(frozen=True, slots=True)
class Resolved:
    """The state of several lines: the first of them with `changes` (0 = unset) made."""

    base: Line
    changes: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Pending:
    """A state event that is about to be written, with the number of its (type, state_key)."""

    stored: StoredEvent
    key_nid: int


class Forks:
    """Resolves states of one room. Remembers what lately met."""

    def __init__(self, rooms: Rooms, event_store: EventStore, numbers: StateNumbers, graphs: AuthGraphs) -> None:
        self._rooms = rooms
        self._events = event_store
        self._numbers = numbers
        self._graphs = graphs
        self._resolved: OrderedDict[tuple[int, ...], Mapping[int, int]] = OrderedDict()

    async def resolve(
        self, room_nid: int, version: RoomVersion, lines: Sequence[Line], pending: Mapping[int, Pending]
    ) -> Resolved:
        """What these states, each given once, become together. Cost: that of their difference, not of their size.

        `pending` has, by number, the events that these states may name and that aren't written yet.
        """
        ordered = sorted(lines, key=lambda line: -line.nid)
        base = ordered[0]
        nids = tuple(line.nid for line in ordered)
        known = self._resolved.get(nids)
        if known is None:
            known = await self._resolve(room_nid, version, ordered, pending)
            self._resolved[nids] = known
            if len(self._resolved) > RESOLVED_MAX:
                self._resolved.popitem(last=False)
        return Resolved(base, known)

    async def correct(
        self, room_nid: int, version: RoomVersion, accepted: Collection[EventId], rejected: Collection[EventId]
    ) -> None:
        """Told of fates that are another than those written, until `forget`."""
        graph = await self._graphs.of(room_nid, version)
        graph.rejected.difference_update(accepted)
        graph.rejected.update(rejected)

    def forget(self, room_nid: int) -> None:
        """Told when pending events were not written after all."""
        self._graphs.forget(room_nid)
        self._resolved.clear()

    async def _resolve(
        self, room_nid: int, version: RoomVersion, lines: Sequence[Line], pending: Mapping[int, Pending]
    ) -> dict[int, int]:
        maps = list((await self._rooms.maps_of_lines(lines)).values())
        absence_conflicts = version.state_resolution is not StateResolution.V1
        conflicted: dict[int, set[int]] = {}
        settled: dict[int, int] = {}
        for number in differing_keys(lines):
            values = [state.get(number) for state in maps]
            present = {value for value in values if value is not None}
            if len(present) > 1 or (absence_conflicts and None in values and present):
                conflicted[number] = present
            elif present:
                settled[number] = present.pop()
        base = maps[0]
        if not conflicted:
            return {number: nid for number, nid in settled.items() if base.get(number) != nid}
        graph = await self._graphs.of(room_nid, version)
        for new in pending.values():
            graph.add(new.stored.event.event_id, new.stored.event.auth_event_ids)
            graph.places[new.stored.event.event_id] = (new.stored.nid, new.key_nid)
        events = _Events(self._events, [new.stored for new in pending.values()])
        decided = await self._decide(version, graph, events, maps, conflicted, settled)
        changes = {**settled, **{number: decided.get(number, 0) for number in conflicted}, **decided}
        return {number: nid for number, nid in changes.items() if base.get(number, 0) != nid}

    async def _decide(
        self,
        version: RoomVersion,
        graph: AuthGraph,
        events: _Events,
        maps: Sequence[StateMap],
        conflicted: Mapping[int, Collection[int]],
        settled: Mapping[int, int],
    ) -> dict[int, int]:
        """Key number → event number, for the conflicted keys that some event may have."""
        contenders = await events.by_nids({nid for nids in conflicted.values() for nid in nids})
        ids = {nid: stored.event.event_id for nid, stored in contenders.items()}
        sets = [
            {ids[nid] for number in conflicted if (nid := state.get(number)) is not None and nid in ids}
            for state in maps
        ]
        difference = self._auth_difference(version, graph, maps, sets)
        await events.by_ids(difference)
        keys = wanted_unconflicted_keys(version, list(events.known.values()))
        base = await self._unconflicted(events, maps[0].update(settled), keys, conflicted)
        numbers = await self._numbers.keys_of(conflicted)
        by_key = {numbers[number]: {ids[nid] for nid in nids if nid in ids} for number, nids in conflicted.items()}
        decided = await _with_all_events(version, graph, base, by_key, difference, events)
        key_numbers = await self._numbers.find(list(decided))
        winners = await events.by_ids(set(decided.values()))
        return {key_numbers[key]: winners[event_id].nid for key, event_id in decided.items() if event_id in winners}

    def _auth_difference(
        self, version: RoomVersion, graph: AuthGraph, maps: Sequence[StateMap], sets: Sequence[set[EventId]]
    ) -> set[EventId]:
        if version.state_resolution is StateResolution.V1:
            return set()

        def is_shared(event_id: EventId) -> bool:
            nid, number = graph.places[event_id]
            return all(state.get(number) == nid for state in maps)

        difference = graph.cover.difference_of_states(sets, is_shared)
        if version.state_resolution is StateResolution.V2_1:
            difference |= conflicted_subgraph(set.union(*sets), graph.auth_of)
        return difference

    async def _unconflicted(
        self,
        events: _Events,
        agreed: StateMap,
        keys: Collection[StateKey],
        conflicted: Collection[int],
    ) -> dict[StateKey, EventId]:
        """What the rules look at of what is no conflict: in version 1 also what only some of the states have."""
        numbers = await self._numbers.find(list(keys))
        nids = {
            key: nid
            for key, number in numbers.items()
            if number not in conflicted and (nid := agreed.get(number)) is not None
        }
        stored = await events.by_nids(list(nids.values()))
        return {key: stored[nid].event.event_id for key, nid in nids.items() if nid in stored}


class _Events:
    """The event store, with events beside it that aren't written yet. `known` has all that were asked for."""

    def __init__(self, event_store: EventStore, pending: Sequence[StoredEvent]) -> None:
        self._store = event_store
        self._by_nid = {stored.nid: stored for stored in pending}
        self._by_id = {stored.event.event_id: stored for stored in pending}
        self.known: dict[EventId, Event] = {}

    async def by_nids(self, nids: Collection[int]) -> dict[int, StoredEvent]:
        found = await self._store.by_nids([nid for nid in nids if nid not in self._by_nid])
        found.update((nid, self._by_nid[nid]) for nid in nids if nid in self._by_nid)
        self.known.update((stored.event.event_id, stored.event) for stored in found.values())
        return found

    async def by_ids(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        found = await self._store.by_ids([event_id for event_id in event_ids if event_id not in self._by_id])
        found.update((event_id, self._by_id[event_id]) for event_id in event_ids if event_id in self._by_id)
        self.known.update((event_id, stored.event) for event_id, stored in found.items())
        return found


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


def differing_keys(lines: Sequence[Line]) -> set[int]:
    """The key numbers under which these states may differ: all others come from what their lines have in common."""
    counts: dict[int, int] = {}
    for line in lines:
        for row in line.rows:
            counts[row.nid] = counts.get(row.nid, 0) + 1
    own = [row.delta for line in lines for row in line.rows if counts[row.nid] < len(lines)]
    return keys_in(own)
