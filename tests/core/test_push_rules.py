"""Push rules: the defaults, every condition, edits and their errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core import push_rules
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.push_rules import (
    NO_EDITS,
    Actions,
    EventView,
    PushEdits,
    classify,
    compile_ruleset,
    delete_rule,
    edits_from_json,
    edits_to_json,
    effective,
    find_rule,
    put_rule,
    ruleset_json,
    set_actions,
    set_enabled,
)
from homeserver.core.successor_rules import with_rules_of_room

ME = "@me:example.org"


def message(content: dict[str, Any] | None = None, **properties: Any) -> EventView:
    return EventView(
        {
            "type": "m.room.message",
            "sender": "@alice:example.org",
            "room_id": "!room:example.org",
            "content": {"msgtype": "m.text", "body": "hello"} if content is None else content,
            **properties,
        }
    )


def decide(event: EventView, edits: PushEdits = NO_EDITS, **recipient: Any) -> Actions | None:
    room: dict[str, Any] = {
        "user_id": ME,
        "display_name": "Me Myself",
        "member_count": 3,
        "sender_power": 0,
        "power_levels": None,
    }
    return compile_ruleset(effective(edits)).actions(event, **{**room, **recipient})


SILENT = (False, False, None)
PLAIN = (True, False, None)
SOUND = (True, False, "default")
LOUD = (True, True, "default")
HIGHLIGHT = (True, True, None)

DEFAULTS: list[tuple[str, EventView, dict[str, Any], str | None, tuple[bool, bool, str | None]]] = [
    ("message", message(), {}, "message", PLAIN),
    ("in a room of two", message(), {"member_count": 2}, "room_one_to_one", SOUND),
    ("own", message(sender=ME), {}, None, SILENT),
    ("notice", message({"msgtype": "m.notice", "body": "x"}), {}, "suppress_notices", SILENT),
    (
        "invite for me",
        message({"membership": "invite"}, type="m.room.member", state_key=ME),
        {},
        "invite_for_me",
        SOUND,
    ),
    (
        "invite for another",
        message({"membership": "invite"}, type="m.room.member", state_key="@bob:example.org"),
        {},
        "member_event",
        SILENT,
    ),
    ("join", message({"membership": "join"}, type="m.room.member", state_key=ME), {}, "member_event", SILENT),
    (
        "mention of me",
        message({"body": "x", "m.mentions": {"user_ids": ["@x:y", ME]}}),
        {},
        "is_user_mention",
        LOUD,
    ),
    (
        "mention of another",
        message({"body": "x", "m.mentions": {"user_ids": ["@x:y"]}}),
        {},
        "message",
        PLAIN,
    ),
    ("mentions of a wrong type", message({"body": "x", "m.mentions": {"user_ids": ME}}), {}, "message", PLAIN),
    # Until v1.17 of the spec, and still for what says nothing of mentions.
    ("my name in a text", message({"body": "hi me MYSELF!"}), {}, "contains_display_name", LOUD),
    ("my id in a text", message({"body": f"hi {ME}"}), {}, "contains_user_name", LOUD),
    ("my localpart in a text", message({"body": "so, Me?"}), {}, "contains_user_name", LOUD),
    ("my localpart in a word", message({"body": "same meme"}), {}, "message", PLAIN),
    ("my name, nobody mentioned", message({"body": "Me Myself", "m.mentions": {}}), {}, "message", PLAIN),
    ("my name, mentions of a wrong type", message({"body": "Me Myself", "m.mentions": 1}), {}, "message", PLAIN),
    ("an empty name", message({"body": "hello"}), {"display_name": ""}, "message", PLAIN),
    ("the room in a text", message({"body": "hey @room"}), {"sender_power": 50}, "roomnotif", HIGHLIGHT),
    ("the room without power", message({"body": "hey @room"}), {"sender_power": 49}, "message", PLAIN),
    (
        "the room in a text, not mentioned",
        message({"body": "hey @room", "m.mentions": {}}),
        {"sender_power": 50},
        "message",
        PLAIN,
    ),
    (
        "mention of the room",
        message({"body": "x", "m.mentions": {"room": True}}),
        {"sender_power": 50},
        "is_room_mention",
        HIGHLIGHT,
    ),
    (
        "mention of the room without power",
        message({"body": "x", "m.mentions": {"room": True}}),
        {"sender_power": 49},
        "message",
        PLAIN,
    ),
    (
        "mention of the room, level set",
        message({"body": "x", "m.mentions": {"room": True}}),
        {"sender_power": 10, "power_levels": {"notifications": {"room": 10}}},
        "is_room_mention",
        HIGHLIGHT,
    ),
    (
        "mention of the room by a creator",
        message({"body": "x", "m.mentions": {"room": True}}),
        {"sender_power": float("inf"), "power_levels": {"notifications": {"room": 2**53 - 1}}},
        "is_room_mention",
        HIGHLIGHT,
    ),
    (
        "mention of the room that is 1",
        message({"body": "x", "m.mentions": {"room": 1}}),
        {"sender_power": 100},
        "message",
        PLAIN,
    ),
    ("tombstone", message({}, type="m.room.tombstone", state_key=""), {}, "tombstone", HIGHLIGHT),
    ("tombstone with a key", message({}, type="m.room.tombstone", state_key="x"), {}, None, SILENT),
    ("tombstone that is no state", message({}, type="m.room.tombstone"), {}, None, SILENT),
    ("reaction", message({}, type="m.reaction"), {}, "reaction", SILENT),
    ("server ACL", message({}, type="m.room.server_acl", state_key=""), {}, "room.server_acl", SILENT),
    (
        "edit",
        message({"body": "* x", "m.relates_to": {"rel_type": "m.replace"}}),
        {},
        "suppress_edits",
        SILENT,
    ),
    ("call", message({}, type="m.call.invite"), {}, "call", (True, False, "ring")),
    ("encrypted", message({}, type="m.room.encrypted"), {}, "encrypted", PLAIN),
    (
        "encrypted in a room of two",
        message({}, type="m.room.encrypted"),
        {"member_count": 2},
        "encrypted_room_one_to_one",
        SOUND,
    ),
    ("poll", message({}, type="org.matrix.msc3381.poll.start"), {}, "poll_start", PLAIN),
    (
        "poll of two",
        message({}, type="org.matrix.msc3381.poll.start"),
        {"member_count": 2},
        "poll_start_one_to_one",
        SOUND,
    ),
    ("vote", message({}, type="org.matrix.msc3381.poll.response"), {"member_count": 2}, "poll_response", SILENT),
    ("poll's end", message({}, type="org.matrix.msc3381.poll.end"), {}, "poll_end", PLAIN),
    (
        "poll's end of two",
        message({}, type="org.matrix.msc3381.poll.end"),
        {"member_count": 2},
        "poll_end_one_to_one",
        SOUND,
    ),
    ("topic", message({"topic": "x"}, type="m.room.topic", state_key=""), {}, None, SILENT),
]


@pytest.mark.parametrize(
    ("event", "recipient", "rule", "outcome"), [pytest.param(*row[1:], id=row[0]) for row in DEFAULTS]
)
@pytest.mark.parametrize("edits", [NO_EDITS, set_actions(NO_EDITS, "override", ".m.rule.master", ["notify"])])
def test_defaults(
    event: EventView,
    recipient: dict[str, Any],
    rule: str | None,
    outcome: tuple[bool, bool, str | None],
    edits: PushEdits,
) -> None:
    actions = decide(event, edits, **recipient)
    prefix = ".org.matrix.msc3930.rule." if rule is not None and rule.startswith("poll") else ".m.rule."
    assert (actions and actions.rule_id) == (rule and prefix + rule)
    assert classify(actions) == outcome


def test_defaults_are_shown_in_their_order_with_the_owners_id() -> None:
    shown = ruleset_json(NO_EDITS, ME)
    names = {kind: [rule["rule_id"].rpartition(".rule.")[2] for rule in rules] for kind, rules in shown.items()}
    assert names == {
        "override": "master suppress_notices invite_for_me member_event is_user_mention contains_display_name "
        "is_room_mention roomnotif tombstone reaction room.server_acl suppress_edits poll_response".split(),
        "content": ["contains_user_name"],
        "room": [],
        "sender": [],
        "underride": "call encrypted_room_one_to_one room_one_to_one message encrypted "
        "poll_start_one_to_one poll_start poll_end_one_to_one poll_end".split(),
    }
    assert shown["override"][0] == {
        "rule_id": ".m.rule.master",
        "default": True,
        "enabled": False,
        "conditions": [],
        "actions": [],
    }
    assert shown["content"][0]["pattern"] == "me"
    text = json.dumps(shown)
    assert text.count(ME) == 2 and "user_id" not in text.replace("user_ids", "")
    assert all(rule["default"] for rules in shown.values() for rule in rules)


EVENT = message(
    {
        "body": "It's time for TEA",
        "topic": "Lunch plans",
        "m.federate": True,
        "number": 1,
        "nothing": None,
        "a\\b": "x",
        "deep": {"er": ["#a:x", 1, None]},
    }
)
CONDITIONS: list[tuple[dict[str, Any], bool]] = [
    ({"kind": "event_match", "key": "content.topic", "pattern": "lunc?*"}, True),
    ({"kind": "event_match", "key": "content.topic", "pattern": "plans"}, False),
    ({"kind": "event_match", "key": "content.body", "pattern": "tea"}, True),
    ({"kind": "event_match", "key": "content.body", "pattern": "te"}, False),
    ({"kind": "event_match", "key": "content.body", "pattern": "t?me"}, True),
    ({"kind": "event_match", "key": "content.absent", "pattern": "*"}, False),
    ({"kind": "event_match", "key": "content.number", "pattern": "1"}, False),
    ({"kind": "event_match", "key": "content.nothing", "pattern": "*"}, False),
    ({"kind": "event_match", "key": "content", "pattern": "*"}, False),
    ({"kind": "event_match", "key": "room_id", "pattern": "!room:*"}, True),
    ({"kind": "event_match", "key": r"content.a\\b", "pattern": "x"}, True),
    ({"kind": "event_match", "key": "content.topic"}, False),
    ({"kind": "event_match", "pattern": "*"}, False),
    ({"kind": "event_match", "key": 5, "pattern": "*"}, False),
    ({"kind": "event_property_is", "key": r"content.m\.federate", "value": True}, True),
    ({"kind": "event_property_is", "key": r"content.m\.federate", "value": 1}, False),
    ({"kind": "event_property_is", "key": r"content.m\.federate", "value": "true"}, False),
    ({"kind": "event_property_is", "key": "content.m.federate", "value": True}, False),
    ({"kind": "event_property_is", "key": "content.number", "value": 1}, True),
    ({"kind": "event_property_is", "key": "content.number", "value": True}, False),
    ({"kind": "event_property_is", "key": "content.nothing", "value": None}, True),
    ({"kind": "event_property_is", "key": "content.absent", "value": None}, False),
    ({"kind": "event_property_is", "key": "content.number"}, False),
    ({"kind": "event_property_contains", "key": "content.deep.er", "value": "#a:x"}, True),
    ({"kind": "event_property_contains", "key": "content.deep.er", "value": ":x"}, False),
    ({"kind": "event_property_contains", "key": "content.deep.er", "value": 1}, True),
    ({"kind": "event_property_contains", "key": "content.deep.er", "value": True}, False),
    ({"kind": "event_property_contains", "key": "content.deep.er", "value": None}, True),
    ({"kind": "event_property_contains", "key": "content.body", "value": "t"}, False),
    ({"kind": "room_member_count", "is": "3"}, True),
    ({"kind": "room_member_count", "is": "==3"}, True),
    ({"kind": "room_member_count", "is": "<3"}, False),
    ({"kind": "room_member_count", "is": "<4"}, True),
    ({"kind": "room_member_count", "is": ">3"}, False),
    ({"kind": "room_member_count", "is": ">2"}, True),
    ({"kind": "room_member_count", "is": ">=3"}, True),
    ({"kind": "room_member_count", "is": "<=3"}, True),
    ({"kind": "room_member_count", "is": "<=2"}, False),
    ({"kind": "room_member_count", "is": "=3"}, False),
    ({"kind": "room_member_count", "is": "<>3"}, False),
    ({"kind": "room_member_count", "is": "3 "}, False),
    ({"kind": "room_member_count", "is": "³"}, False),
    ({"kind": "room_member_count", "is": ""}, False),
    ({"kind": "room_member_count", "is": 3}, False),
    ({"kind": "sender_notification_permission", "key": "room"}, False),
    ({"kind": "sender_notification_permission"}, False),
    ({"kind": "contains_display_name"}, False),
    ({"kind": "org.example.unknown"}, False),
]


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS)
def test_conditions(condition: dict[str, Any], expected: bool) -> None:
    """T-H1, T-B11"""
    edits = put_rule(NO_EDITS, "override", "mine", {"conditions": [condition], "actions": []})
    actions = decide(EVENT, edits)
    assert (actions is not None and actions.rule_id == "mine") is expected


@pytest.mark.parametrize(
    ("body", "name", "expected"),
    [
        ("hi Me!", "me", True),
        ("home", "me", False),
        ("a*b", "a*b", True),
        ("axb", "a*b", False),
        ("x", "", False),
        ("x", None, False),
        ("[bot] here", "[bot]", True),
    ],
)
def test_display_name_is_no_pattern(body: str, name: str | None, expected: bool) -> None:
    """T-H1: another's display name is literal text."""
    edits = put_rule(NO_EDITS, "override", "n", {"conditions": [{"kind": "contains_display_name"}], "actions": []})
    actions = decide(message({"body": body}), edits, display_name=name)
    assert (actions is not None and actions.rule_id == "n") is expected


