"""The conditions of push rules, compiled, and the event as they see it. spec: client-server-api/#conditions-1

What a condition asks of the event alone is worked out once per event and shared by all members of its room.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from homeserver.core.events import Event
from homeserver.core.globs import WholeGlob, WordGlob, Words, fold
from homeserver.core.identifiers import localpart_of
from homeserver.core.property_paths import ABSENT, Path, parse_path, value_at

OWN_USER_ID = "\ud800user_id"
"""Stands in server-default rules where the user's own id belongs. No text from outside equals it."""
OWN_LOCALPART = "\ud800localpart"
"""Likewise, for the part of the id before the colon."""

THREAD_SUBSCRIPTION = "io.element.msc4306.thread_subscription"

_BODY: Path = ("content", "body")
_MENTIONS: Path = ("content", "m.mentions")
_DEFAULT_NOTIFICATION_LEVEL = 50


_UNSEEN: Any = object()


class EventView:
    """An event as push rules see it. Make one per event and use it for every user: it remembers what it worked out."""

    __slots__ = ("_folded", "_properties", "_seen", "_strings", "_words", "followers", "room_id", "sender", "settled")

    def __init__(self, properties: Mapping[str, Any]) -> None:
        """`properties` has the keys of a client event: type, sender, room_id, content, perhaps state_key."""
        self._properties = properties
        self.sender: str = properties["sender"]
        self.room_id: str = properties["room_id"]
        self._seen: dict[Path, Any] = {}
        self._folded: dict[Path, str | None] = {}
        self._strings: dict[Path, frozenset[str]] = {}
        self._words: Words | None = None
        # Who follows the event's thread; None where it is in none, or that isn't known.
        self.followers: Container[str] | None = None
        # What rules shared by many users come to for this event, by the identity of their holder.
        self.settled: dict[object, Any] = {}

    @classmethod
    def of(cls, event: Event) -> EventView:
        properties: dict[str, Any] = {
            "type": event.type,
            "sender": event.sender,
            "room_id": event.room_id,
            "content": event.content,
            "event_id": event.event_id,
            "origin_server_ts": event.origin_server_ts,
        }
        if event.state_key is not None:
            properties["state_key"] = event.state_key
        return cls(properties)

    def value(self, path: Path) -> Any:
        """What stands at this path, or ABSENT."""
        seen = self._seen.get(path, _UNSEEN)
        if seen is _UNSEEN:
            seen = self._seen[path] = value_at(self._properties, path)
        return seen

    def folded(self, path: Path) -> str | None:
        """The string at this path, folded for comparison; None where there is no string."""
        folded: str | None = self._folded.get(path, _UNSEEN)
        if folded is _UNSEEN:
            value = self.value(path)
            folded = self._folded[path] = fold(value) if isinstance(value, str) else None
        return folded

    def strings(self, path: Path) -> frozenset[str]:
        """The strings in the list at this path; empty where there is no list."""
        if path not in self._strings:
            entries = self.value(path)
            found = (entry for entry in entries if isinstance(entry, str)) if isinstance(entries, list) else ()
            self._strings[path] = frozenset(found)
        return self._strings[path]

    @property
    def mentions_by_text(self) -> Words | None:
        """Its body, where it doesn't say whom it mentions, so that the names in it may: None where it does."""
        return self.body if self.value(_MENTIONS) is ABSENT else None

    @property
    def body(self) -> Words | None:
        """`content.body`, ready for searches by word; None where it is no string."""
        if self._words is None:
            value = self.value(_BODY)
            if not isinstance(value, str):
                return None
            self._words = Words(value)
        return self._words


@dataclass(frozen=True, slots=True)
class Recipient:
    """What conditions ask beside the event: who would be notified, and the room as it is."""

    user_id: str
    display_name: str | None
    member_count: int
    sender_power: float
    power_levels: Mapping[str, Any] | None
    """The content of m.room.power_levels, or None where the room has none."""


