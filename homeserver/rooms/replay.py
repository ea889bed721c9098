"""What happened since a join whose members weren't all known, decided again on the state that was really before it.

Whatever was decided meanwhile stood on a state without those members: events that were accepted may turn out to be
rejected, and the other way round.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from immutables import Map

from homeserver.core.identifiers import EventId, ServerName, UserId, domain_of
from homeserver.core.room import Head
from homeserver.rooms.arrivals import Arrival, ArrivalReads, Fate, Work
from homeserver.rooms.building import Built
from homeserver.rooms.residents import USUAL_KEYS, Room
from homeserver.rooms.tips import Tip
from homeserver.storage.events import StoredEvent
from homeserver.storage.states import Line, StateMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Where it begins, and with what.

    `base` is the state before the join, `members` who was what then. `told` are states that other servers told of for
    some of the events (by number), `unwelcome` says why some are to be soft-failed all the same. `numbers` are for new
    states, `news` the places of events that are shown from now on.
    """

    room: Room
    join: StoredEvent
    base: Line
    members: Map[UserId, str]
    told: Mapping[int, Sequence[StateMap]]
    unwelcome: Mapping[EventId, str]
    numbers: Iterator[int]
    news: Iterator[int]


class Replay(Work):
    """Follows the room once more from its join on. `shown` and `hidden` are the events that came, and went, by it."""

    def __init__(self, reads: ArrivalReads, restart: Restart) -> None:
        room = replace(
            restart.room,
            line=restart.base,
            head=replace(restart.room.head, heads=(), known=Map()),
            nids=Map(),
            members=restart.members,
            newest=0,
            has_own_heads=True,
            partial=None,
        )
        super().__init__(reads, room, range(0))
        self._restart = restart
        self.shown: set[int] = set()
        self.hidden: dict[int, EventId] = {}
        self.servers: set[ServerName] = set()
        # State before some event as it was → the state in its place.
        self.moved: dict[int, int] = {}
        self._accepted: set[EventId] = set()
        self._rejected: set[EventId] = set()
        prevs = restart.join.event.prev_event_ids
        self._tips = {name: Tip(Head(name, ""), 0, 0, restart.base.nid) for name in prevs}

    async def run(self, since: Sequence[StoredEvent]) -> str | None:
        """Decides on the join and on these. Why nothing may be done where the state doesn't allow the join."""
        join, base = self._restart.join, self._restart.base
        await self._look_up([join, *since])
        await self._state_at(base, USUAL_KEYS)
        refusal = await self._broken_rule(join.event, base)
        if refusal is not None:
            return refusal
        self._alias(join, base)
        await self._place(join.event, join, base, Fate.ACCEPTED, None)
        for stored in in_graph_order(since):
            await self._again(stored)
        return None

    async def current(self) -> StateMap:
        """The state after all of it."""
        return await self._map(self._line)

    @property
    def members(self) -> Map[UserId, str]:
        return self._members

    async def built(self) -> Built:
        """As of arrivals; `written` has what is news."""
        built = await super().built()
        built.written = [written for written in built.written if written.stored.nid in self.shown]
        return built

    async def _look_up(self, events: Sequence[StoredEvent]) -> None:
        self._events = {stored.event.event_id: stored for stored in events}
        wanted = {name for one in events for name in (*one.event.prev_event_ids, *one.event.auth_event_ids)}
        wanted |= {named for one in events if (named := one.event.redacted_id) is not None}
        self._events |= await self._reads.event_store.by_ids([name for name in wanted if name not in self._events])
        self._key_nids = await self._reads.numbers.give([one.event.key for one in events if one.event.is_state])

    async def _again(self, stored: StoredEvent) -> None:
        event = stored.event
        prevs = [self._events.get(name) for name in event.prev_event_ids]
        is_whole = all(prev is not None and prev.has_place for prev in prevs)
        arrival = Arrival(
            event=event,
            states_before=None if is_whole else self._restart.told.get(stored.nid),
            unwelcome=self._restart.unwelcome.get(event.event_id),
        )
        before = await self._state_before(arrival)
        if before is None:
            return  # what was put into the past, and refused: it stands on no state of ours
        fate, refusal = await self._fate(arrival, before)
        if fate is Fate.ACCEPTED and stored.ordering is None:
            place = next(self._restart.news, None)
            if place is None:
                fate, refusal = Fate.SOFT_FAILED, "too many events came to be allowed at once"
            else:
                self.shown.add(stored.nid)
                stored = replace(stored, ordering=place)
        if fate is not Fate.ACCEPTED and stored.ordering is not None:
            self.hidden[stored.nid] = event.event_id
        (self._rejected if fate is Fate.REJECTED else self._accepted).add(event.event_id)
        self._alias(stored, before)
        await self._place(event, stored, before, fate, refusal)
        if fate is Fate.ACCEPTED and event.type == "m.room.member" and event.membership == "join":
            self.servers.add(domain_of(event.state_key or ""))

    def _alias(self, stored: StoredEvent, before: Line) -> None:
        """What refers to the old state before the event means the new one."""
        if stored.state_nid is not None and stored.state_nid != before.nid:
            self.moved[stored.state_nid] = before.nid
            self._lines.setdefault(stored.state_nid, before)

    def _place_for(self, existing: StoredEvent | None) -> int:
        assert existing is not None
        return existing.ordering if existing.ordering is not None else existing.nid

    def _number(self) -> int:
        return next(self._restart.numbers)

    async def _met(self, state_nids: Collection[int]) -> Line:
        if len(state_nids) > 1:
            await self._reads.forks.correct(self._meetings, self._accepted, self._rejected)
        return await super()._met(state_nids)

    async def _lines_of(self, state_nids: Collection[int]) -> list[Line]:
        return list({line.nid: line for line in await super()._lines_of(state_nids)}.values())


def in_graph_order(events: Sequence[StoredEvent]) -> list[StoredEvent]:
    """Each after those of them that it cites, otherwise as they came. What cites in a circle is left out."""
    by_id = {stored.event.event_id: stored for stored in events}
    lacking: dict[EventId, int] = {}
    citing: dict[EventId, list[EventId]] = {}
    for event_id, stored in by_id.items():
        cited = {name for name in stored.event.prev_event_ids if name in by_id}
        lacking[event_id] = len(cited)
        for name in cited:
            citing.setdefault(name, []).append(event_id)
    ready = [(_came(by_id[event_id]), event_id) for event_id, count in lacking.items() if count == 0]
    heapq.heapify(ready)
    ordered: list[StoredEvent] = []
    while ready:
        _, event_id = heapq.heappop(ready)
        ordered.append(by_id[event_id])
        for later in citing.get(event_id, ()):
            lacking[later] -= 1
            if lacking[later] == 0:
                heapq.heappush(ready, (_came(by_id[later]), later))
    return ordered


def _came(stored: StoredEvent) -> int:
    return stored.ordering if stored.ordering is not None else stored.nid
