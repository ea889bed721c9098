"""Push rules: a user's ruleset, its edits, and what it says of an event. spec: client-server-api/#push-rules

A user's `PushEdits` hold what differs from the server's defaults and are all that is stored. `effective` joins them
with the defaults; `compile_ruleset` makes that ready to be asked, about 1 µs per user where the defaults stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from homeserver.core.default_push_rules import (
    CONTENTS,
    DEFAULTS,
    KINDS,
    LEGACY_MENTIONS,
    MASTER,
    OVERRIDES,
    POSTCONTENT,
    THREADS,
    UNDERRIDES,
    WITH_CONDITIONS,
    Rule,
)
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.push_conditions import (
    NO_MENTIONS,
    THREAD_SUBSCRIPTION,
    Condition,
    EventView,
    Recipient,
    body_condition,
    compile_condition,
    contains_automaton,
)

__all__ = [
    "KINDS",
    "NO_EDITS",
    "Actions",
    "Compiled",
    "EventView",
    "PushEdits",
    "Rule",
    "classify",
    "compile_ruleset",
    "delete_rule",
    "edits_from_json",
    "edits_to_json",
    "effective",
    "find_rule",
    "put_rule",
    "ruleset_json",
    "set_actions",
    "set_enabled",
]

RULES_MAX = 2_000
# Rules with conditions or patterns are each asked about each event; those of rooms and senders are looked up.
ASKED_RULES_MAX = 500
AUTOMATA_MAX = 20
RULE_ID_CHARS_MAX = 255
PATTERN_CHARS_MAX = 255
CONDITIONS_MAX = 20
ACTIONS_MAX = 20
TEXT_CHARS_MAX = 1_024

_LOOKED_UP = frozenset({"room", "sender"})
_HISTORICAL_ACTIONS = frozenset({"dont_notify", "coalesce"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PushEdits:
    """What a user's ruleset has beside the defaults: own rules by kind, most important first, and changed defaults."""

    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    changed: Mapping[tuple[str, str], Rule] = field(default_factory=dict)
    # Whether a client of theirs follows threads (MSC4306): then the rules about that are theirs too.
    follows_threads: bool = False

    def own(self, kind: str) -> tuple[Rule, ...]:
        return self.rules.get(kind, ())

    def position(self, kind: str, rule_id: str) -> int | None:
        return next((index for index, rule in enumerate(self.own(kind)) if rule.rule_id == rule_id), None)

    def with_own(self, kind: str, rules: Iterable[Rule]) -> PushEdits:
        return replace(self, rules={**self.rules, kind: tuple(rules)})


NO_EDITS = PushEdits()

Ruleset = Mapping[str, tuple[Rule, ...]]
"""All rules that are in force for a user, by kind, the most important of each kind first."""


def effective(edits: PushEdits) -> Ruleset:
    """The whole ruleset: the user's rules above the server's, but `.m.rule.master` above all."""
    ruleset = {kind: edits.own(kind) for kind in KINDS}
    if edits.follows_threads:
        ruleset[POSTCONTENT] = tuple(_changed(edits, THREADS))
    if not edits.changed:
        ruleset["override"] = (MASTER, *ruleset["override"], *OVERRIDES)
        ruleset["content"] = (*ruleset["content"], *CONTENTS)
        ruleset["underride"] = (*ruleset["underride"], *UNDERRIDES)
        return ruleset
    master, *overrides = _changed(edits, (MASTER, *OVERRIDES))
    ruleset["override"] = (master, *ruleset["override"], *overrides)
    ruleset["content"] = (*ruleset["content"], *_changed(edits, CONTENTS))
    ruleset["underride"] = (*ruleset["underride"], *_changed(edits, UNDERRIDES))
    return ruleset


def _changed(edits: PushEdits, defaults: Iterable[Rule]) -> list[Rule]:
    return [edits.changed.get((rule.kind, rule.rule_id), rule) for rule in defaults]


