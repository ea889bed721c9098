"""The numbers of the rules, version by version, as the spec's lists have them."""

from __future__ import annotations

import pytest

from homeserver.core.auth_rules import RULE_NUMBERS, Rule
from homeserver.core.room_versions import ROOM_VERSIONS

# One row a rule that moves: its number in versions 1-2, 3-5, 6, 7, 8-9, 10, 11, 12. spec: rooms/v1 to rooms/v12
_COLUMNS = ("1 2", "3 4 5", "6", "7", "8 9", "10", "11", "12")
_NUMBERS = [
    (Rule.CREATE_PREV_EVENTS, "1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1"),
    (Rule.CREATE_ROOM_ID, "1.2 1.2 1.2 1.2 1.2 1.2 1.2 1.2"),
    (Rule.CREATE_CREATOR, "1.4 1.4 1.4 1.4 1.4 1.4 - -"),
    (Rule.CREATE_ADDITIONAL_CREATORS, "- - - - - - - 1.4"),
    (Rule.ROOM_ID_IS_CREATE_EVENT, "- - - - - - - 2"),
    (Rule.AUTH_EVENTS_DUPLICATE, "2.1 2.1 2.1 2.1 2.1 2.1 2.1 3.1"),
    (Rule.AUTH_EVENTS_CREATE, "2.4 2.4 2.4 2.4 2.4 2.4 2.4 -"),
    (Rule.AUTH_EVENTS_ROOM, "2.5 2.5 2.5 2.5 2.5 2.5 2.5 3.4"),
    (Rule.FEDERATE, "3 3 3 3 3 3 3 4"),
    (Rule.ALIASES_DOMAIN, "4.2 4.2 - - - - - -"),
    (Rule.MEMBER_FORM, "5.1 5.1 4.1 4.1 4.1 4.1 4.1 5.1"),
    (Rule.MEMBER_AUTHORISER_SIGNATURE, "- - - - 4.2.1 4.2.1 4.2.1 5.2.1"),
    (Rule.JOIN_SENDER, "5.2.2 5.2.2 4.2.2 4.2.2 4.3.2 4.3.2 4.3.2 5.3.2"),
    (Rule.JOIN_BANNED, "5.2.3 5.2.3 4.2.3 4.2.3 4.3.3 4.3.3 4.3.3 5.3.3"),
    (Rule.JOIN_RESTRICTED, "- - - - 4.3.5.2 4.3.5.2 4.3.5.2 5.3.5.2"),
    (Rule.JOIN_OTHERWISE, "5.2.6 5.2.6 4.2.6 4.2.6 4.3.7 4.3.7 4.3.7 5.3.7"),
    (Rule.THIRD_PARTY_OTHERWISE, "5.3.1.8 5.3.1.8 4.3.1.8 4.3.1.8 4.4.1.8 4.4.1.8 4.4.1.8 5.4.1.8"),
    (Rule.INVITE_OTHERWISE, "5.3.5 5.3.5 4.3.5 4.3.5 4.4.5 4.4.5 4.4.5 5.4.5"),
    (Rule.LEAVE_SELF, "5.4.1 5.4.1 4.4.1 4.4.1 4.5.1 4.5.1 4.5.1 5.5.1"),
    (Rule.LEAVE_UNBAN, "5.4.3 5.4.3 4.4.3 4.4.3 4.5.3 4.5.3 4.5.3 5.5.3"),
    (Rule.BAN_OTHERWISE, "5.5.3 5.5.3 4.5.3 4.5.3 4.6.3 4.6.3 4.6.3 5.6.3"),
    (Rule.KNOCK_OTHERWISE, "- - - 4.6.4 4.7.4 4.7.4 4.7.4 5.7.4"),
    (Rule.MEMBERSHIP_UNKNOWN, "5.6 5.6 4.6 4.7 4.8 4.8 4.8 5.8"),
    (Rule.SENDER_JOINED, "6 6 5 5 5 5 5 6"),
    (Rule.THIRD_PARTY_INVITE_LEVEL, "7.1 7.1 6.1 6.1 6.1 6.1 6.1 7.1"),
    (Rule.REQUIRED_LEVEL, "8 8 7 7 7 7 7 8"),
    (Rule.STATE_KEY_OF_ANOTHER, "9 9 8 8 8 8 8 9"),
    (Rule.LEVELS_INTEGERS, "- - - - - 9.1 9.1 10.1"),
    (Rule.LEVELS_USERS, "10.1 10.1 9.1 9.1 9.1 9.3 9.3 10.3"),
    (Rule.LEVELS_CREATORS, "- - - - - - - 10.4"),
    (Rule.LEVELS_NEW, "10.3.2 10.3.2 9.3.2 9.3.2 9.3.2 9.5.2 9.5.2 10.6.2"),
    (Rule.LEVELS_MAP_CURRENT, "10.4.1 10.4.1 9.4.1 9.4.1 9.4.1 9.6.1 9.6.1 10.7.1"),
    (Rule.LEVELS_USER_NEW, "10.7.1 10.7.1 9.7.1 9.7.1 9.7.1 9.9.1 9.9.1 10.10.1"),
    (Rule.REDACTION_OTHERWISE, "11.3 - - - - - - -"),
]


@pytest.mark.parametrize(("rule", "numbers"), _NUMBERS, ids=[rule.name for rule, _numbers in _NUMBERS])
def test_numbers_are_those_of_the_spec(rule: Rule, numbers: str) -> None:
    for versions, number in zip(_COLUMNS, numbers.split(), strict=True):
        for version in versions.split():
            assert RULE_NUMBERS[version].get(rule, "-") == number, f"version {version}"


def test_each_version_numbers_each_rule_once() -> None:
    assert set(RULE_NUMBERS) == set(ROOM_VERSIONS)
    for numbers in RULE_NUMBERS.values():
        assert len(set(numbers.values())) == len(numbers)
    assert {rule for numbers in RULE_NUMBERS.values() for rule in numbers} == set(Rule)
