"""Power levels: who has which, and which an act needs. spec: client-server-api/#mroompower_levels"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from homeserver.core.canonical_json import INT_MAX, INT_MIN
from homeserver.core.events import Event, StateKey
from homeserver.core.room_versions import RoomVersion

CREATE: StateKey = ("m.room.create", "")
POWER_LEVELS: StateKey = ("m.room.power_levels", "")

# More than any level that an event may name: what the creators of a version 12 room have.
CREATOR_LEVEL = INT_MAX + 1
# A level that was written but can't be read (`"ban": "high"`) must give nobody anything: nobody reaches it as a
# demand, and as a user's own it reaches nothing.
UNREACHABLE_LEVEL = 2**1024
LOWEST_LEVEL = -UNREACHABLE_LEVEL

SCALAR_LEVELS: Mapping[str, int] = {
    "users_default": 0,
    "events_default": 0,
    "state_default": 50,
    "ban": 50,
    "redact": 50,
    "kick": 50,
    "invite": 0,
}
"""The levels that stand alone in the content, with what holds where one isn't given."""

NOTIFICATION_LEVEL_DEFAULT = 50

_STRING_LEVEL = re.compile(r"\s*[+-]?[0-9]{1,300}\s*")


def parse_level(version: RoomVersion, value: object) -> int | None:
    """The integer that a level in the content stands for, or None if it is none in this room version.

    Before version 10 a string may stand for it; where JSON isn't strict, a float too, cut at its point.
    spec: rooms/v1/#deprecated-event-content-schemas, rooms/v10/#values-in-mroompower_levels-events-must-be-integers
    """
    if type(value) is int:
        if version.strict_canonical_json and not INT_MIN <= value <= INT_MAX:
            return None
        return value
    if version.integer_power_levels_only:
        return None
    if isinstance(value, str):
        return int(value) if _STRING_LEVEL.fullmatch(value) else None
    if isinstance(value, float):
        try:
            return int(value)
        except (OverflowError, ValueError):
            return None
    return None


def creators(create: Event) -> frozenset[str]:
    """Who has infinite power in the room, where its version gives that to the creators; else nobody.

    spec: rooms/v12/#authorisation-rules
    """
    if not create.version.creators_have_infinite_power:
        return frozenset()
    additional = create.content.get("additional_creators")
    if not isinstance(additional, list):
        return frozenset({create.sender})
    return frozenset({create.sender, *(user for user in additional if isinstance(user, str))})


def creator_of(create: Event) -> object:
    """The one creator that the rules before version 12 speak of: `content.creator`, from version 11 on the sender."""
    if create.version.creator_in_create_content:
        return create.content.get("creator")
    return create.sender


class PowerLevels:
    """A room's power levels, read from its create event and its m.room.power_levels event, if it has one.

    Never raises, whatever the contents are. Reads on demand: making one costs next to nothing.
    """

    __slots__ = ("_content", "_create", "_creators", "_exists", "_version")

    def __init__(self, create: Event, power_levels: Event | None) -> None:
        self._version = create.version
        self._create = create
        self._exists = power_levels is not None
        self._content: Mapping[str, Any] = power_levels.content if power_levels is not None else {}
        self._creators = creators(create)

    @classmethod
    def of(cls, state: Mapping[StateKey, Event]) -> PowerLevels:
        """The levels in this state, which must hold a create event (KeyError if it doesn't)."""
        return cls(state[CREATE], state.get(POWER_LEVELS))

    def user(self, user_id: str) -> int:
        """The level of this user; `CREATOR_LEVEL` for creators with infinite power."""
        if user_id in self._creators:
            return CREATOR_LEVEL
        if not self._exists:
            return 100 if creator_of(self._create) == user_id else 0
        users = self._content.get("users")
        level = users.get(user_id) if isinstance(users, dict) else None
        if level is None:
            level = self._content.get("users_default")
        if level is None:
            return SCALAR_LEVELS["users_default"]
        parsed = parse_level(self._version, level)
        return LOWEST_LEVEL if parsed is None else parsed

    def users(self) -> dict[str, int]:
        """Everybody who has a level of their own, with it."""
        named = self._content.get("users")
        ids = set(named) if isinstance(named, dict) else set()
        if not self._exists and isinstance(creator := creator_of(self._create), str):
            ids.add(creator)
        return {user_id: self.user(user_id) for user_id in ids | self._creators}

    def event(self, event_type: str, *, is_state: bool) -> int:
        """The level that sending an event of this type needs."""
        events = self._content.get("events")
        level = events.get(event_type) if isinstance(events, dict) else None
        if level is None:
            return self.scalar("state_default" if is_state else "events_default")
        return self._demand(level)

    def scalar(self, name: str) -> int:
        """A level by its key: `ban`, `kick`, `invite`, `redact`, `users_default`, `events_default`, `state_default`."""
        level = self._content.get(name)
        return SCALAR_LEVELS[name] if level is None else self._demand(level)

    def notifications(self, key: str) -> int:
        """The level that notifying by this key (`room`) needs. spec: client-server-api/#mroompower_levels"""
        levels = self._content.get("notifications")
        level = levels.get(key) if isinstance(levels, dict) else None
        return NOTIFICATION_LEVEL_DEFAULT if level is None else self._demand(level)

    @property
    def ban(self) -> int:
        return self.scalar("ban")

    @property
    def kick(self) -> int:
        return self.scalar("kick")

    @property
    def invite(self) -> int:
        return self.scalar("invite")

    @property
    def redact(self) -> int:
        return self.scalar("redact")

    def may_send(self, user_id: str, event_type: str, *, is_state: bool) -> bool:
        """Whether the user's level reaches what this event type needs. Says nothing of membership."""
        return self.user(user_id) >= self.event(event_type, is_state=is_state)

    def may_redact(self, user_id: str, original: Event) -> bool:
        """Whether a redaction by this user takes effect on that event. spec: rooms/v3/#handling-redactions

        Call it before redacting, whatever the auth rules said: they let anybody send a redaction (from version 3 on).
        The second way, by which a server redacts its own users' events, asks for equal domains.
        """
        if self.user(user_id) >= self.redact:
            return True
        return _domain(original.sender) == _domain(user_id)

    def may_request_redaction(self, user_id: str, original: Event) -> bool:
        """Whether we send a redaction of that event for a user of ours: it is the user's own, or the level allows it.

        Stricter than `may_redact`, by which peers let a server redact whatever its users sent.
        spec: client-server-api/#redactions
        """
        return original.sender == user_id or self.user(user_id) >= self.redact

    def _demand(self, level: object) -> int:
        parsed = parse_level(self._version, level)
        return UNREACHABLE_LEVEL if parsed is None else parsed


def _domain(user_id: str) -> str:
    return user_id.partition(":")[2]
