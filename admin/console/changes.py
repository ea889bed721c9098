"""What an entry of the audit log changed, field by field, in words. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from admin.console.texts import may_say, say

# Fields whose number is a time, beside those that end with _ts.
_TIMES: Final = frozenset({"expiry_time", "valid_until_ms", "until_ms", "since_ms", "from_ms", "before"})
# Fields whose values have words: how these texts begin.
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "stage": ("stage_",),
    "outcome": ("outcome_", "action_"),
    "act": ("act_",),
    "role": ("",),
    "membership": ("",),
    "kind": ("action_", "job_", ""),
    "when": ("hook_",),
    "how": ("how_",),
}
NOTHING: Final = "–"
_EMPTY: Final[tuple[object, ...]] = (None, "", [], {})
# Objects lie so deep within each other at most; deeper ones are one text.
_DEPTH_MAX: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field: what it is called, and its sides as text, None for one that the log doesn't tell.

    With `is_time` the sides are milliseconds since the epoch.
    """

    name: str
    before: str | None
    after: str | None
    is_time: bool = False


def changes(before: str | None, after: str | None, language: str) -> list[Change]:
    """The fields of both sides, as the log keeps them, without those that stayed as they were."""
    old, new = _fields(before), _fields(after)
    return [
        Change(
            name=" · ".join(_name(part, language) for part in path),
            before=_text(path[-1], old[path], language) if path in old else None,
            after=_text(path[-1], new[path], language) if path in new else None,
            is_time=_is_time(path[-1], old.get(path)) or _is_time(path[-1], new.get(path)),
        )
        for path in {**old, **new}
        if (old[path] != new[path] if path in old and path in new else {**old, **new}[path] not in _EMPTY)
    ]


def target_words(target: str, language: str) -> str:
    """Whom or what an act or a job was about, where that is no id of anything: `rooms`, or `retention !room:server`."""
    first, _, rest = target.partition(" ")
    if not may_say(f"target_{first}"):
        return target
    return " ".join(part for part in (say(f"target_{first}", language, {}), rest) if part)


def _fields(side: str | None) -> dict[tuple[str, ...], Any]:
    """Values by the path of their names: objects within objects are taken apart, lists are not."""
    found: dict[tuple[str, ...], Any] = {}

    def take(value: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for name, inner in value.items():
            if isinstance(inner, dict) and inner and len(path) + 1 < _DEPTH_MAX:
                take(inner, (*path, name))
            else:
                found[(*path, name)] = inner

    value = json.loads(side) if side else {}
    take(value if isinstance(value, dict) else {"": value}, ())
    return found


def _name(field: str, language: str) -> str:
    return say(f"field_{field}", language, {}) if may_say(f"field_{field}") else field.replace("_", " ")


def _is_time(field: str, value: object) -> bool:
    return isinstance(value, int) and value > 0 and (field.endswith("_ts") or field in _TIMES)


def _text(field: str, value: Any, language: str) -> str:
    if value in _EMPTY:
        return NOTHING
    if isinstance(value, bool):
        return say("yes" if value else "no", language, {})
    if isinstance(value, list):
        return ", ".join(_text(field, one, language) for one in value)
    if isinstance(value, dict):
        said = (
            f"{_name(name, language)} {_text(name, one, language)}" for name, one in value.items() if one not in _EMPTY
        )
        return f"({'; '.join(said)})"
    keys = (f"{prefix}{value}" for prefix in _WORDS.get(field, ()))
    key = next((key for key in keys if may_say(key)), None)
    return say(key, language, {}) if key is not None else str(value)