class Condition(Protocol):
    of_event_alone: bool
    """Whether the answer is the same for every recipient."""

    def holds(self, event: EventView, recipient: Recipient) -> bool: ...


class _Never:
    """A condition that isn't known, or isn't well formed: it matches no event."""

    of_event_alone = True

    def holds(self, event: EventView, recipient: Recipient) -> bool:
        return False


class _Match:
    """event_match on a property other than the body, with a pattern."""

    of_event_alone = True

    def __init__(self, path: Path, pattern: str) -> None:
        self._path = path
        self._glob = WholeGlob(pattern)

    def holds(self, event: EventView, recipient: Recipient) -> bool:
        value = event.folded(self._path)
        return value is not None and self._glob.matches(value)


class _MatchOwnId:
    """event_match with the recipient's user id as pattern, as the server-default rules have it."""

    of_event_alone = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def holds(self, event: EventView, recipient: Recipient) -> bool:
        return bool(event.value(self._path) == recipient.user_id)


class _MatchBody:
    """event_match on `content.body`: the pattern matches whole words within it."""

    of_event_alone = True

    def __init__(self, pattern: str) -> None:
        self._glob = WordGlob(pattern)

    def holds(self, event: EventView, recipient: Recipient) -> bool:
        body = event.body
        return body is not None and self._glob.matches(body)


class _PropertyIs:
    of_event_alone = True

    def __init__(self, path: Path, value: object) -> None:
        self._path = path
        self._value = value

    def holds(self, event: EventView, recipient: Recipient) -> bool:
        return _same(event.value(self._path), self._value)


class _PropertyContains:
    of_event_alone = True

    def __init__(self, path: Path, value: object) -> None:
        self._path = path
        self._value = value

    def holds(self, event: EventView, recipient: Recipient) -> bool:
        entries = event.value(self._path)
        return isinstance(entries, list) and any(_same(entry, self._value) for entry in entries)


class _ContainsOwnId:
    """event_property_contains with the recipient's user id."""

    of_event_alone = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def holds(self, event: EventView, recipient: Recipient) -> bool:
        return recipient.user_id in event.strings(self._path)


class _ContainsDisplayName:
    of_event_alone = False

    def holds(self, event: EventView, recipient: Recipient) -> bool:
        if not recipient.display_name or event.body is None:
            return False
        # The name is no pattern: its `*` and `?` stand for themselves.
        return event.body.has_whole(recipient.display_name)


class _ContainsOwnLocalpart:
    """`content.body` has the recipient's localpart in it, as a word."""

    of_event_alone = False

    def holds(self, event: EventView, recipient: Recipient) -> bool:
        localpart = localpart_of(recipient.user_id)
        return localpart != "" and event.body is not None and event.body.has_whole(localpart)


class _NoMentions:
    """The event doesn't say whom it mentions, in whatever form."""

    of_event_alone = True

    def holds(self, event: EventView, recipient: Recipient) -> bool:
        return event.value(_MENTIONS) is ABSENT


class _MemberCount:
    of_event_alone = False

    def __init__(self, holds: Callable[[int], bool]) -> None:
        self._holds = holds

    def holds(self, event: EventView, recipient: Recipient) -> bool:
        return self._holds(recipient.member_count)


class _SenderMayNotify:
    of_event_alone = False

    def __init__(self, key: str) -> None:
        self._key = key

    def holds(self, event: EventView, recipient: Recipient) -> bool:
        levels = (recipient.power_levels or {}).get("notifications")
        needed = levels.get(self._key) if isinstance(levels, Mapping) else None
        return recipient.sender_power >= _level(needed)


class _ThreadSubscription:
    """The event is in a thread that the recipient follows, or doesn't (MSC4306)."""

    of_event_alone = False

    def __init__(self, subscribed: bool) -> None:
        self._subscribed = subscribed

    def holds(self, event: EventView, recipient: Recipient) -> bool:
        return event.followers is not None and (recipient.user_id in event.followers) is self._subscribed


