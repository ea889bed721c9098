"""Which rooms a request asks for, and how: lists and subscriptions put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce

from homeserver.core.identifiers import RoomId, UserId
from homeserver.sync.sliding.connections import Connection, SentState
from homeserver.sync.sliding.request import (
    EVERY,
    NO_FILTER,
    ListConfig,
    RoomConfig,
    RoomSubscription,
    Scoped,
    SlidingBody,
    config_of,
)
from homeserver.sync.sliding.room_lists import RoomList, UserLists

# With more different wishes than this in one request, all rooms get what any of them asks for.
CONFIGS_MAX = 32
# Places of lists that are gone through for one request; the rest has to wait until lists that were sent whole drop out.
PLACES_MAX = 20_000


@dataclass(slots=True)
class Asked:
    """One room that is asked for by name or by its place in a list."""

    config: RoomConfig
    lists: list[str] = field(default_factory=list)
    is_subscribed: bool = False


@dataclass(frozen=True, slots=True)
class Whole:
    """A list that is asked for whole, and of which the client has every room."""

    name: str
    rooms: RoomList
    config: RoomConfig


@dataclass(slots=True)
class Relevant:
    """All rooms that a request asks for."""

    named: dict[RoomId, Asked] = field(default_factory=dict)
    whole: list[Whole] = field(default_factory=list)
    # Of each list that is asked for whole: what it is now. Once all is sent it needn't be gone through again.
    marks: dict[str, object] = field(default_factory=dict)

    def find(self, room_id: RoomId) -> Asked | None:
        """How a room is asked for, if at all."""
        asked = self.named.get(room_id)
        for whole in self.whole:
            if room_id in whole.rooms.rooms:
                if asked is None:
                    asked = Asked(whole.config, [whole.name])
                elif whole.name not in asked.lists:
                    config = asked.config.union(whole.config)
                    asked = Asked(config, [*asked.lists, whole.name], asked.is_subscribed)
        return asked

    def scope(self, wish: Scoped) -> Callable[[RoomId], bool]:
        """Whether an extension is wanted for a room."""
        lists, rooms = wish.lists or (), wish.rooms or ()

        def is_wanted(room_id: RoomId) -> bool:
            asked = self.find(room_id)
            if asked is None:
                return False
            if asked.is_subscribed and (EVERY in rooms or room_id in rooms):
                return True
            return bool(asked.lists) if EVERY in lists else any(name in lists for name in asked.lists)

        return is_wanted

    def everything(self) -> Iterator[RoomId]:
        """All rooms asked for; one may come twice."""
        yield from self.named
        for whole in self.whole:
            yield from whole.rooms.rooms


class Reader:
    """Puts a request's lists and subscriptions together."""

    def __init__(self, viewer: UserId, body: SlidingBody) -> None:
        lists, subscriptions = body.lists or {}, body.room_subscriptions or {}
        wanted: list[ListConfig | RoomSubscription] = [*lists.values(), *subscriptions.values()]
        made: dict[object, RoomConfig] = {}
        for one in wanted:
            key = (one.timeline_limit, one.required_state)
            if key not in made:
                made[key] = config_of(one, viewer)
        self._all = reduce(RoomConfig.union, made.values()) if made else None
        if len(made) > CONFIGS_MAX and self._all is not None:
            made = dict.fromkeys(made, self._all)
        self._lists = {name: (one, made[one.timeline_limit, one.required_state]) for name, one in lists.items()}
        self._subscriptions = {
            RoomId(room_id): made[one.timeline_limit, one.required_state] for room_id, one in subscriptions.items()
        }
        self._unions: dict[tuple[RoomConfig, RoomConfig], RoomConfig] = {}

    def read(self, known: UserLists, connection: Connection, sent: SentState) -> tuple[Relevant, Mapping[str, int]]:
        """The rooms that are asked for now, and how many each list has."""
        relevant = Relevant()
        for room_id, config in self._subscriptions.items():
            if room_id in known.entries:
                relevant.named[room_id] = Asked(config, is_subscribed=True)
        counts: dict[str, int] = {}
        left = PLACES_MAX
        for name, (one, config) in self._lists.items():
            rooms = known.lists[one.filters or NO_FILTER]
            total = counts[name] = len(rooms.rooms)
            windows = one.windows()
            if windows is None or any(first == 0 and last >= total - 1 for first, last in windows):
                mark = relevant.marks[name] = (rooms.version, config, one.filters)
                done = connection.complete.get(name)
                if done is not None and done[0] <= sent.number and done[1] == mark:
                    relevant.whole.append(Whole(name, rooms, config))
                    continue
                windows = ((0, total),)
            found = rooms.window(windows, left)
            left -= len(found)
            if left <= 0:
                relevant.marks.pop(name, None)
            for room_id in found:
                self._ask(relevant, room_id, name, config)
        return relevant, counts

    def _ask(self, relevant: Relevant, room_id: RoomId, name: str, config: RoomConfig) -> None:
        asked = relevant.named.get(room_id)
        if asked is None:
            relevant.named[room_id] = Asked(config, [name])
            return
        if asked.config is not config:
            pair = (asked.config, config)
            union = self._unions.get(pair)
            if union is None and len(self._unions) >= CONFIGS_MAX and self._all is not None:
                union = self._all
            elif union is None:
                union = self._unions[pair] = asked.config.union(config)
            asked.config = union
        if name not in asked.lists:
            asked.lists.append(name)