@pytest.mark.parametrize(("level", "power", "expected"), [("60", 60, True), ("60", 59, False), ("x", 50, True)])
def test_levels_of_old_rooms(level: str, power: int, expected: bool) -> None:
    event = message({"body": "x", "m.mentions": {"room": True}})
    actions = decide(event, sender_power=power, power_levels={"notifications": {"room": level}})
    assert (actions is not None and actions.rule_id == ".m.rule.is_room_mention") is expected


def put(edits: PushEdits, kind: str, rule_id: str, **positions: str) -> PushEdits:
    body: dict[str, Any] = {"actions": ["notify", {"set_tweak": "sound", "value": kind + rule_id}]}
    if kind == "content":
        body["pattern"] = "hello"
    return put_rule(edits, kind, rule_id, body, **positions)


def test_kinds_are_checked_in_order() -> None:
    rules = [("override", "o"), ("content", "c"), ("room", "!room:example.org"), ("sender", "@alice:example.org")]
    edits = NO_EDITS
    for kind, rule_id in reversed([*rules, ("underride", "u")]):
        edits = put(edits, kind, rule_id)
        assert classify(decide(message(), edits)) == (True, False, kind + rule_id)
    assert classify(decide(message({"msgtype": "m.notice", "body": "hello"}), edits))[2] == "overrideo"
    without = set_enabled(edits, "override", "o", False)
    assert classify(decide(message({"msgtype": "m.notice", "body": "hello"}), without)) == SILENT
    assert classify(decide(message(), set_enabled(edits, "override", ".m.rule.master", True))) == SILENT


