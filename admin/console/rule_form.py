"""A spam rule as a form, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from admin.spam.rules import ACTIONS, HOOKS, Action, Rule
from homeserver.core.errors import InvalidParam

# How many actions the form has room for.
ACTION_ROWS = 4
# What a kind of action needs beside the reason: the one field that the form shows for it.
DETAILS: Mapping[str, str] = {
    "redact": "minutes",
    "mute": "minutes",
    "expire": "seconds",
    "burn": "seconds",
    "lock": "seconds",
    "quiet": "seconds",
    "rate_limit": "seconds",
    "mask": "pattern",
    "notify": "room_id",
    "webhook": "url",
}
_NUMBERS = ("minutes", "seconds")
_WHEN = "%Y-%m-%dT%H:%M"


def form_of(rule: Rule) -> dict[str, str]:
    """What the fields of the form say for this rule."""
    fields = {
        "id": rule.id,
        "title": rule.title,
        "condition": rule.condition,
        "stage": rule.stage,
        "version": str(rule.version),
        "percentage": str(rule.percentage),
        "rooms": "\n".join(rule.rooms),
        "priority": str(rule.priority),
        "from": _moment(rule.from_ms),
        "until": _moment(rule.until_ms),
        "per_minute": str(rule.limits.per_minute),
        "per_day": str(rule.limits.per_day),
        "share": str(round(rule.limits.share_max * 100)),
        "pack": rule.pack,
        **{f"when_{hook}": "on" for hook in rule.when},
        **({"fails_closed": "on"} if rule.fails_closed else {}),
    }
    for row, action in enumerate(rule.actions[:ACTION_ROWS]):
        detail = DETAILS.get(action.kind)
        value = getattr(action, detail) if detail is not None else ""
        fields |= {f"kind_{row}": action.kind, f"reason_{row}": action.reason, f"detail_{row}": str(value or "")}
    return fields


def rule_in(fields: Mapping[str, str]) -> dict[str, Any]:
    """The rule that a form's fields say, as the API takes it. Raises InvalidParam."""
    return {
        "id": fields.get("id", "").strip(),
        "title": fields.get("title", "").strip(),
        "when": [hook for hook in HOOKS if f"when_{hook}" in fields],
        "condition": fields.get("condition", "").strip().replace("\r\n", "\n"),
        "actions": [action for row in range(ACTION_ROWS) if (action := _action(fields, row)) is not None],
        "version": _number(fields, "version", 1),
        "stage": fields.get("stage", "draft"),
        "percentage": _number(fields, "percentage", 100),
        "rooms": fields.get("rooms", "").split(),
        "priority": _number(fields, "priority", 100),
        "from_ms": _ms(fields, "from"),
        "until_ms": _ms(fields, "until"),
        "limits": {
            "per_minute": _number(fields, "per_minute", 600),
            "per_day": _number(fields, "per_day", 50_000),
            "share_max": _number(fields, "share", 30) / 100,
        },
        "fails_closed": "fails_closed" in fields,
        "pack": fields.get("pack", ""),
    }


def described(action: Action) -> str:
    """What an action needs beside its reason, as text."""
    detail = DETAILS.get(action.kind)
    value = getattr(action, detail) if detail is not None else ""
    return f"{detail}: {value}" if value else ""


def _action(fields: Mapping[str, str], row: int) -> dict[str, Any] | None:
    kind = fields.get(f"kind_{row}", "")
    if not kind:
        return None
    if kind not in ACTIONS:
        raise InvalidParam(f"there is no action {kind[:50]!r}")
    action: dict[str, Any] = {"kind": kind, "reason": fields.get(f"reason_{row}", "").strip()}
    detail, text = DETAILS.get(kind), fields.get(f"detail_{row}", "").strip()
    if detail in _NUMBERS and text:
        action[detail] = _number(fields, f"detail_{row}", 0)
    elif detail is not None and text:
        action[detail] = text
    return action


def _number(fields: Mapping[str, str], name: str, otherwise: int) -> int:
    text = fields.get(name, "").strip()
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidParam(f"{name} must be a whole number")
    return int(text)


def _ms(fields: Mapping[str, str], name: str) -> int:
    text = fields.get(name, "").strip()
    if not text:
        return 0
    try:
        moment = datetime.strptime(text[:16], _WHEN).replace(tzinfo=UTC)
    except ValueError:
        raise InvalidParam(f"{name} must be a time as 2030-12-31T23:59, in UTC") from None
    return max(0, int(moment.timestamp() * 1_000))


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(min(ms / 1_000, 253_402_300_799), UTC).strftime(_WHEN) if ms else ""
