"""Filters: which events, rooms and fields a client wants. spec: client-server-api/#filtering

`parse_filter` reads a filter from outside into frozen structs with bounded contents; `compile_event_filter` and
`compile_room_filter` make predicates of them, or None where everything passes, so that the common case costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from homeserver.core import canonical_json
from homeserver.core.errors import BadJson, InvalidParam
from homeserver.core.globs import WholeGlob
from homeserver.core.identifiers import ID_BYTES_MAX
from homeserver.core.property_paths import ABSENT, Path, parse_path, value_at

ENTRIES_MAX = 1_000
WILDCARD_ENTRIES_MAX = 50
FIELDS_MAX = 100
FIELD_CHARS_MAX = 1_024
FIELD_DEPTH_MAX = 20
FILTER_BYTES_MAX = 65_536
LIMIT_DEFAULT = 10
LIMIT_MAX = 100


class EventLike(Protocol):
    """What a filter asks of a room event."""

    @property
    def type(self) -> str: ...
    @property
    def sender(self) -> str: ...
    @property
    def room_id(self) -> str: ...
    @property
    def content(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomEventFilter:
    """Which events are wanted. None in a list of wanted things means all of them.

    Filters for presence and account data use the first half only, as the spec's EventFilter does.
    """

    limit: int | None = None
    types: tuple[str, ...] | None = None
    not_types: tuple[str, ...] = ()
    senders: frozenset[str] | None = None
    not_senders: frozenset[str] = frozenset()
    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    contains_url: bool | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False
    related_by_senders: frozenset[str] | None = None
    related_by_rel_types: frozenset[str] | None = None
    # How the event itself relates to another (MSC3874).
    rel_types: frozenset[str] | None = None
    not_rel_types: frozenset[str] = frozenset()

    @property
    def is_by_relations(self) -> bool:
        """Whether it wants only events that others relate to: no property of the event itself."""
        return self.related_by_senders is not None or self.related_by_rel_types is not None

    def limited(self, default: int = LIMIT_DEFAULT, most: int = LIMIT_MAX) -> int:
        """How many events to return at most."""
        return min(self.limit if self.limit is not None else default, most)


EventFilter = RoomEventFilter
ALL_EVENTS = RoomEventFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomFilter:
    """Which rooms are wanted, and which events in them."""

    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    include_leave: bool = False
    state: RoomEventFilter = ALL_EVENTS
    timeline: RoomEventFilter = ALL_EVENTS
    ephemeral: RoomEventFilter = ALL_EVENTS
    account_data: RoomEventFilter = ALL_EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A whole filter, as /sync takes it."""

    room: RoomFilter = field(default_factory=RoomFilter)
    presence: RoomEventFilter = ALL_EVENTS
    account_data: RoomEventFilter = ALL_EVENTS
    event_format: str = "client"
    event_fields: tuple[Path, ...] | None = None


def parse_filter(value: object) -> Filter:
    """The filter that this JSON says; unknown keys are ignored. Raises BadJson for types, InvalidParam for values.

    spec: client-server-api/#post_matrixclientv3useruseridfilter
    """
    whole = _object(value, "filter")
    if len(canonical_json.encode(whole)) > FILTER_BYTES_MAX:
        raise InvalidParam(f"a filter may have {FILTER_BYTES_MAX} bytes")
    event_format = whole.get("event_format", "client")
    if event_format not in ("client", "federation"):
        raise InvalidParam("event_format must be client or federation")
    room = _object(whole.get("room", {}), "room")
    return Filter(
        room=RoomFilter(
            rooms=_names(room, "rooms", "!"),
            not_rooms=_names(room, "not_rooms", "!") or frozenset(),
            include_leave=_flag(room, "include_leave") or False,
            state=parse_event_filter(room.get("state", {}), "room.state"),
            timeline=parse_event_filter(room.get("timeline", {}), "room.timeline"),
            ephemeral=parse_event_filter(room.get("ephemeral", {}), "room.ephemeral"),
            account_data=parse_event_filter(room.get("account_data", {}), "room.account_data"),
        ),
        presence=parse_event_filter(whole.get("presence", {}), "presence"),
        account_data=parse_event_filter(whole.get("account_data", {}), "account_data"),
        event_format=event_format,
        event_fields=_fields(whole),
    )