@pytest.mark.parametrize(
    ("positions", "order"),
    [
        ({}, "nabc"),
        ({"before": "a"}, "nabc"),
        ({"before": "c"}, "abnc"),
        ({"after": "a"}, "anbc"),
        ({"after": "c"}, "abcn"),
        ({"before": "b", "after": "c"}, "anbc"),
    ],
)
def test_positions(positions: dict[str, str], order: str) -> None:
    """T-H3: also after the last rule."""
    edits = NO_EDITS
    for rule_id in "cba":
        edits = put(edits, "room", rule_id)
    edits = put(edits, "room", "n", **positions)
    assert "".join(rule.rule_id for rule in edits.own("room")) == order


def test_a_replaced_rule_keeps_its_place_and_whether_it_is_on() -> None:
    edits = put(put(put(NO_EDITS, "room", "c"), "room", "b"), "room", "a")
    edits = set_enabled(edits, "room", "b", False)
    edits = put_rule(edits, "room", "b", {"actions": []})
    assert [(rule.rule_id, rule.enabled) for rule in edits.own("room")] == [("a", True), ("b", False), ("c", True)]
    assert find_rule(edits, "room", "b").actions == ()
    edits = put(edits, "room", "c", before="a")
    assert "".join(rule.rule_id for rule in edits.own("room")) == "cab"


