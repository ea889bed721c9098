"""The grammar of identifiers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core import identifiers as ids
from homeserver.core.errors import InvalidParam

V12_ROOM = "!" + "aB-_0" * 8 + "xyz"

GRAMMAR = [
    (ids.is_user_id, "@alice:example.org", True),
    (ids.is_user_id, "@alice:example.org:8448", True),
    (ids.is_user_id, "@alice:[2001:db8::1]:8448", True),
    (ids.is_user_id, "@Alice!/ ü\n:example.org", True),  # historical: seen over federation, never made
    (ids.is_user_id, "@:example.org", True),
    (ids.is_user_id, "@a\0b:example.org", False),
    (ids.is_user_id, "@a\ud800b:example.org", False),
    (ids.is_user_id, "@alice", False),
    (ids.is_user_id, "@alice:", False),
    (ids.is_user_id, "@alice:exa mple.org", False),
    (ids.is_user_id, "@alice:example.org/", False),
    (ids.is_user_id, "@alice:example.org\n", False),
    (ids.is_user_id, "@alice:exämple.org", False),
    (ids.is_user_id, "@alice:example.org:port", False),
    (ids.is_user_id, "alice:example.org", False),
    (ids.is_user_id, "@" + "a" * 242 + ":example.org", True),
    (ids.is_user_id, "@" + "a" * 243 + ":example.org", False),
    (ids.is_user_id, "@" + "ü" * 122 + ":example.org", False),  # bytes count, not characters
    (ids.is_user_id, None, False),
    (ids.is_user_id, 5, False),
    (ids.is_room_id, "!abc:example.org", True),
    (ids.is_room_id, V12_ROOM, True),  # version 12: no domain
    (ids.is_room_id, V12_ROOM[:-1], False),
    (ids.is_room_id, V12_ROOM + "a", False),
    (ids.is_room_id, V12_ROOM[:-1] + "/", False),
    (ids.is_room_id, "!abc", False),
    (ids.is_room_id, "!:example.org", False),
    (ids.is_room_id, "!a\0:example.org", False),
    (ids.is_room_id, "#abc:example.org", False),
    (ids.is_room_alias, "#room:example.org", True),
    (ids.is_room_alias, "#räume:example.org", True),
    (ids.is_room_alias, "#:example.org", False),
    (ids.is_room_alias, "#a b:example.org", False),
    (ids.is_room_alias, "#room", False),
    (ids.is_event_id, "$abc:example.org", True),
    (ids.is_event_id, "$" + "a" * 43, True),
    (ids.is_event_id, "$a/b+c", True),  # version 3
    (ids.is_event_id, "$", False),
    (ids.is_event_id, "$a b", False),
    (ids.is_event_id, "$a\0", False),
    (ids.is_event_id, "abc", False),
    (ids.is_event_id, "$" + "a" * 255, False),
    (ids.is_server_name, "example.org", True),
    (ids.is_server_name, "1.2.3.4:80", True),
    (ids.is_server_name, "[::1]", True),
    (ids.is_server_name, "", False),
    (ids.is_server_name, "a/b", False),
    (ids.is_server_name, "a b", False),
    (ids.is_server_name, "a:123456", False),
    (ids.is_server_name, "a:٣", False),
    (ids.is_new_localpart, "alice.b=c_d-e/f+1", True),
    (ids.is_new_localpart, "Alice", False),
    (ids.is_new_localpart, "a!", False),
    (ids.is_new_localpart, "", False),
    (ids.is_opaque_id, "aZ0.~_-", True),
    (ids.is_opaque_id, "a/b", False),
    (ids.is_opaque_id, "", False),
    (ids.is_opaque_id, "a" * 256, False),
]


@pytest.mark.parametrize(("check", "value", "expected"), GRAMMAR)
def test_grammar(check: Callable[[object], bool], value: object, expected: bool) -> None:
    """T-B22, T-A20: one grammar; historical user ids are known but never made; a version 12 room id has no domain."""
    assert check(value) is expected


PARSERS = [
    (ids.parse_user_id, ids.is_user_id),
    (ids.parse_room_id, ids.is_room_id),
    (ids.parse_room_alias, ids.is_room_alias),
    (ids.parse_event_id, ids.is_event_id),
]


@given(
    st.text(max_size=40)
    | st.text("@!#$:ab.[]0 \0\n\ud800", max_size=20)
    | st.none()
    | st.integers()
    | st.lists(st.text(max_size=2))
)
def test_any_value_is_an_id_or_an_invalid_parameter(value: object) -> None:
    """T-B22: nothing else is raised, and what was taken can be stored and sent."""
    for parse, is_one in PARSERS:
        try:
            parsed = parse(value)
        except InvalidParam:
            assert not is_one(value)
        else:
            assert parsed == value and is_one(value)
            assert "\0" not in parsed and len(parsed.encode()) <= 255


def test_room_ids_without_domain_are_not_split() -> None:
    """T-B22"""
    assert ids.domain_of(V12_ROOM) == ""
    assert ids.domain_of("@a:example.org:8448") == "example.org:8448"
    assert ids.localpart_of("@a:example.org:8448") == "a"
