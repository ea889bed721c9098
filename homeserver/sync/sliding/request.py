"""The body of a sliding sync request, and what it asks of each room.

Both forms that clients send are taken: `ranges` and pairs as required state (what clients send today), and `range` and
an object (the newer text of MSC4186).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from homeserver.core.errors import BadJson, InvalidParam
from homeserver.core.identifiers import UserId

LISTS_MAX = 100
SUBSCRIPTIONS_MAX = 1_000
TIMELINE_MAX = 200
EVERY, LAZY, ME = "*", "$LAZY", "$ME"
MEMBER = "m.room.member"

Short = Annotated[str, Meta(max_length=255)]
Number = Annotated[int, Meta(ge=0, le=2**53)]
Limit = Annotated[int, Meta(ge=0, le=1_000)]
Range = tuple[Number, Number]


class StateElement(msgspec.Struct, frozen=True):
    type: Short | None = None
    state_key: Short | None = None


class StateRequest(msgspec.Struct, frozen=True):
    """Required state in the newer form."""

    include: Annotated[tuple[StateElement, ...], Meta(max_length=300)] = ()
    exclude: Annotated[tuple[StateElement, ...], Meta(max_length=300)] = ()
    lazy_members: bool = False


RequiredState = Annotated[tuple[tuple[Short, Short], ...], Meta(max_length=300)] | StateRequest


class RoomFilter(msgspec.Struct, frozen=True):
    """Which rooms a list has. A field that isn't there filters nothing."""

    is_dm: bool | None = None
    spaces: Annotated[tuple[Short, ...], Meta(max_length=100)] | None = None
    is_encrypted: bool | None = None
    is_invite: bool | None = None
    is_invited: bool | None = None
    room_types: Annotated[tuple[Short | None, ...], Meta(max_length=100)] | None = None
    not_room_types: Annotated[tuple[Short | None, ...], Meta(max_length=100)] | None = None
    tags: Annotated[tuple[Short, ...], Meta(max_length=100)] | None = None
    not_tags: Annotated[tuple[Short, ...], Meta(max_length=100)] | None = None


NO_FILTER = RoomFilter()


class RoomSubscription(msgspec.Struct, frozen=True):
    timeline_limit: Limit
    required_state: RequiredState = ()


class ListConfig(msgspec.Struct, frozen=True):
    timeline_limit: Limit
    required_state: RequiredState = ()
    ranges: Annotated[tuple[Range, ...], Meta(max_length=100)] | None = None
    range: Range | None = None
    slow_get_all_rooms: bool = False
    filters: RoomFilter | None = None

    def windows(self) -> tuple[Range, ...] | None:
        """The ranges asked for; None for the whole list."""
        if self.slow_get_all_rooms:
            return None
        return (self.range,) if self.range is not None else self.ranges


class Scoped(msgspec.Struct, frozen=True):
    """An extension that can be kept to some lists and subscriptions."""

    enabled: bool | None = False
    lists: Annotated[tuple[Short, ...], Meta(max_length=100)] | None = (EVERY,)
    rooms: Annotated[tuple[Short, ...], Meta(max_length=SUBSCRIPTIONS_MAX)] | None = (EVERY,)


class ToDeviceWish(msgspec.Struct, frozen=True):
    enabled: bool | None = False
    since: Short | None = None
    limit: Annotated[int, Meta(ge=0, le=2**53)] = 100


class Switch(msgspec.Struct, frozen=True):
    enabled: bool | None = False


class Counted(msgspec.Struct, frozen=True):
    enabled: bool | None = False
    limit: Annotated[int, Meta(ge=0, le=2**53)] = 100


class StickyWish(msgspec.Struct, frozen=True):
    enabled: bool | None = False
    since: Short | None = None
    limit: Annotated[int, Meta(ge=0, le=2**53)] = 100


class Extensions(msgspec.Struct, frozen=True):
    to_device: ToDeviceWish | None = None
    e2ee: Switch | None = None
    account_data: Scoped | None = None
    receipts: Scoped | None = None
    typing: Scoped | None = None
    thread_subscriptions: Counted | None = msgspec.field(default=None, name="io.element.msc4308.thread_subscriptions")
    sticky_events: StickyWish | None = msgspec.field(default=None, name="org.matrix.msc4354.sticky_events")


NO_EXTENSIONS = Extensions()