@pytest.mark.parametrize("positions", [{"before": "x"}, {"after": "x"}, {"before": "a", "after": "x"}])
@pytest.mark.parametrize("kind", push_rules.KINDS)
def test_positions_that_do_not_exist(kind: str, positions: dict[str, str]) -> None:
    """T-H3: in an empty kind, beside a rule that isn't there, or beside one of the server's."""
    for edits in (NO_EDITS, put(NO_EDITS, kind, "a")):
        with pytest.raises(MatrixError) as refusal:
            put(edits, kind, "n", **positions)
        assert (refusal.value.code, refusal.value.http_status) == ("M_UNKNOWN", 400)
    with pytest.raises(MatrixError):
        put(NO_EDITS, "override", "n", before=".m.rule.master")


def test_historical_actions_are_kept_and_do_nothing() -> None:
    edits = put_rule(NO_EDITS, "underride", "a", {"actions": ["dont_notify", "coalesce", "notify"]})
    assert find_rule(edits, "underride", "a").as_json()["actions"] == ["dont_notify", "coalesce", "notify"]
    assert classify(decide(message(), edits)) == PLAIN
    silent = put_rule(NO_EDITS, "underride", "a", {"actions": ["dont_notify"]})
    assert classify(decide(message(), silent)) == SILENT