def ruleset_json(edits: PushEdits, user_id: str) -> dict[str, list[dict[str, Any]]]:
    """The content of `global`, as `GET /pushrules/` and m.push_rules show it to this user."""
    return {kind: [rule.as_json(user_id) for rule in rules] for kind, rules in effective(edits).items()}


def find_rule(edits: PushEdits, kind: str, rule_id: str) -> Rule:
    """Raises NotFound, also for a kind that doesn't exist: clients so probe for kinds of proposals."""
    position = edits.position(kind, rule_id) if kind in KINDS else None
    if position is not None:
        return edits.own(kind)[position]
    default = DEFAULTS.get((kind, rule_id))
    if default is None or (kind == POSTCONTENT and not edits.follows_threads):
        raise NotFound("the push rule was not found")
    return edits.changed.get((kind, rule_id), default)


def put_rule(
    edits: PushEdits,
    kind: str,
    rule_id: str,
    body: object,
    *,
    before: str | None = None,
    after: str | None = None,
) -> PushEdits:
    """The edits with this rule added, or replaced where it is there already; a replaced one stays on or off as it was.

    Raises InvalidParam, or M_UNKNOWN where `before` or `after` names no rule of the user.
    spec: client-server-api/#put_matrixclientv3pushrulesglobalkindruleid
    """
    _check_kind(kind)
    _check_rule_id(rule_id)
    rule = _parse_rule(kind, rule_id, body)
    old = edits.position(kind, rule_id)
    if old is not None:
        rule = replace(rule, enabled=edits.own(kind)[old].enabled)
    others = [other for other in edits.own(kind) if other.rule_id != rule_id]
    # Both are checked even where only `before` counts.
    above = _place(others, before)
    below = _place(others, after)
    if above is not None:
        others.insert(above, rule)
    elif below is not None:
        others.insert(below + 1, rule)
    else:
        others.insert(old if old is not None else 0, rule)
    changed = edits.with_own(kind, others)
    check_caps(changed)
    return changed


def delete_rule(edits: PushEdits, kind: str, rule_id: str) -> PushEdits:
    """Raises NotFound; InvalidParam for the server's own rules, which can be switched off instead."""
    find_rule(edits, kind, rule_id)
    if edits.position(kind, rule_id) is None:
        raise InvalidParam("a server-default rule can't be deleted, only disabled")
    return edits.with_own(kind, (rule for rule in edits.own(kind) if rule.rule_id != rule_id))


def set_enabled(edits: PushEdits, kind: str, rule_id: str, enabled: object) -> PushEdits:
    """Raises NotFound, or InvalidParam where `enabled` is no boolean."""
    rule = find_rule(edits, kind, rule_id)
    if not isinstance(enabled, bool):
        raise InvalidParam("enabled must be true or false")
    return _with_changed(edits, replace(rule, enabled=enabled))


def set_actions(edits: PushEdits, kind: str, rule_id: str, actions: object) -> PushEdits:
    """Raises NotFound, or InvalidParam where these are no actions."""
    rule = find_rule(edits, kind, rule_id)
    return _with_changed(edits, replace(rule, actions=_parse_actions(actions)))


def _with_changed(edits: PushEdits, rule: Rule) -> PushEdits:
    if not rule.default:
        return edits.with_own(
            rule.kind, (rule if other.rule_id == rule.rule_id else other for other in edits.own(rule.kind))
        )
    changed = {**edits.changed, (rule.kind, rule.rule_id): rule}
    if rule == DEFAULTS[rule.kind, rule.rule_id]:
        del changed[rule.kind, rule.rule_id]
    return replace(edits, changed=changed)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise InvalidParam(f"the kind of a push rule must be one of {', '.join(KINDS)}")


def _check_rule_id(rule_id: str) -> None:
    if rule_id.startswith("."):
        raise InvalidParam("rule ids that start with a dot are the server's")
    if not rule_id or len(rule_id) > RULE_ID_CHARS_MAX:
        raise InvalidParam(f"a rule id must have 1 to {RULE_ID_CHARS_MAX} characters, got {len(rule_id)}")
    if any(char in rule_id for char in "/\\\x00"):
        raise InvalidParam("a rule id can't have slashes, backslashes or NUL")