def parse_event_filter(value: object, name: str = "filter") -> RoomEventFilter:
    """A RoomEventFilter, as /messages and /context take it by itself. Raises BadJson or InvalidParam."""
    found = _object(value, name)
    limit = found.get("limit")
    if limit is not None and type(limit) is not int:
        raise BadJson(f"{name}.limit must be an integer")
    if limit is not None and limit < 0:
        raise InvalidParam(f"{name}.limit must be greater than 0, got {limit}")
    return RoomEventFilter(
        limit=limit,
        types=_types(found, "types"),
        not_types=_types(found, "not_types") or (),
        senders=_names(found, "senders", "@"),
        not_senders=_names(found, "not_senders", "@") or frozenset(),
        rooms=_names(found, "rooms", "!"),
        not_rooms=_names(found, "not_rooms", "!") or frozenset(),
        contains_url=_flag(found, "contains_url"),
        lazy_load_members=_flag(found, "lazy_load_members") or False,
        include_redundant_members=_flag(found, "include_redundant_members") or False,
        unread_thread_notifications=_flag(found, "unread_thread_notifications") or False,
        related_by_senders=_names(found, "related_by_senders", "@"),
        related_by_rel_types=_names(found, "related_by_rel_types", ""),
        rel_types=_names(found, "org.matrix.msc3874.rel_types", ""),
        not_rel_types=_names(found, "org.matrix.msc3874.not_rel_types", "") or frozenset(),
    )


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadJson(f"{name} must be an object")
    return value


def _flag(found: Mapping[str, Any], key: str) -> bool | None:
    value = found.get(key)
    if value is not None and type(value) is not bool:
        raise BadJson(f"{key} must be true or false")
    return value


def _strings(found: Mapping[str, Any], key: str, most: int = ENTRIES_MAX) -> list[str] | None:
    value = found.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise BadJson(f"{key} must be a list of strings")
    if len(value) > most:
        raise InvalidParam(f"{key} may have {most} entries, got {len(value)}")
    return value


def _names(found: Mapping[str, Any], key: str, sigil: str) -> frozenset[str] | None:
    entries = _strings(found, key)
    if entries is None:
        return None
    for entry in entries:
        if not entry.startswith(sigil) or len(entry) > ID_BYTES_MAX:
            raise InvalidParam(f"{key} must hold ids that start with {sigil!r}, of at most {ID_BYTES_MAX} bytes")
    return frozenset(entries)


