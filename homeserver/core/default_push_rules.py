"""The push rules that everybody has until they change them. spec: client-server-api/#predefined-rules"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from homeserver.core.identifiers import localpart_of
from homeserver.core.push_conditions import OWN_LOCALPART, OWN_USER_ID, THREAD_SUBSCRIPTION

KINDS = ("override", "content", "room", "sender", "underride")
"""The kinds of rules, in the order in which they are checked."""

POSTCONTENT = "postcontent"
"""The kind of the rules about followed threads (MSC4306), after the content rules. None of it are users' own."""

WITH_CONDITIONS = frozenset({"override", POSTCONTENT, "underride"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One push rule. `conditions` only where the kind is override or underride, `pattern` only where it is content."""

    kind: str
    rule_id: str
    actions: tuple[Any, ...]
    conditions: tuple[Mapping[str, Any], ...] = ()
    pattern: str | None = None
    enabled: bool = True
    default: bool = False

    def as_json(self, user_id: str = "") -> dict[str, Any]:
        """The rule as clients see it. `user_id` takes the place of the owner's id in server-default rules."""
        shown: dict[str, Any] = {
            "rule_id": self.rule_id,
            "default": self.default,
            "enabled": self.enabled,
            "actions": list(self.actions),
        }
        if self.kind in WITH_CONDITIONS:
            shown["conditions"] = [
                {key: user_id if value == OWN_USER_ID else value for key, value in condition.items()}
                for condition in self.conditions
            ]
        if self.pattern is not None:
            shown["pattern"] = localpart_of(user_id) if self.pattern == OWN_LOCALPART else self.pattern
        return shown


def _match(key: str, pattern: str) -> dict[str, Any]:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _default(kind: str, name: str, conditions: Sequence[dict[str, Any]], *actions: Any, enabled: bool = True) -> Rule:
    return Rule(
        kind=kind,
        rule_id=".m.rule." + name,
        conditions=tuple(MappingProxyType(condition) for condition in conditions),
        actions=actions,
        enabled=enabled,
        default=True,
    )


def _poll(kind: str, name: str, conditions: Sequence[dict[str, Any]], *actions: Any) -> Rule:
    """A rule about polls (MSC3930), under the unstable name that clients look for."""
    return replace(_default(kind, name, conditions, *actions), rule_id=".org.matrix.msc3930.rule." + name)


def _thread(name: str, subscribed: bool, *actions: Any) -> Rule:
    """A rule about threads (MSC4306), under the unstable name that clients look for."""
    conditions = [{"kind": THREAD_SUBSCRIPTION, "subscribed": subscribed}]
    return replace(_default(POSTCONTENT, name, conditions, *actions), rule_id=".io.element.msc4306.rule." + name)


def _sound(value: str) -> Mapping[str, Any]:
    return {"set_tweak": "sound", "value": value}


_HIGHLIGHT: Mapping[str, Any] = {"set_tweak": "highlight"}
_TWO_MEMBERS: dict[str, Any] = {"kind": "room_member_count", "is": "2"}
_POLL_START = _match("type", "org.matrix.msc3381.poll.start")
_POLL_END = _match("type", "org.matrix.msc3381.poll.end")

# spec: client-server-api/#predefined-rules, in its order, which is the order of their priority.
LEGACY_MENTIONS = frozenset(f".m.rule.{name}" for name in ("contains_display_name", "roomnotif", "contains_user_name"))
"""The rules of before v1.17, which look for names in the text. They hold only for events without `m.mentions`.

Every client that people write with has said since v1.7 whom it mentions; bots and bridges often don't, and without
these rules nobody would hear from them. Whoever doesn't want that switches them off, as any rule.
"""

MASTER = _default("override", "master", [], enabled=False)
OVERRIDES = (
    _default("override", "suppress_notices", [_match("content.msgtype", "m.notice")]),
    _default(
        "override",
        "invite_for_me",
        [
            _match("type", "m.room.member"),
            _match("content.membership", "invite"),
            _match("state_key", OWN_USER_ID),
        ],
        "notify",
        _sound("default"),
    ),
    _default("override", "member_event", [_match("type", "m.room.member")]),
    _default(
        "override",
        "is_user_mention",
        [{"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids", "value": OWN_USER_ID}],
        "notify",
        _sound("default"),
        _HIGHLIGHT,
    ),
    _default(
        "override",
        "contains_display_name",
        [{"kind": "contains_display_name"}],
        "notify",
        _sound("default"),
        _HIGHLIGHT,
    ),
    _default(
        "override",
        "is_room_mention",
        [
            {"kind": "event_property_is", "key": r"content.m\.mentions.room", "value": True},
            {"kind": "sender_notification_permission", "key": "room"},
        ],
        "notify",
        _HIGHLIGHT,
    ),
    _default(
        "override",
        "roomnotif",
        [_match("content.body", "@room"), {"kind": "sender_notification_permission", "key": "room"}],
        "notify",
        _HIGHLIGHT,
    ),
    _default(
        "override", "tombstone", [_match("type", "m.room.tombstone"), _match("state_key", "")], "notify", _HIGHLIGHT
    ),
    _default("override", "reaction", [_match("type", "m.reaction")]),
    _default("override", "room.server_acl", [_match("type", "m.room.server_acl"), _match("state_key", "")]),
    _default(
        "override",
        "suppress_edits",
        [{"kind": "event_property_is", "key": r"content.m\.relates_to.rel_type", "value": "m.replace"}],
    ),
    _poll("override", "poll_response", [_match("type", "org.matrix.msc3381.poll.response")]),
)
CONTENTS = (
    Rule(
        kind="content",
        rule_id=".m.rule.contains_user_name",
        pattern=OWN_LOCALPART,
        actions=("notify", _sound("default"), _HIGHLIGHT),
        default=True,
    ),
)
# Only of those whose clients follow threads: else nobody would hear of what is said in one.
THREADS = (
    _thread("unsubscribed_thread", False),
    _thread("subscribed_thread", True, "notify", _sound("default")),
)
UNDERRIDES = (
    _default("underride", "call", [_match("type", "m.call.invite")], "notify", _sound("ring")),
    _default(
        "underride",
        "encrypted_room_one_to_one",
        [_TWO_MEMBERS, _match("type", "m.room.encrypted")],
        "notify",
        _sound("default"),
    ),
    _default(
        "underride", "room_one_to_one", [_TWO_MEMBERS, _match("type", "m.room.message")], "notify", _sound("default")
    ),
    _default("underride", "message", [_match("type", "m.room.message")], "notify"),
    _default("underride", "encrypted", [_match("type", "m.room.encrypted")], "notify"),
    _poll("underride", "poll_start_one_to_one", [_TWO_MEMBERS, _POLL_START], "notify", _sound("default")),
    _poll("underride", "poll_start", [_POLL_START], "notify"),
    _poll("underride", "poll_end_one_to_one", [_TWO_MEMBERS, _POLL_END], "notify", _sound("default")),
    _poll("underride", "poll_end", [_POLL_END], "notify"),
)
DEFAULTS: Mapping[tuple[str, str], Rule] = MappingProxyType(
    {(rule.kind, rule.rule_id): rule for rule in (MASTER, *OVERRIDES, *CONTENTS, *THREADS, *UNDERRIDES)}
)