def _place(rules: Sequence[Rule], rule_id: str | None) -> int | None:
    if rule_id is None:
        return None
    for index, rule in enumerate(rules):
        if rule.rule_id == rule_id:
            return index
    # The spec gives M_UNKNOWN for it.
    raise MatrixError(f"before/after rule not found among the user's own: {rule_id[:RULE_ID_CHARS_MAX]}")


def check_caps(edits: PushEdits) -> None:
    """Raises InvalidParam where these are more rules than a user may have."""
    asked = [rule for kind in KINDS if kind not in _LOOKED_UP for rule in edits.own(kind)]
    count = len(asked) + sum(len(edits.own(kind)) for kind in _LOOKED_UP)
    if count > RULES_MAX:
        raise InvalidParam(f"a user may have {RULES_MAX} push rules")
    if len(asked) > ASKED_RULES_MAX:
        raise InvalidParam(f"a user may have {ASKED_RULES_MAX} push rules with conditions or patterns")
    automata = sum(("?" in (rule.pattern or "")) + sum(map(contains_automaton, rule.conditions)) for rule in asked)
    if automata > AUTOMATA_MAX:
        raise InvalidParam(f"a user's push rules may have {AUTOMATA_MAX} patterns with `?`")


def _parse_rule(kind: str, rule_id: str, body: object) -> Rule:
    if not isinstance(body, dict):
        raise InvalidParam("a push rule must be an object")
    pattern = None
    conditions: tuple[Mapping[str, Any], ...] = ()
    if kind == "content":
        pattern = body.get("pattern")
        if not isinstance(pattern, str) or not 1 <= len(pattern) <= PATTERN_CHARS_MAX:
            raise InvalidParam(f"a content rule needs a pattern of 1 to {PATTERN_CHARS_MAX} characters")
    elif kind in WITH_CONDITIONS:
        conditions = _parse_conditions(body.get("conditions", []))
    return Rule(
        kind=kind,
        rule_id=rule_id,
        actions=_parse_actions(body.get("actions")),
        conditions=conditions,
        pattern=pattern,
    )


def _parse_conditions(conditions: object) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(conditions, list) or len(conditions) > CONDITIONS_MAX:
        raise InvalidParam(f"conditions must be a list of at most {CONDITIONS_MAX}")
    for condition in conditions:
        if not isinstance(condition, dict) or not isinstance(condition.get("kind"), str):
            raise InvalidParam("a condition must be an object with a kind")
        pattern = condition.get("pattern", "")
        if not isinstance(pattern, str) or len(pattern) > PATTERN_CHARS_MAX:
            raise InvalidParam(f"a pattern must be a string of at most {PATTERN_CHARS_MAX} characters")
        _check_flat(condition)
    return tuple(conditions)


def _parse_actions(actions: object) -> tuple[Any, ...]:
    """The actions as they were given; those that mean nothing any more do nothing.

    spec: client-server-api/#historical-actions
    """
    if not isinstance(actions, list) or len(actions) > ACTIONS_MAX:
        raise InvalidParam(f"actions must be a list of at most {ACTIONS_MAX}")
    kept: list[Any] = []
    for action in actions:
        if isinstance(action, dict) and isinstance(action.get("set_tweak"), str):
            _check_flat(action)
            kept.append(action)
        elif isinstance(action, str) and (action == "notify" or action in _HISTORICAL_ACTIONS):
            kept.append(action)
        else:
            raise InvalidParam('an action must be "notify" or an object with set_tweak')
    return tuple(kept)


def _check_flat(value: Mapping[str, Any]) -> None:
    """Conditions and tweaks have plain parameters; so a rule has a bounded size."""
    chars = 0
    for key, item in value.items():
        if isinstance(item, dict | list | float):
            raise InvalidParam("the parameters of conditions and actions are strings, integers, booleans or null")
        chars += len(key) + (len(item) if isinstance(item, str) else 8)
    if chars > TEXT_CHARS_MAX:
        raise InvalidParam(f"a condition or action may have {TEXT_CHARS_MAX} characters")


