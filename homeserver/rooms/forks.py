"""Where branches of a room meet: the resolved state as one more line of small differences.

spec: server-server-api/#room-state-resolution
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from homeserver.core.errors import MissingEvents
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import RoomVersion, StateResolution
from homeserver.core.state_resolution import resolve, wanted_unconflicted_keys
from homeserver.rooms.auth_graph import AuthGraph, AuthGraphs
from homeserver.rooms.contests import FoundBefore, difference_of, outcome, parted
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.runtime.tasks import others_turn
from homeserver.storage.events import StoredEvent
from homeserver.storage.states import UNSET, Line, StateMap, View, own_bytes, values_of, views

T = TypeVar("T")

RESOLVED_MAX = 10_000
# More contenders than this are resolved in a thread: about 5 ms of work.
_INLINE_MAX = 60
# So many events at most are read at once: what is read is parsed in the loop.
_READ_AT_ONCE = 200
# Lines that differ by more are compared in a thread.
_BYTES_INLINE_MAX = 20_000
# The other state is looked at beside states that differ from it by no more.
_BYTES_APART_MAX = 1_000_000


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
    """What a batch's resolutions have in common. `pending` has, by number, its events, which aren't written yet; `work`
    is how many events have had a say so far, each as often as it had one."""

    room_nid: int
    version: RoomVersion
    pending: dict[int, Pending] = field(default_factory=dict)
    graph: AuthGraph | None = None
    work: int = 0


class Forks:
    """Resolves states of one room. Remembers what lately met."""

    def __init__(self, event_store: EventStore, numbers: StateNumbers, graphs: AuthGraphs) -> None:
        self._events = event_store
        self._numbers = numbers
        self._graphs = graphs
        self._resolved: OrderedDict[tuple[int, ...], Line] = OrderedDict()
        self._found = FoundBefore()

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
        all the state there. Of a fork that was resolved before, only what is new in it is resolved.
        """
        ordered = sorted(lines, key=lambda line: -line.nid)
        size = sum(own_bytes(line, other) for line in ordered)
        compared = await _off_loop(size > _BYTES_INLINE_MAX, _compared, meetings.version, ordered, other, state)
        wanted = dict(compared.settled)
        if compared.conflicted:
            wanted.update(await self._decide(meetings, compared))
        return await _off_loop(size > _BYTES_INLINE_MAX, _resolved, ordered, other, compared, wanted)

    async def correct(self, meetings: Meetings, accepted: Collection[EventId], rejected: Collection[EventId]) -> None:
        """Told of fates that are another than those written, until `forget`."""
        graph = await self._graph(meetings)
        graph.rejected.difference_update(accepted)
        graph.rejected.update(rejected)
        graph.settle()
        self._found.forget(meetings.room_nid)

    async def refated(self, meetings: Meetings, event_id: EventId, *, is_rejected: bool) -> None:
        """Told of an event that was kept outside of the timeline, where it may have lacked what it cites."""
        await self.correct(meetings, () if is_rejected else {event_id}, {event_id} if is_rejected else ())

    def forget(self, room_nid: int) -> None:
        """Told when pending events were not written after all."""
        self._graphs.forget(room_nid)
        self._found.forget(room_nid)
        self._resolved.clear()

    async def _graph(self, meetings: Meetings) -> AuthGraph:
        """The room's, with what is pending. Nothing else is written to the room meanwhile, so it is read once."""
        if meetings.graph is None:
            meetings.graph = await self._graphs.of(meetings.room_nid, meetings.version)
        graph = meetings.graph
        for new in meetings.pending.values():
            event = new.stored.event
            graph.allow(event.event_id, event.auth_event_ids, new.stored.nid, new.key_nid)
        return graph

    async def _decide(self, meetings: Meetings, compared: _Compared) -> dict[int, int]:
        """Key number → event number, UNSET where nobody may have it: for the conflicted keys, and for those that only
        the auth difference brings in."""
        version, states = meetings.version, compared.states
        graph = await self._graph(meetings)
        events = _Events(self._events, [new.stored for new in meetings.pending.values()])
        keys = await self._numbers.keys_of(compared.conflicted)
        is_large = len(compared.conflicted) > _INLINE_MAX
        contests = await _off_loop(is_large, parted, version, compared.conflicted, keys)
        contenders = await events.by_nids({nid for nids in contests.deciding.values() for nid in nids})
        ids = {nid: stored.event.event_id for nid, stored in contenders.items()}
        difference = await _off_loop(
            is_large or len(ids) > _INLINE_MAX, difference_of, version, graph, states, contests, ids
        )
        found = self._found.of(meetings.room_nid, contests, difference, states[0])
        fresh = {number: contest for number, contest in contests.plain.items() if contest not in found.winners}
        if fresh or not found.relied_on:
            await events.by_nids({nid for contest in fresh.values() for nid in contest})
            await events.by_ids(difference)
            meetings.work += len(events.known)
            fought = {**contests.deciding, **fresh}
            by_key, wanted = await _off_loop(len(events.known) > _INLINE_MAX, _named, version, fought, keys, events)
            base, relied_on = await self._unconflicted(events, compared, wanted)
            decided = await self._numbered(
                await _with_all_events(version, graph, base, by_key, difference, events), events
            )
            found.winners.update((contest, decided.pop(number, UNSET)) for number, contest in fresh.items())
            found.decided = decided
            found.relied_on.update(relied_on)
            # What nobody ever set anywhere has no number to look again whether it is still so.
            if len(relied_on) == len(wanted.difference(keys.values())):
                self._found.keep(meetings.room_nid, found)
        return await _off_loop(is_large, outcome, contests, found)

    async def _numbered(self, decided: Mapping[StateKey, EventId], events: _Events) -> dict[int, int]:
        numbers = await self._numbers.find(list(decided))
        winners = await events.by_ids(set(decided.values()))
        return {numbers[key]: winners[event_id].nid for key, event_id in decided.items() if event_id in winners}

    async def _unconflicted(
        self, events: _Events, compared: _Compared, keys: Collection[StateKey]
    ) -> tuple[dict[StateKey, EventId], dict[int, int]]:
        """What the rules look at of what is no conflict, in version 1 also what only some of the states have; and by
        number all that was looked for."""
        numbers = await self._numbers.find(list(keys))
        nids = {
            key: compared.settled.get(number) or compared.states[0].get(number)
            for key, number in numbers.items()
            if number not in compared.conflicted
        }
        stored = await events.by_nids([nid for nid in nids.values() if nid != UNSET])
        base = {key: stored[nid].event.event_id for key, nid in nids.items() if nid in stored}
        return base, {numbers[key]: nid for key, nid in nids.items()}


