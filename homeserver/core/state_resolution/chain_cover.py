"""A cover of a room's auth graph by chains, from which auth chain differences are read without walking the graph.

Each event has a place: a chain, and a number in it. It has all earlier events of its chain in its auth chain, and what
the links of the chain up to its number lead to. So an auth chain is one number for each chain that it touches, and the
difference of several is a range in each. A cover grows by one event at a time and never changes what it said, so that
places and links can be kept in tables as they come.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from homeserver.core.errors import MissingEvents
from homeserver.core.identifiers import EventId


class Place(NamedTuple):
    """Where an event stands: numbers start at 1."""

    chain: int
    number: int


class Link(NamedTuple):
    """From its number on, a chain has what another has up to a number of its own."""

    chain: int
    number: int
    to_chain: int
    to_number: int


@dataclass(frozen=True, slots=True)
class Range:
    """The events of a chain that come after one number, up to and with another."""

    chain: int
    after: int
    up_to: int


Reach = Mapping[int, int]
"""An auth chain: the highest number of each chain that it touches."""


class ChainCover:
    """The places and links of the events that it was given; in memory a few dozen bytes an event."""

    __slots__ = ("_direct", "_events", "_incoming", "_links", "_places")

    def __init__(self) -> None:
        self._places: dict[EventId, Place] = {}
        self._events: dict[int, list[EventId]] = {}
        self._links: dict[int, list[Link]] = {}
        self._incoming: dict[int, dict[int, list[Place]]] = {}
        # The furthest number of another chain that a chain already has a link to: shorter links add nothing.
        self._direct: dict[int, dict[int, int]] = {}

    @classmethod
    def of(cls, places: Iterable[tuple[EventId, Place]], links: Iterable[Link]) -> ChainCover:
        """A cover as it was kept. The places of a chain must be complete from 1 up."""
        cover = cls()
        for event_id, place in sorted(places, key=lambda entry: entry[1]):
            cover._put(event_id, place)
        for link in sorted(links):
            cover._connect(link)
        return cover

    def __contains__(self, event_id: EventId) -> bool:
        return event_id in self._places

    def place(self, event_id: EventId) -> Place:
        """Raises MissingEvents if the event isn't in the cover."""
        place = self._places.get(event_id)
        if place is None:
            raise MissingEvents((event_id,))
        return place

    def add(self, event_id: EventId, auth_ids: Sequence[EventId]) -> tuple[Place, list[Link]]:
        """Gives an event its place, after all that it cites got theirs; returns what to keep of it.

        It continues the longest chain of which it cites the end, else it starts one. Raises MissingEvents.
        """
        missing = [auth_id for auth_id in auth_ids if auth_id not in self._places]
        if missing:
            raise MissingEvents(missing)
        if event_id in self._places:
            return self._places[event_id], []
        cited = [self._places[auth_id] for auth_id in auth_ids]
        ends = [place for place in cited if len(self._events[place.chain]) == place.number]
        before = max(ends, key=lambda place: (place.number, -place.chain), default=None)
        place = Place(before.chain, before.number + 1) if before else Place(len(self._events) + 1, 1)
        self._put(event_id, place)
        direct = self._direct[place.chain]
        links = []
        for target in sorted(set(cited), reverse=True):
            if target.chain != place.chain and direct.get(target.chain, 0) < target.number:
                link = Link(*place, *target)
                self._connect(link)
                links.append(link)
        return place, links

    def reach(self, event_ids: Iterable[EventId]) -> dict[int, int]:
        """The auth chains of these events together, themselves included. Each link is looked at once at most."""
        reached: dict[int, int] = {}
        waiting = [self.place(event_id) for event_id in event_ids]
        while waiting:
            chain, number = waiting.pop()
            known = reached.get(chain, 0)
            if number <= known:
                continue
            reached[chain] = number
            links = self._links[chain]
            start = bisect_right(links, known, key=lambda link: link.number)
            end = bisect_right(links, number, key=lambda link: link.number)
            waiting.extend(Place(link.to_chain, link.to_number) for link in links[start:end])
        return reached

    def is_behind(self, event_id: EventId, reach: Reach) -> bool:
        """Whether the event is part of this auth chain."""
        place = self.place(event_id)
        return place.number <= reach.get(place.chain, 0)

    def differences(self, reaches: Sequence[Reach], *, common: Reach | None = None) -> list[Range]:
        """What is in some of these auth chains and not in all; `common` is what all have besides.

        Equals `auth_difference`, with the reach of each state's conflicted events and that of the shared ones.
        """
        shared = common or {}
        ranges = []
        for chain in sorted({chain for reach in reaches for chain in reach}):
            numbers = [reach.get(chain, 0) for reach in reaches]
            after = max(min(numbers), shared.get(chain, 0))
            if after < max(numbers):
                ranges.append(Range(chain, after, max(numbers)))
        return ranges

    def events_in(self, ranges: Iterable[Range]) -> set[EventId]:
        return {event_id for part in ranges for event_id in self._events[part.chain][part.after : part.up_to]}

    def auth_difference(self, sets: Sequence[Iterable[EventId]], *, shared: Iterable[EventId] = ()) -> set[EventId]:
        """As the function of this name: by one look at each link between the chains, not by a walk over the events."""
        return self.events_in(self.differences([self.reach(ids) for ids in sets], common=self.reach(shared)))

    def difference_of_states(
        self, conflicted_sets: Sequence[Iterable[EventId]], is_shared: Callable[[EventId], bool]
    ) -> set[EventId]:
        """The auth difference of whole states, given their conflicted events and which events all of them have.

        Costs nothing for what the states agree on, however much that is: only what the conflict reaches is looked at,
        and of the events that cite it as many as it takes to find one that all states have.
        """
        found = self.differences([self.reach(ids) for ids in conflicted_sets])
        return {event_id for part in found for event_id in self._not_leading(part, is_shared)}

    def _not_leading(self, part: Range, is_target: Callable[[EventId], bool]) -> list[EventId]:
        """Those of a part of a chain that lead to no event of this kind.

        Each event of a chain cites the one before it: where one leads there, so do all before it.
        """
        events = self._events[part.chain][part.after : part.up_to]
        low, high = 0, len(events)
        while low < high:
            middle = (low + high) // 2
            if self._leads_to(events[middle], is_target):
                low = middle + 1
            else:
                high = middle
        return events[low:]

    def _leads_to(self, event_id: EventId, is_target: Callable[[EventId], bool]) -> bool:
        """Whether the event is in the auth chain of some event of this kind, or is one itself."""
        seen: dict[int, int] = {}
        waiting = [iter((self.place(event_id),))]
        while waiting:
            place = next(waiting[-1], None)
            if place is None:
                waiting.pop()
                continue
            events = self._events[place.chain]
            end = seen.get(place.chain, len(events) + 1)
            if place.number < end:
                seen[place.chain] = place.number
                if any(is_target(later) for later in events[place.number - 1 : end - 1]):
                    return True
                waiting.append(self._citing(place.chain, range(place.number, end)))
        return False

    def _citing(self, chain: int, numbers: Iterable[int]) -> Iterator[Place]:
        """The places of other chains that have a link to one of these numbers of this chain."""
        incoming = self._incoming[chain]
        return (place for number in numbers for place in incoming.get(number, ()))

    def _put(self, event_id: EventId, place: Place) -> None:
        events = self._events.setdefault(place.chain, [])
        if len(events) + 1 != place.number:
            raise ValueError(f"chain {place.chain} has {len(events)} events, and {place.number} should come next")
        events.append(event_id)
        self._places[event_id] = place
        self._links.setdefault(place.chain, [])
        self._incoming.setdefault(place.chain, {})
        self._direct.setdefault(place.chain, {})

    def _connect(self, link: Link) -> None:
        self._links[link.chain].append(link)
        self._incoming[link.to_chain].setdefault(link.to_number, []).append(Place(link.chain, link.number))
        direct = self._direct[link.chain]
        direct[link.to_chain] = max(direct.get(link.to_chain, 0), link.to_number)