def _types(found: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    entries = _strings(found, key)
    if entries is None:
        return None
    if any(len(entry) > ID_BYTES_MAX for entry in entries):
        raise InvalidParam(f"{key} must hold event types of at most {ID_BYTES_MAX} bytes")
    if sum("*" in entry for entry in entries) > WILDCARD_ENTRIES_MAX:
        raise InvalidParam(f"{key} may have {WILDCARD_ENTRIES_MAX} entries with wildcards")
    return tuple(entries)


def _fields(whole: Mapping[str, Any]) -> tuple[Path, ...] | None:
    entries = _strings(whole, "event_fields", FIELDS_MAX)
    if entries is None:
        return None
    if any(len(entry) > FIELD_CHARS_MAX for entry in entries):
        raise InvalidParam(f"event_fields must hold paths of at most {FIELD_CHARS_MAX} characters")
    paths = tuple(map(parse_path, entries))
    if any(len(path) > FIELD_DEPTH_MAX for path in paths):
        raise InvalidParam(f"event_fields must hold paths of at most {FIELD_DEPTH_MAX} names")
    wanted = frozenset(paths)
    return tuple(path for path in paths if not any(path[:end] in wanted for end in range(1, len(path))))


TypePredicate = Callable[[str], bool]
EventPredicate = Callable[[EventLike], bool]


def compile_types(wanted: Collection[str] | None, unwanted: Collection[str]) -> TypePredicate | None:
    """Whether a type passes `types` and `not_types`; None if every type does."""
    include = _type_matcher(wanted) if wanted is not None else None
    exclude = _type_matcher(unwanted) if unwanted else None
    if include is None:
        return None if exclude is None else lambda event_type: not exclude(event_type)
    if exclude is None:
        return include
    return lambda event_type: include(event_type) and not exclude(event_type)


def _type_matcher(entries: Collection[str]) -> TypePredicate:
    exact = frozenset(entry for entry in entries if "*" not in entry)
    # Here `*` is the only wildcard, unlike in push rules: a `?` stands for itself.
    globs = [_TypeGlob(entry) for entry in entries if "*" in entry]
    if not globs:
        return exact.__contains__
    return lambda event_type: event_type in exact or any(glob.matches(event_type) for glob in globs)


class _TypeGlob:
    """A pattern in which only `*` is special, matched with regard to case."""

    __slots__ = ("_glob",)

    # Stands for a literal question mark on both sides; no text from outside holds it.
    _QUESTION = "\ud801"

    def __init__(self, pattern: str) -> None:
        self._glob = WholeGlob(pattern.replace("?", self._QUESTION), folded=False)

    def matches(self, text: str) -> bool:
        return self._glob.matches(text.replace("?", self._QUESTION))


def compile_event_filter(wanted: RoomEventFilter) -> EventPredicate | None:
    """Whether a room event passes; None if every event does.

    Leaves to the caller what isn't a property of the event: `related_by_*`, limits and lazy loading.
    """
    checks: list[EventPredicate] = []
    types = compile_types(wanted.types, wanted.not_types)
    if types is not None:
        checks.append(lambda event: types(event.type))
    senders = _membership(wanted.senders, wanted.not_senders)
    if senders is not None:
        checks.append(lambda event: senders(event.sender))
    rooms = _membership(wanted.rooms, wanted.not_rooms)
    if rooms is not None:
        checks.append(lambda event: rooms(event.room_id))
    if wanted.contains_url is not None:
        contains_url = wanted.contains_url
        checks.append(lambda event: isinstance(event.content.get("url"), str) is contains_url)
    rel_types = _membership(wanted.rel_types, wanted.not_rel_types)
    if rel_types is not None:
        checks.append(lambda event: rel_types(_rel_type(event)))
    if not checks:
        return None
    if len(checks) == 1:
        return checks[0]
    return lambda event: all(check(event) for check in checks)


def _rel_type(event: EventLike) -> str:
    """How an event says that it relates to another; empty where it doesn't."""
    relates_to = event.content.get("m.relates_to")
    rel_type = relates_to.get("rel_type") if isinstance(relates_to, dict) else None
    return rel_type if isinstance(rel_type, str) else ""


def compile_room_filter(wanted: RoomFilter | RoomEventFilter) -> Callable[[str], bool] | None:
    """Whether a room passes by its id; None if every room does."""
    return _membership(wanted.rooms, wanted.not_rooms)


def compile_sender_filter(wanted: RoomEventFilter) -> Callable[[str], bool] | None:
    """Whether a sender passes by the user id; None if everybody does. For presence, which has no event of a room."""
    return _membership(wanted.senders, wanted.not_senders)


def compile_own_filter(wanted: RoomEventFilter, owner: str) -> TypePredicate:
    """Whether an entry of somebody's account data passes by its type; its sender can only be its owner."""
    senders = compile_sender_filter(wanted)
    if senders is not None and not senders(owner):
        return lambda event_type: False
    return compile_types(wanted.types, wanted.not_types) or (lambda event_type: True)


def _membership(wanted: frozenset[str] | None, unwanted: frozenset[str]) -> Callable[[str], bool] | None:
    if wanted is not None:
        return (wanted - unwanted).__contains__
    if unwanted:
        return lambda value: value not in unwanted
    return None


def matches_room_event(wanted: RoomEventFilter, event: EventLike) -> bool:
    """Whether this one event passes. For many, compile the filter once."""
    check = compile_event_filter(wanted)
    return check is None or check(event)


def with_fields(event: Mapping[str, Any], fields: tuple[Path, ...] | None) -> Mapping[str, Any]:
    """The client event with only these fields. Copies what it keeps in part; no field may lie within another."""
    if fields is None:
        return event
    kept: dict[str, Any] = {}
    for path in fields:
        value = value_at(event, path)
        if value is ABSENT:
            continue
        place = kept
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = value
    return kept