@dataclass(frozen=True, slots=True)
class _Compared:
    """States beside each other: by key what contends for it, and where it's no conflict what only some of them have.

    `home` is the other state that was given, where it is near to all of them.
    """

    states: Sequence[View]
    home: View | None
    conflicted: Mapping[int, Collection[int]]
    settled: Mapping[int, int]


def _compared(version: RoomVersion, lines: Sequence[Line], other: Line, state: StateMap) -> _Compared:
    is_beside = all(line.nid != other.nid for line in lines) and _is_near(lines, other)
    states = views([*lines, other] if is_beside else lines, other, state)
    home = states.pop() if is_beside else None
    absence_conflicts = version.state_resolution is not StateResolution.V1
    conflicted: dict[int, set[int]] = {}
    settled: dict[int, int] = {}
    for number, values in values_of(states).items():
        present = {value for value in values if value != UNSET}
        if len(present) > 1 or absence_conflicts:
            conflicted[number] = present
        else:
            settled[number] = present.pop()
    return _Compared(states, home, conflicted, settled)


def _is_near(lines: Sequence[Line], other: Line) -> bool:
    """Whether it costs little to look at the other line beside these."""
    counts = Counter(row.nid for line in lines for row in line.rows)
    common = [row for row in lines[0].rows if counts[row.nid] == len(lines)]
    known = {row.nid for row in other.rows}
    apart = sum(len(row.delta) for row in common if row.nid not in known)
    return any(row.nid in known for row in common) and apart * len(lines) <= _BYTES_APART_MAX


def _resolved(lines: Sequence[Line], other: Line, compared: _Compared, wanted: Mapping[int, int]) -> Resolved:
    """The resolved state as what it differs in from the newest of the lines, or from the other where that is less."""
    first, home = compared.states[0], compared.home
    base, changes = lines[0], {key: nid for key, nid in wanted.items() if first.get(key) != nid}
    if home is not None:
        keys = {*wanted, *home.own, *first.own}
        beside = {key: nid for key in keys if home.get(key) != (nid := wanted.get(key, first.get(key)))}
        if len(beside) < len(changes):
            base, changes = other, beside
    states = zip(lines, compared.states, strict=True)
    same = (line for line, view in states if all(view.get(key) == nid for key, nid in wanted.items()))
    return Resolved(base, changes, next(same, None) or (base if not changes else None))


async def _off_loop(is_much: bool, work: Callable[..., T], *given: Any) -> T:
    return await asyncio.to_thread(work, *given) if is_much else work(*given)


def _name_of(nids: Collection[int]) -> tuple[int, ...]:
    return tuple(sorted(set(nids)))


class _Events:
    """The event store, with events beside it that aren't written yet. `known` has all that were asked for."""

    def __init__(self, event_store: EventStore, pending: Sequence[StoredEvent]) -> None:
        self._store = event_store
        self._by_nid = {stored.nid: stored for stored in pending}
        self._by_id = {stored.event.event_id: stored for stored in pending}
        self._ids: dict[int, EventId] = {}
        self.known: dict[EventId, Event] = {}

    async def by_nids(self, nids: Collection[int]) -> dict[int, StoredEvent]:
        found: dict[int, StoredEvent] = {}
        for part in _parts([nid for nid in nids if nid not in self._by_nid]):
            await others_turn()
            found.update(await self._store.by_nids(part))
        found.update((nid, self._by_nid[nid]) for nid in nids if nid in self._by_nid)
        self.known.update((stored.event.event_id, stored.event) for stored in found.values())
        self._ids.update((nid, stored.event.event_id) for nid, stored in found.items())
        return found

    async def by_ids(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        found: dict[EventId, StoredEvent] = {}
        for part in _parts([event_id for event_id in event_ids if event_id not in self._by_id]):
            await others_turn()
            found.update(await self._store.by_ids(part))
        found.update((event_id, self._by_id[event_id]) for event_id in event_ids if event_id in self._by_id)
        self.known.update((event_id, stored.event) for event_id, stored in found.items())
        self._ids.update((stored.nid, event_id) for event_id, stored in found.items())
        return found

    def ids_of(self, nids: Collection[int]) -> set[EventId]:
        """The ids of those of these events that were found."""
        return {self._ids[nid] for nid in nids if nid in self._ids}


def _named(
    version: RoomVersion, fought: Mapping[int, Collection[int]], keys: Mapping[int, StateKey], events: _Events
) -> tuple[dict[StateKey, set[EventId]], set[StateKey]]:
    """The contests by key and id, and the keys of the agreed state that the rules look at."""
    by_key = {keys[number]: events.ids_of(contest) for number, contest in fought.items()}
    return by_key, wanted_unconflicted_keys(version, list(events.known.values()))


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