def edits_to_json(edits: PushEdits) -> dict[str, Any]:
    """What to store; `edits_from_json` reads it back."""
    return {
        "rules": {kind: [rule.as_json() for rule in rules] for kind, rules in edits.rules.items() if rules},
        "changed": [
            {"kind": rule.kind, "rule_id": rule.rule_id, "enabled": rule.enabled, "actions": list(rule.actions)}
            for rule in edits.changed.values()
        ],
        **({"follows_threads": True} if edits.follows_threads else {}),
    }


def edits_from_json(stored: Mapping[str, Any]) -> PushEdits:
    """Reads what `edits_to_json` wrote. Changes of defaults that no longer exist are dropped."""
    rules = {
        kind: tuple(
            Rule(
                kind=kind,
                rule_id=rule["rule_id"],
                actions=tuple(rule["actions"]),
                conditions=tuple(rule.get("conditions", ())),
                pattern=rule.get("pattern"),
                enabled=rule["enabled"],
            )
            for rule in listed
        )
        for kind, listed in stored.get("rules", {}).items()
    }
    changed = {
        key: replace(DEFAULTS[key], enabled=change["enabled"], actions=tuple(change["actions"]))
        for change in stored.get("changed", ())
        if (key := (change["kind"], change["rule_id"])) in DEFAULTS
    }
    return PushEdits(rules=rules, changed=changed, follows_threads=stored.get("follows_threads") is True)


@dataclass(frozen=True, slots=True)
class Actions:
    """What a matching rule asks for; `notify` is false where the rule is there to keep silent."""

    actions: tuple[Any, ...]
    notify: bool
    highlight: bool
    sound: str | None
    rule_id: str

    @classmethod
    def of(cls, rule: Rule) -> Actions:
        notify = "notify" in rule.actions
        tweaks = {
            action["set_tweak"]: action.get("value", True) for action in rule.actions if isinstance(action, Mapping)
        }
        sound = tweaks.get("sound")
        return cls(
            actions=rule.actions,
            notify=notify,
            highlight=notify and tweaks.get("highlight", False) is True,
            sound=sound if notify and isinstance(sound, str) else None,
            rule_id=rule.rule_id,
        )


def classify(actions: Actions | None) -> tuple[bool, bool, str | None]:
    """(whether to notify, whether to highlight, which sound)"""
    if actions is None:
        return (False, False, None)
    return (actions.notify, actions.highlight, actions.sound)


_Asked = tuple[tuple[Condition, ...], Actions]


class _Shared:
    """Rules that many users may have in common; a key by identity for what an event comes to under them."""

    __slots__ = ("asked",)

    def __init__(self, asked: tuple[_Asked, ...]) -> None:
        # Each with what it asks of the event alone, then what depends on who it is.
        self.asked = tuple(
            (
                tuple(condition for condition in conditions if condition.of_event_alone),
                tuple(condition for condition in conditions if not condition.of_event_alone),
                actions,
            )
            for conditions, actions in asked
        )


def _ask(rules: Iterable[Rule]) -> tuple[_Asked, ...]:
    return tuple((_conditions(rule), Actions.of(rule)) for rule in rules if rule.enabled)


def _conditions(rule: Rule) -> tuple[Condition, ...]:
    guard = (NO_MENTIONS,) if rule.default and rule.rule_id in LEGACY_MENTIONS else ()
    if rule.kind == "content":
        return (*guard, body_condition(rule.pattern or ""))
    return (*guard, *map(compile_condition, rule.conditions))


def _look_up(rules: Iterable[Rule]) -> dict[str, Actions]:
    return {rule.rule_id: Actions.of(rule) for rule in rules if rule.enabled}


# Compiled once: most users have these untouched, so what they come to is worked out once per event for all of them.
_SHARED_OVERRIDES = _Shared(_ask(OVERRIDES))
_SHARED_CONTENTS = _Shared(_ask(CONTENTS))
_SHARED_UNDERRIDES = _Shared(_ask(UNDERRIDES))

