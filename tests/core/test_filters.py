"""Filters: what they admit, what is refused, and what costs nothing."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.errors import BadJson, InvalidParam
from homeserver.core.filters import (
    Filter,
    RoomEventFilter,
    compile_event_filter,
    compile_room_filter,
    compile_sender_filter,
    compile_types,
    matches_room_event,
    parse_event_filter,
    parse_filter,
    with_fields,
)
from homeserver.core.property_paths import parse_path


@dataclass
class Sent:
    type: str = "m.room.message"
    sender: str = "@a:x"
    room_id: str = "!r:x"
    content: dict[str, Any] = field(default_factory=dict)


IN_THREAD = Sent(content={"m.relates_to": {"rel_type": "m.thread", "event_id": "$e"}})
ODDLY_RELATED = Sent(content={"m.relates_to": {"rel_type": ["m.thread"]}})
REL_TYPES, NOT_REL_TYPES = "org.matrix.msc3874.rel_types", "org.matrix.msc3874.not_rel_types"
WITH_URL = Sent(content={"url": "mxc://x/y"})

MATCHES: list[tuple[dict[str, Any], Sent, bool]] = [
    ({}, Sent(), True),
    ({"types": ["m.room.message"]}, Sent(), True),
    ({"types": []}, Sent(), False),
    ({"types": ["m.room.*"]}, Sent(), True),
    ({"types": ["*"]}, Sent(), True),
    ({"types": ["m.*.message"]}, Sent(), True),
    ({"types": ["m.room"]}, Sent(), False),
    ({"types": ["M.ROOM.*"]}, Sent(), False),
    ({"types": ["m.room.messag?"]}, Sent(), False),
    ({"types": ["m.room.mess*?"]}, Sent(type="m.room.message?"), True),
    ({"not_types": ["m.room.*"]}, Sent(), False),
    ({"not_types": ["m.reaction"]}, Sent(), True),
    ({"types": ["m.room.message"], "not_types": ["*"]}, Sent(), False),
    ({"senders": ["@a:x"]}, Sent(), True),
    ({"senders": ["@b:x"]}, Sent(), False),
    ({"senders": []}, Sent(), False),
    ({"senders": ["@a:x"], "not_senders": ["@a:x"]}, Sent(), False),
    ({"not_senders": ["@b:x"]}, Sent(), True),
    ({"rooms": ["!r:x"]}, Sent(), True),
    ({"rooms": []}, Sent(), False),
    ({"rooms": ["!r:x"], "not_rooms": ["!r:x"]}, Sent(), False),
    ({"not_rooms": ["!r:x"]}, Sent(), False),
    ({REL_TYPES: ["m.thread"]}, IN_THREAD, True),
    ({REL_TYPES: ["m.reference", "m.thread"]}, IN_THREAD, True),
    ({REL_TYPES: ["m.reference"]}, IN_THREAD, False),
    ({REL_TYPES: ["m.thread"]}, Sent(), False),
    ({REL_TYPES: ["m.thread"]}, ODDLY_RELATED, False),
    ({NOT_REL_TYPES: ["m.thread"]}, IN_THREAD, False),
    ({NOT_REL_TYPES: ["m.thread"]}, Sent(), True),
    ({NOT_REL_TYPES: ["m.thread"]}, ODDLY_RELATED, True),
    ({REL_TYPES: ["m.thread"], NOT_REL_TYPES: ["m.thread"]}, IN_THREAD, False),
    ({"contains_url": True}, Sent(), False),
    ({"contains_url": True}, WITH_URL, True),
    ({"contains_url": False}, WITH_URL, False),
    ({"contains_url": False}, Sent(), True),
    ({"types": ["m.room.message"], "senders": ["@a:x"], "contains_url": True}, WITH_URL, True),
    ({"types": ["m.room.message"], "senders": ["@b:x"], "contains_url": True}, WITH_URL, False),
]


@pytest.mark.parametrize(("wanted", "event", "expected"), MATCHES)
def test_events(wanted: dict[str, Any], event: Sent, expected: bool) -> None:
    assert matches_room_event(parse_event_filter(wanted), event) is expected
    whole = parse_filter({"room": {"timeline": wanted}})
    assert matches_room_event(whole.room.timeline, event) is expected


def test_what_filters_nothing_costs_nothing() -> None:
    nothing = parse_event_filter({"limit": 5, "lazy_load_members": True, "not_types": [], "not_senders": []})
    assert compile_event_filter(nothing) is None
    assert compile_types(nothing.types, nothing.not_types) is None
    assert compile_room_filter(nothing) is None
    assert compile_sender_filter(nothing) is None
    assert parse_filter({}) == Filter()
    assert parse_filter({"org.example.unknown": [1.5]}) == Filter()


def test_the_whole_filter() -> None:
    found = parse_filter(
        {
            "event_format": "federation",
            "event_fields": ["type", r"content.m\.relates_to"],
            "presence": {"not_senders": ["@b:x"]},
            "account_data": {"types": ["m.direct"]},
            "room": {
                "rooms": ["!a:x", "!b:x"],
                "not_rooms": ["!b:x"],
                "include_leave": True,
                "state": {"lazy_load_members": True, "include_redundant_members": True},
                "timeline": {
                    "limit": 1_000,
                    "unread_thread_notifications": True,
                    "related_by_senders": ["@a:x"],
                    "related_by_rel_types": ["m.thread"],
                },
                "ephemeral": {"not_types": ["m.typing"]},
                "account_data": {"types": []},
            },
        }
    )
    assert (found.event_format, found.event_fields) == ("federation", (("type",), ("content", "m.relates_to")))
    assert found.presence.not_senders == {"@b:x"}
    assert found.account_data.types == ("m.direct",)
    in_rooms = compile_room_filter(found.room)
    assert in_rooms is not None and in_rooms("!a:x") and not in_rooms("!b:x") and not in_rooms("!c:x")
    assert found.room.include_leave
    assert found.room.state.lazy_load_members and found.room.state.include_redundant_members
    timeline = found.room.timeline
    assert timeline.unread_thread_notifications
    assert timeline.related_by_senders == frozenset({"@a:x"})
    assert timeline.related_by_rel_types == frozenset({"m.thread"})
    assert (timeline.limited(), RoomEventFilter().limited(), RoomEventFilter(limit=3).limited()) == (100, 10, 3)
    assert found.room.ephemeral.not_types == ("m.typing",)
    assert found.room.account_data.types == ()


WRONG_TYPES: list[Any] = [
    None,
    [],
    "x",
    1,
    {"room": []},
    {"room": None},
    {"room": {"timeline": 1}},
    {"room": {"include_leave": "yes"}},
    {"room": {"rooms": "!a:x"}},
    {"room": {"rooms": [1]}},
    {"room": {"timeline": {"limit": "5"}}},
    {"room": {"timeline": {"limit": True}}},
    {"room": {"timeline": {"limit": 1.5}}},
    {"room": {"timeline": {"types": {}}}},
    {"room": {"timeline": {"senders": [None]}}},
    {"room": {"timeline": {"contains_url": 1}}},
    {"room": {"state": {"lazy_load_members": "true"}}},
    {"presence": []},
    {"event_fields": "content"},
]


@pytest.mark.parametrize("value", WRONG_TYPES)
def test_wrong_types(value: Any) -> None:
    """T-G19"""
    with pytest.raises(BadJson):
        parse_filter(value)


WRONG_VALUES: list[dict[str, Any]] = [
    {"event_format": "other"},
    {"room": {"rooms": ["a:x"]}},
    {"room": {"rooms": ["!" + "a" * 255]}},
    {"room": {"rooms": [f"!{number}:x" for number in range(1_001)]}},
    {"room": {"timeline": {"senders": ["a"]}}},
    {"room": {"timeline": {"limit": -1}}},
    {"room": {"timeline": {"types": ["x" * 256]}}},
    {"room": {"timeline": {"types": [str(number) for number in range(1_001)]}}},
    {"room": {"timeline": {"types": [f"{number}*" for number in range(51)]}}},
    {"room": {"timeline": {"not_types": [f"*{number}" for number in range(51)]}}},
    {"event_fields": ["x"] * 101},
    {"event_fields": ["x" * 1_025]},
    {"event_fields": [".".join("x" * 21)]},
    {"anything": "x" * 65_536},
]


@pytest.mark.parametrize("value", WRONG_VALUES)
def test_wrong_values_and_sizes(value: dict[str, Any]) -> None:
    """T-G19: a filter has a bounded number of entries, each of bounded length."""
    with pytest.raises(InvalidParam):
        parse_filter(value)


EVENT = {
    "type": "m.room.message",
    "event_id": "$e",
    "content": {"body": "x", "m.relates_to": {"rel_type": "m.thread", "event_id": "$r"}, "a\\b": None},
}


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        (["type"], {"type": "m.room.message"}),
        (["content.body", "event_id"], {"content": {"body": "x"}, "event_id": "$e"}),
        (
            [r"content.m\.relates_to.rel_type", "content.body"],
            {"content": {"m.relates_to": {"rel_type": "m.thread"}, "body": "x"}},
        ),
        (["content", "content.body"], {"content": EVENT["content"]}),
        (["content.body", "content"], {"content": EVENT["content"]}),
        ([r"content.a\\b"], {"content": {"a\\b": None}}),
        (["content.absent", "type.x", "content.m.relates_to"], {}),
        ([], {}),
        (None, EVENT),
    ],
)
def test_fields(fields: list[str] | None, kept: dict[str, Any]) -> None:
    before = copy.deepcopy(EVENT)
    found = parse_filter({} if fields is None else {"event_fields": fields})
    assert with_fields(EVENT, found.event_fields) == kept
    assert before == EVENT


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("content.body", ("content", "body")),
        (r"content.m\.relates_to.x", ("content", "m.relates_to", "x")),
        (r"content.m\\foo", ("content", r"m\foo")),
        (r"a\x.b", (r"a\x", "b")),
        ("a\\", ("a\\",)),
        ("", ("",)),
        ("a..b", ("a", "", "b")),
    ],
)
def test_paths(path: str, names: tuple[str, ...]) -> None:
    assert parse_path(path) == names


_ENTRIES = st.lists(st.sampled_from(["m.a", "m.b", "m.*", "*", "m.?", "@a:x", "@b:x", "!r:x"]), max_size=3)
_JUNK = st.none() | st.booleans() | st.integers(-2, 200) | st.text(max_size=3) | _ENTRIES
_FILTERS = st.dictionaries(
    st.sampled_from("limit types not_types senders not_senders rooms not_rooms contains_url lazy_load_members".split()),
    _JUNK,
)


@given(_FILTERS, st.dictionaries(st.sampled_from(["room", "event_fields", "event_format", "presence"]), _JUNK))
def test_any_filter_is_refused_or_only_narrows(timeline: dict[str, Any], rest: dict[str, Any]) -> None:
    """T-G19: nothing but our two errors is raised; and what `not_` excludes never passes."""
    whole = {"room": {"timeline": timeline}, **rest}
    try:
        found = parse_filter(json.loads(json.dumps(whole))).room.timeline
    except (BadJson, InvalidParam):
        return
    for event in (Sent("m.a"), Sent("m.b", "@b:x"), Sent("m.?", content={"url": "x"})):
        if matches_room_event(found, event):
            assert event.type not in found.not_types
            assert event.sender not in found.not_senders and event.room_id not in found.not_rooms