def _level(value: object) -> int:
    """A notification level, which rooms before version 10 may also write as a string."""
    if type(value) is int:
        return value
    if isinstance(value, str) and len(value) <= 16 and value.strip().lstrip("+-").isdecimal() and value.isascii():
        try:
            return int(value)
        except ValueError:
            return _DEFAULT_NOTIFICATION_LEVEL
    return _DEFAULT_NOTIFICATION_LEVEL


def _same(one: object, other: object) -> bool:
    """Whether these are the same plain JSON value; 1 and true are not."""
    return type(one) is type(other) and one == other


def _is_plain(value: object) -> bool:
    return value is None or type(value) in (str, int, bool)


def _member_count(condition: Mapping[str, Any]) -> Condition:
    wanted = condition.get("is")
    if not isinstance(wanted, str):
        return NEVER
    digits = wanted.lstrip("=<>")
    sign = wanted[: len(wanted) - len(digits)]
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 16):
        return NEVER
    number = int(digits)
    tests: dict[str, Callable[[int], bool]] = {
        "": number.__eq__,
        "==": number.__eq__,
        "<": number.__gt__,
        ">": number.__lt__,
        "<=": number.__ge__,
        ">=": number.__le__,
    }
    return _MemberCount(tests[sign]) if sign in tests else NEVER


def _event_match(condition: Mapping[str, Any]) -> Condition:
    key, pattern = condition.get("key"), condition.get("pattern")
    if not isinstance(key, str) or not isinstance(pattern, str):
        return NEVER
    path = parse_path(key)
    if pattern == OWN_USER_ID:
        return _MatchOwnId(path)
    return _MatchBody(pattern) if path == _BODY else _Match(path, pattern)


def _event_property_is(condition: Mapping[str, Any]) -> Condition:
    key = condition.get("key")
    if not isinstance(key, str) or "value" not in condition or not _is_plain(condition["value"]):
        return NEVER
    return _PropertyIs(parse_path(key), condition["value"])


def _event_property_contains(condition: Mapping[str, Any]) -> Condition:
    key = condition.get("key")
    if not isinstance(key, str) or "value" not in condition or not _is_plain(condition["value"]):
        return NEVER
    if condition["value"] == OWN_USER_ID:
        return _ContainsOwnId(parse_path(key))
    return _PropertyContains(parse_path(key), condition["value"])


def _sender_notification_permission(condition: Mapping[str, Any]) -> Condition:
    key = condition.get("key")
    return _SenderMayNotify(key) if isinstance(key, str) else NEVER


def _thread_subscription(condition: Mapping[str, Any]) -> Condition:
    subscribed = condition.get("subscribed")
    return _ThreadSubscription(subscribed) if isinstance(subscribed, bool) else NEVER


NEVER: Condition = _Never()
NO_MENTIONS: Condition = _NoMentions()
_DISPLAY_NAME: Condition = _ContainsDisplayName()
_OWN_LOCALPART: Condition = _ContainsOwnLocalpart()

_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Condition]] = {
    "event_match": _event_match,
    "event_property_is": _event_property_is,
    "event_property_contains": _event_property_contains,
    "contains_display_name": lambda condition: _DISPLAY_NAME,
    "room_member_count": _member_count,
    "sender_notification_permission": _sender_notification_permission,
    THREAD_SUBSCRIPTION: _thread_subscription,
}


def compile_condition(condition: Mapping[str, Any]) -> Condition:
    """The condition, ready to be asked. One that the spec doesn't know, or that lacks a parameter, never holds."""
    kind = condition.get("kind")
    make = _KINDS.get(kind) if isinstance(kind, str) else None
    return make(condition) if make is not None else NEVER


def body_condition(pattern: str) -> Condition:
    """What a content rule asks."""
    return _OWN_LOCALPART if pattern == OWN_LOCALPART else _MatchBody(pattern)


def contains_automaton(condition: Mapping[str, Any]) -> bool:
    """Whether this condition searches with `?`, which costs more than any other."""
    pattern = condition.get("pattern")
    return isinstance(pattern, str) and "?" in pattern