_NOBODY = Recipient("", None, 0, 0, None)


def _settle(event: EventView, shared: _Shared) -> tuple[_Asked, ...]:
    """The rules that may still match this event for somebody, with only the conditions that depend on who it is."""
    known: tuple[_Asked, ...] | None = event.settled.get(shared)
    if known is None:
        left: list[_Asked] = []
        for of_event, remaining, actions in shared.asked:
            for condition in of_event:
                if not condition.holds(event, _NOBODY):
                    break
            else:
                left.append((remaining, actions))
                if not remaining:
                    break
        known = event.settled[shared] = tuple(left)
    return known


class Compiled:
    """A user's ruleset, ready to be asked about any event. Keep it as long as the rules stay the same."""

    __slots__ = (
        "_default_contents",
        "_default_overrides",
        "_default_underrides",
        "_overrides",
        "_rooms",
        "_senders",
        "_threads",
        "_underrides",
        "asks_threads",
        "has_thread_rules",
    )

    def __init__(self, rules: Ruleset) -> None:
        own = {kind: [rule for rule in rules.get(kind, ()) if not rule.default] for kind in KINDS}
        master, *overrides = [rule for rule in rules.get("override", ()) if rule.default] or [MASTER]
        contents = [rule for rule in rules.get("content", ()) if rule.default]
        underrides = [rule for rule in rules.get("underride", ()) if rule.default]
        self._overrides = _ask([*([master] if master.enabled else []), *own["override"]])
        self._default_overrides = _shared_or_asked(overrides, OVERRIDES, _SHARED_OVERRIDES)
        # Content rules come right after the server's overrides, the user's own first.
        self._rooms = (_ask(own["content"]), _look_up(own["room"]))
        self._default_contents = _shared_or_asked(contents, CONTENTS, _SHARED_CONTENTS)
        self._threads = _ask(rules.get(POSTCONTENT, ()))
        self._senders = _look_up(own["sender"])
        self._underrides = _ask(own["underride"])
        self._default_underrides = _shared_or_asked(underrides, UNDERRIDES, _SHARED_UNDERRIDES)
        self.has_thread_rules = POSTCONTENT in rules
        # Whether it matters to any rule who follows a thread.
        conditions = (one for kind in rules.values() for rule in kind if rule.enabled for one in rule.conditions)
        self.asks_threads = any(one.get("kind") == THREAD_SUBSCRIPTION for one in conditions)

    def actions(
        self,
        event: EventView,
        *,
        user_id: str,
        display_name: str | None,
        member_count: int,
        sender_power: float,
        power_levels: Mapping[str, Any] | None,
    ) -> Actions | None:
        """What the first matching rule asks for; None if none matches or the user sent the event."""
        if event.sender == user_id:
            return None
        recipient = Recipient(user_id, display_name, member_count, sender_power, power_levels)
        content, rooms = self._rooms
        return (
            (self._overrides and _first(self._overrides, event, recipient))
            or _first(_settle(event, self._default_overrides), event, recipient)
            or (content and _first(content, event, recipient))
            or _first(_settle(event, self._default_contents), event, recipient)
            or (self._threads and _first(self._threads, event, recipient))
            or rooms.get(event.room_id)
            or self._senders.get(event.sender)
            or (self._underrides and _first(self._underrides, event, recipient))
            or _first(_settle(event, self._default_underrides), event, recipient)
            or None
        )


def _first(asked: Iterable[_Asked], event: EventView, recipient: Recipient) -> Actions | None:
    for conditions, actions in asked:
        for condition in conditions:
            if not condition.holds(event, recipient):
                break
        else:
            return actions
    return None


def _shared_or_asked(rules: Sequence[Rule], defaults: Sequence[Rule], shared: _Shared) -> _Shared:
    return shared if tuple(rules) == tuple(defaults) else _Shared(_ask(rules))


def compile_ruleset(rules: Ruleset) -> Compiled:
    """The ruleset that `effective` gave, ready to be asked. Cost: some µs per rule that isn't a default."""
    return Compiled(rules)