def test_rules_of_a_room_are_copied_to_its_successor_once() -> None:
    old, new = "!old:a.example", "!new:a.example"
    mute = {"actions": [], "conditions": [{"kind": "event_match", "key": "room_id", "pattern": old}]}
    edits = put_rule(put_rule(NO_EDITS, "room", old, {"actions": ["notify"]}), "override", old, mute)
    copied = with_rules_of_room(edits, old, new)
    assert find_rule(copied, "room", new).actions == ("notify",)
    assert find_rule(copied, "override", new).conditions[0]["pattern"] == new
    assert find_rule(copied, "override", old) == find_rule(edits, "override", old)
    assert with_rules_of_room(copied, old, new) == copied
    assert with_rules_of_room(NO_EDITS, old, new) == NO_EDITS


def test_highlight_can_be_switched_off_by_value() -> None:
    edits = put_rule(NO_EDITS, "underride", "a", {"actions": ["notify", {"set_tweak": "highlight", "value": False}]})
    assert classify(decide(message(), edits)) == PLAIN


WRONG_BODIES: list[Any] = [
    None,
    [],
    "x",
    {},
    {"actions": "notify"},
    {"actions": ["ring"]},
    {"actions": [5]},
    {"actions": [["notify"]]},
    {"actions": [{"value": 1}]},
    {"actions": [{"set_tweak": 1}]},
    {"actions": [{"set_tweak": "x", "value": {"y": []}}]},
    {"actions": [{"set_tweak": "x", "value": "y" * 1_025}]},
    {"actions": ["notify"] * 21},
    {"actions": [], "conditions": {}},
    {"actions": [], "conditions": ["x"]},
    {"actions": [], "conditions": [{}]},
    {"actions": [], "conditions": [{"kind": 1}]},
    {"actions": [], "conditions": [{"kind": "event_match", "key": "a", "pattern": "x" * 256}]},
    {"actions": [], "conditions": [{"kind": "event_match", "key": "a", "pattern": 1}]},
    {"actions": [], "conditions": [{"kind": "x", "y": [1]}]},
    {"actions": [], "conditions": [{"kind": "x", "y": 1.5}]},
    {"actions": [], "conditions": [{"kind": "x"}] * 21},
]


@pytest.mark.parametrize("body", WRONG_BODIES)
def test_wrong_rules(body: Any) -> None:
    """T-H2: each rule has a bounded size."""
    with pytest.raises(InvalidParam):
        put_rule(NO_EDITS, "override", "a", body)


@pytest.mark.parametrize("pattern", [None, 1, "", "x" * 256])
def test_content_rules_need_a_pattern(pattern: Any) -> None:
    with pytest.raises(InvalidParam):
        put_rule(NO_EDITS, "content", "a", {"actions": [], "pattern": pattern})


@pytest.mark.parametrize("rule_id", ["", ".m.rule.message", ".x", "a/b", "a\\b", "a\0", "x" * 256])
def test_wrong_ids(rule_id: str) -> None:
    """T-H2"""
    with pytest.raises(InvalidParam):
        put(NO_EDITS, "room", rule_id)


def test_the_number_of_rules_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """T-H2: in sum, of those asked about each event, and of those with costly patterns; replacing goes on."""
    monkeypatch.setattr(push_rules, "RULES_MAX", 6)
    monkeypatch.setattr(push_rules, "ASKED_RULES_MAX", 3)
    edits = NO_EDITS
    for number in range(3):
        edits = put(edits, "override", str(number))
    with pytest.raises(InvalidParam):
        put(edits, "content", "x")
    for number in range(3):
        edits = put(edits, "room", str(number))
    with pytest.raises(InvalidParam):
        put(edits, "sender", "x")
    assert len(put(edits, "room", "1").own("room")) == 3
    edits = NO_EDITS
    monkeypatch.setattr(push_rules, "AUTOMATA_MAX", 1)
    edits = put_rule(edits, "content", "a", {"actions": [], "pattern": "x?"})
    with pytest.raises(InvalidParam):
        put_rule(edits, "content", "b", {"actions": [], "pattern": "?x"})
    costly = {"kind": "event_match", "key": "content.body", "pattern": "?"}
    put_rule(NO_EDITS, "override", "a", {"actions": [], "conditions": [costly]})
    with pytest.raises(InvalidParam):
        put_rule(NO_EDITS, "override", "a", {"actions": [], "conditions": [costly, costly]})