class SlidingBody(msgspec.Struct, frozen=True):
    conn_id: Short | None = None
    pos: Short | None = None
    timeout: Number | None = None
    set_presence: str | None = None
    lists: dict[Short, ListConfig] | None = None
    room_subscriptions: dict[Short, RoomSubscription] | None = None
    extensions: Extensions | None = None

    def check(self) -> None:
        """Raises InvalidParam, BadJson for what the types alone don't tell."""
        if "\x00" in (self.conn_id or ""):
            raise InvalidParam("conn_id must not hold NUL")
        if len(self.lists or ()) > LISTS_MAX:
            raise InvalidParam(f"one request may have {LISTS_MAX} lists")
        if len(self.room_subscriptions or ()) > SUBSCRIPTIONS_MAX:
            raise InvalidParam(f"one request may have {SUBSCRIPTIONS_MAX} subscriptions")
        for name, wanted in (self.lists or {}).items():
            for first, last in wanted.windows() or ():
                if last < first:
                    raise BadJson(f"the list {name} has a range that ends before it begins")


@dataclass(frozen=True, slots=True)
class WantedState:
    """Which state of a room is asked for; `EVERY` stands for any type or any key."""

    pairs: frozenset[tuple[str, str]] = frozenset()
    excluded: frozenset[tuple[str, str]] = frozenset()
    is_lazy: bool = False

    @property
    def has_wildcard(self) -> bool:
        return any(EVERY in pair for pair in self.pairs)

    def exact(self) -> list[tuple[str, str]]:
        """The pairs that name one piece of state each."""
        return [pair for pair in self.pairs if EVERY not in pair]

    def wants(self, kind: str, key: str) -> bool:
        pairs = self.pairs
        if (kind, key) in pairs or (kind, EVERY) in pairs:
            pass
        elif (EVERY, EVERY) in pairs or (EVERY, key) in pairs:
            # Members that are loaded lazily aren't among "everything".
            if self.is_lazy and kind == MEMBER:
                return False
        else:
            return False
        excluded = self.excluded
        return not excluded or not any(
            pair in excluded for pair in ((kind, key), (kind, EVERY), (EVERY, key), (EVERY, EVERY))
        )

    def covers(self, other: WantedState) -> bool:
        """Whether who has been sent this lacks nothing of `other`."""
        if self.excluded - other.excluded or (other.is_lazy and not self.is_lazy):
            return False
        if other.is_lazy == self.is_lazy and other.pairs <= self.pairs:
            return True
        lacks_members = self.is_lazy and (MEMBER, EVERY) not in self.pairs

        def has(kind: str, key: str) -> bool:
            if kind != EVERY and not self.pairs.isdisjoint(((kind, key), (kind, EVERY))):
                return True
            # Of "everything" members are left out where they come lazily.
            if lacks_members and (kind == MEMBER or (kind == EVERY and not other.is_lazy)):
                return False
            return not self.pairs.isdisjoint(((EVERY, key), (EVERY, EVERY)))

        return all(has(kind, key) for kind, key in other.pairs)

    def union(self, other: WantedState) -> WantedState:
        pairs = self.pairs | other.pairs
        if self.is_lazy != other.is_lazy and any(not one.is_lazy and one.wants(MEMBER, "@") for one in (self, other)):
            # Who wants all members gets them, whatever else is asked of the room.
            pairs |= {(MEMBER, EVERY)}
        return WantedState(pairs, self.excluded & other.excluded, self.is_lazy or other.is_lazy)


@dataclass(frozen=True, slots=True)
class RoomConfig:
    """What a room's answer shall have: the union of what all lists and subscriptions ask of it."""

    timeline_limit: int
    state: WantedState

    def union(self, other: RoomConfig) -> RoomConfig:
        if self is other or self == other:
            return self
        return RoomConfig(max(self.timeline_limit, other.timeline_limit), self.state.union(other.state))


def config_of(wanted: ListConfig | RoomSubscription, viewer: UserId) -> RoomConfig:
    limit = min(wanted.timeline_limit, TIMELINE_MAX)
    required = wanted.required_state
    if isinstance(required, StateRequest):
        included, excluded = _pairs(required.include, viewer), _pairs(required.exclude, viewer)
        return RoomConfig(limit, WantedState(included, excluded, required.lazy_members))
    is_lazy = (MEMBER, LAZY) in required
    pairs = frozenset((kind, viewer if key == ME else key) for kind, key in required if key != LAZY)
    return RoomConfig(limit, WantedState(pairs, frozenset(), is_lazy))


def _pairs(elements: Iterable[StateElement], viewer: UserId) -> frozenset[tuple[str, str]]:
    return frozenset(
        (
            EVERY if element.type is None else element.type,
            EVERY if element.state_key is None else viewer if element.state_key == ME else element.state_key,
        )
        for element in elements
    )
