"""The authorisation rules by name, and the number that each has in the list of a room version.

The numbers shift from version to version as rules come and go, so they are derived from one outline of the lists:
an entry that a version lacks is left out and what follows moves up. spec: rooms/v12/#authorisation-rules
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import NoReturn

from homeserver.core.errors import BadStateKey, RuleBroken
from homeserver.core.room_versions import ROOM_VERSIONS, RoomVersion


class Rule(Enum):
    """What a rule is about. Each of these refuses; a rule that only allows has a place in the outline and no name."""

    CREATE_PREV_EVENTS = auto()
    CREATE_ROOM_ID = auto()
    CREATE_ROOM_VERSION = auto()
    CREATE_CREATOR = auto()
    CREATE_ADDITIONAL_CREATORS = auto()
    ROOM_ID_IS_CREATE_EVENT = auto()
    AUTH_EVENTS_DUPLICATE = auto()
    AUTH_EVENTS_SELECTION = auto()
    AUTH_EVENTS_REJECTED = auto()
    AUTH_EVENTS_CREATE = auto()
    AUTH_EVENTS_ROOM = auto()
    FEDERATE = auto()
    ALIASES_STATE_KEY = auto()
    ALIASES_DOMAIN = auto()
    MEMBER_FORM = auto()
    MEMBER_AUTHORISER_SIGNATURE = auto()
    JOIN_SENDER = auto()
    JOIN_BANNED = auto()
    JOIN_RESTRICTED = auto()
    JOIN_OTHERWISE = auto()
    THIRD_PARTY_BANNED = auto()
    THIRD_PARTY_SIGNED = auto()
    THIRD_PARTY_FIELDS = auto()
    THIRD_PARTY_MXID = auto()
    THIRD_PARTY_TOKEN = auto()
    THIRD_PARTY_SENDER = auto()
    THIRD_PARTY_OTHERWISE = auto()
    INVITE_SENDER = auto()
    INVITE_TARGET = auto()
    INVITE_OTHERWISE = auto()
    LEAVE_SELF = auto()
    LEAVE_SENDER = auto()
    LEAVE_UNBAN = auto()
    LEAVE_OTHERWISE = auto()
    BAN_SENDER = auto()
    BAN_OTHERWISE = auto()
    KNOCK_RULE = auto()
    KNOCK_SENDER = auto()
    KNOCK_OTHERWISE = auto()
    MEMBERSHIP_UNKNOWN = auto()
    SENDER_JOINED = auto()
    THIRD_PARTY_INVITE_LEVEL = auto()
    REQUIRED_LEVEL = auto()
    STATE_KEY_OF_NOBODY = auto()
    STATE_KEY_OF_ANOTHER = auto()
    LEVELS_INTEGERS = auto()
    LEVELS_MAPS = auto()
    LEVELS_USERS = auto()
    LEVELS_CREATORS = auto()
    LEVELS_CURRENT = auto()
    LEVELS_NEW = auto()
    LEVELS_MAP_CURRENT = auto()
    LEVELS_MAP_NEW = auto()
    LEVELS_USER_CURRENT = auto()
    LEVELS_USER_NEW = auto()
    REDACTION_OTHERWISE = auto()


class _Allow:
    """A numbered entry that only allows."""


_ALLOW = _Allow()
# In the outlines an entry is a rule, a permission, a nested list, or None where the version does not have it.


def _member(version: RoomVersion) -> list[object]:
    third_party = [
        Rule.THIRD_PARTY_BANNED,
        Rule.THIRD_PARTY_SIGNED,
        Rule.THIRD_PARTY_FIELDS,
        Rule.THIRD_PARTY_MXID,
        Rule.THIRD_PARTY_TOKEN,
        Rule.THIRD_PARTY_SENDER,
        _ALLOW,
        Rule.THIRD_PARTY_OTHERWISE,
    ]
    join = [
        _ALLOW,
        Rule.JOIN_SENDER,
        Rule.JOIN_BANNED,
        _ALLOW,
        [_ALLOW, Rule.JOIN_RESTRICTED, _ALLOW] if version.restricted_joins else None,
        _ALLOW,
        Rule.JOIN_OTHERWISE,
    ]
    return [
        Rule.MEMBER_FORM,
        [Rule.MEMBER_AUTHORISER_SIGNATURE] if version.restricted_joins else None,
        join,
        [third_party, Rule.INVITE_SENDER, Rule.INVITE_TARGET, _ALLOW, Rule.INVITE_OTHERWISE],
        [Rule.LEAVE_SELF, Rule.LEAVE_SENDER, Rule.LEAVE_UNBAN, _ALLOW, Rule.LEAVE_OTHERWISE],
        [Rule.BAN_SENDER, _ALLOW, Rule.BAN_OTHERWISE],
        [Rule.KNOCK_RULE, Rule.KNOCK_SENDER, _ALLOW, Rule.KNOCK_OTHERWISE] if version.knocking else None,
        Rule.MEMBERSHIP_UNKNOWN,
    ]


def _power_levels(version: RoomVersion) -> list[object]:
    return [
        Rule.LEVELS_INTEGERS if version.integer_power_levels_only else None,
        Rule.LEVELS_MAPS if version.integer_power_levels_only else None,
        Rule.LEVELS_USERS,
        Rule.LEVELS_CREATORS if version.creators_have_infinite_power else None,
        _ALLOW,
        [Rule.LEVELS_CURRENT, Rule.LEVELS_NEW],
        [Rule.LEVELS_MAP_CURRENT],
        [Rule.LEVELS_MAP_NEW],
        [Rule.LEVELS_USER_CURRENT],
        [Rule.LEVELS_USER_NEW],
        _ALLOW,
    ]


def _outline(version: RoomVersion) -> list[object]:
    create = [
        Rule.CREATE_PREV_EVENTS,
        Rule.CREATE_ROOM_ID,
        Rule.CREATE_ROOM_VERSION,
        Rule.CREATE_CREATOR if version.creator_in_create_content else None,
        Rule.CREATE_ADDITIONAL_CREATORS if version.creators_have_infinite_power else None,
        _ALLOW,
    ]
    auth_events = [
        Rule.AUTH_EVENTS_DUPLICATE,
        Rule.AUTH_EVENTS_SELECTION,
        Rule.AUTH_EVENTS_REJECTED,
        None if version.room_id_from_create_event else Rule.AUTH_EVENTS_CREATE,
        Rule.AUTH_EVENTS_ROOM,
    ]
    return [
        create,
        Rule.ROOM_ID_IS_CREATE_EVENT if version.room_id_from_create_event else None,
        auth_events,
        Rule.FEDERATE,
        [Rule.ALIASES_STATE_KEY, Rule.ALIASES_DOMAIN, _ALLOW] if version.aliases_auth_special else None,
        _member(version),
        Rule.SENDER_JOINED,
        [Rule.THIRD_PARTY_INVITE_LEVEL],
        Rule.REQUIRED_LEVEL,
        [Rule.STATE_KEY_OF_NOBODY, _ALLOW, _ALLOW, Rule.STATE_KEY_OF_ANOTHER]
        if version.owned_state
        else Rule.STATE_KEY_OF_ANOTHER,
        _power_levels(version),
        [_ALLOW, _ALLOW, Rule.REDACTION_OTHERWISE] if version.redaction_auth_by_event_id_domain else None,
        _ALLOW,
    ]


def _numbered(entries: list[object], prefix: str = "") -> Iterator[tuple[Rule, str]]:
    present = [entry for entry in entries if entry is not None]
    for position, entry in enumerate(present, start=1):
        number = f"{prefix}{position}"
        if isinstance(entry, Rule):
            yield entry, number
        elif isinstance(entry, list):
            yield from _numbered(entry, number + ".")


RULE_NUMBERS: Mapping[str, Mapping[Rule, str]] = MappingProxyType(
    {version.id: MappingProxyType(dict(_numbered(_outline(version)))) for version in ROOM_VERSIONS.values()}
)
"""The number of every rule that a room version has, by version id."""


def refuse_state_key(version: RoomVersion, reason: str) -> NoReturn:
    """Raises BadStateKey: the state key could be nobody's, whoever sends it."""
    raise BadStateKey(RULE_NUMBERS[version.id][Rule.STATE_KEY_OF_NOBODY], reason)


def refuse(version: RoomVersion, rule: Rule, reason: str) -> NoReturn:
    """Raises RuleBroken with the rule's number in the list of this room version."""
    raise RuleBroken(RULE_NUMBERS[version.id][rule], reason)