def test_rules_that_are_not_there() -> None:
    for kind, rule_id in [("room", "a"), ("override", ".m.rule.nothing"), ("content", ".m.rule.message")]:
        with pytest.raises(NotFound):
            find_rule(NO_EDITS, kind, rule_id)
        with pytest.raises(NotFound):
            delete_rule(NO_EDITS, kind, rule_id)
        with pytest.raises(NotFound):
            set_enabled(NO_EDITS, kind, rule_id, True)
        with pytest.raises(NotFound):
            set_actions(NO_EDITS, kind, rule_id, [])
    for kind in ("device", "", "Override"):
        with pytest.raises(NotFound):
            find_rule(NO_EDITS, kind, "a")
        with pytest.raises(InvalidParam):
            put(NO_EDITS, kind, "a")


def test_defaults_can_be_changed_but_not_deleted() -> None:
    with pytest.raises(InvalidParam):
        delete_rule(NO_EDITS, "underride", ".m.rule.message")
    with pytest.raises(InvalidParam):
        set_enabled(NO_EDITS, "underride", ".m.rule.message", 1)
    edits = set_enabled(NO_EDITS, "underride", ".m.rule.message", False)
    assert decide(message(), edits) is None
    edits = set_actions(edits, "underride", ".m.rule.room_one_to_one", ["notify", {"set_tweak": "highlight"}])
    assert classify(decide(message(), edits, member_count=2)) == HIGHLIGHT
    assert find_rule(edits, "underride", ".m.rule.message").enabled is False
    assert set_enabled(edits, "underride", ".m.rule.message", True).changed.keys() == {
        ("underride", ".m.rule.room_one_to_one")
    }
    assert delete_rule(put(edits, "room", "a"), "room", "a").own("room") == ()


def test_one_view_serves_users_with_different_rules() -> None:
    """What is shared between users is only what the event alone decides."""
    event = message({"body": "x", "m.mentions": {"user_ids": [ME], "room": True}})
    changed = set_actions(NO_EDITS, "override", ".m.rule.is_user_mention", [])
    for _ in range(3):
        assert classify(decide(event)) == LOUD
        assert classify(decide(event, changed)) == SILENT
        assert classify(decide(event, user_id="@other:example.org")) == PLAIN
        assert classify(decide(event, user_id="@other:example.org", sender_power=50)) == HIGHLIGHT
        assert classify(decide(event, user_id="@other:example.org", member_count=2)) == SOUND


def test_edits_survive_storage() -> None:
    edits = put(put(NO_EDITS, "content", "c"), "sender", "@a:b")
    edits = put_rule(edits, "override", "o", {"actions": ["notify"], "conditions": [{"kind": "x", "y": None}]})
    edits = set_enabled(set_enabled(edits, "override", "o", False), "underride", ".m.rule.call", False)
    stored = json.loads(json.dumps(edits_to_json(edits)))
    assert edits_from_json(stored) == edits
    assert ruleset_json(edits_from_json(stored), ME) == ruleset_json(edits, ME)
    assert edits_from_json({}) == NO_EDITS
    stored["changed"].append({"kind": "override", "rule_id": ".m.rule.gone", "enabled": True, "actions": []})
    assert edits_from_json(stored) == edits


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("a*?.\\<=1", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "key", "pattern", "is", "value", "body", "m.mentions"]), inner)
    ),
    max_leaves=6,
)
_CONDITIONS = st.builds(
    lambda kind, rest: {**rest, "kind": kind},
    st.sampled_from(sorted({condition["kind"] for condition, _ in CONDITIONS})),
    st.dictionaries(st.sampled_from(["key", "pattern", "is", "value"]), _JUNK),
)


@given(st.lists(_CONDITIONS | _JUNK, max_size=3), st.dictionaries(st.text("ab", max_size=2), _JUNK))
def test_any_rule_is_refused_or_decides(conditions: list[Any], content: dict[str, Any]) -> None:
    """T-H1, T-B7: whatever a user writes into a rule and a peer into an event, nothing else is raised."""
    try:
        edits = put_rule(NO_EDITS, "override", "a", {"conditions": conditions, "actions": []})
    except InvalidParam:
        return
    decide(message({**content, "body": content}), edits)
    decide(EVENT, edits, power_levels={"notifications": content})
    assert edits_from_json(json.loads(json.dumps(edits_to_json(edits)))) == edits
