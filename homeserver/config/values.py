"""From what a TOML file or an environment variable holds to a value of an option's type."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from immutables import Map

from homeserver.config.options import Option, Secret

_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})

_NAMES: Mapping[Any, str] = Map(
    {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a string",
        Path: "a path",
        Secret: "a string",
    }
)


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """The text of one environment variable, in the place where a file would have a value."""

    name: str
    text: str


class WrongValue(Exception):
    """A value of the wrong type or out of its bounds."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def without_none(kind: Any) -> tuple[Any, bool]:
    """The type without `| None`, and whether that was there."""
    if get_origin(kind) in (Union, UnionType):
        parts = [part for part in get_args(kind) if part is not NoneType]
        return parts[0], True
    return kind, False


def type_text(kind: Any) -> str:
    """The type in words, for messages and the reference page."""
    kind, _ = without_none(kind)
    origin = get_origin(kind)
    if origin is Literal:
        return "one of " + ", ".join(f"`{choice}`" for choice in get_args(kind))
    if origin is tuple:
        inner = get_args(kind)[0]
        if get_origin(inner) is Literal:
            return "a list of " + ", ".join(f"`{choice}`" for choice in get_args(inner))
        return {str: "a list of strings", Path: "a list of paths"}.get(inner, "a list of tables")
    if origin is not None and issubclass(origin, Mapping):
        return "a table"
    return _NAMES.get(kind, "a table")


def from_text(text: str, kind: Any) -> Any:
    """What an environment variable means for this type: lists by commas or JSON, tables as JSON."""
    kind, optional = without_none(kind)
    if optional and text == "":
        return None
    if kind is bool:
        lowered = text.lower()
        return True if lowered in _YES else False if lowered in _NO else text
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return text
    if kind in (str, Path, Secret) or get_origin(kind) is Literal:
        return text
    try:
        return json.loads(text)
    except ValueError:
        is_list = get_origin(kind) is tuple
        return [part.strip() for part in text.split(",") if part.strip()] if is_list else text


def plain_value(raw: Any, option: Option, kind: Any) -> Any:
    """The value of an option that is not a section, checked. Raises WrongValue."""
    kind, optional = without_none(kind)
    if raw is None and optional:
        return None
    value = _convert(raw, kind)
    if value is _WRONG:
        wanted = type_text(kind)
        raise WrongValue(f"must be {wanted}, not {_shown(raw)}", f"write for example {_example(option, kind)}")
    _check_bounds(value, option)
    wrong = option.rule.check(value) if option.rule.check else None
    if wrong is not None:
        raise WrongValue(f"is wrong: {wrong}", option.rule.sentence)
    return value


_WRONG = object()


def _convert(raw: Any, kind: Any) -> Any:
    origin = get_origin(kind)
    if origin is Literal:
        return raw if isinstance(raw, str) and raw in get_args(kind) else _WRONG
    if origin is tuple:
        if not isinstance(raw, list):
            return _WRONG
        values = tuple(_convert(element, get_args(kind)[0]) for element in raw)
        return _WRONG if any(value is _WRONG for value in values) else values
    if origin is not None and issubclass(origin, Mapping):
        return _table(raw, get_args(kind)[1])
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if kind in (str, Path, Secret):
        return kind(raw) if isinstance(raw, str) and "\0" not in raw else _WRONG
    return raw if isinstance(raw, kind) and not (kind is int and isinstance(raw, bool)) else _WRONG


def _table(raw: Any, kind: Any) -> Any:
    if not isinstance(raw, dict) or not all(kind is object or isinstance(value, kind) for value in raw.values()):
        return _WRONG
    try:
        json.dumps(raw, allow_nan=False)
    except (TypeError, ValueError):
        return _WRONG
    return Map(raw)


def _check_bounds(value: Any, option: Option) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    low, high = option.rule.low, option.rule.high
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        raise WrongValue(f"must be {bounds_text(low, high)}, got {value}", option.rule.sentence)


def bounds_text(low: float | None, high: float | None) -> str:
    """The bounds in words; empty without any."""
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"at least {low}"
    return "" if high is None else f"at most {high}"


def secret_from_file(path: Path) -> Secret:
    """The first line of a file that only its owner can read. Raises WrongValue."""
    try:
        check_private(path)
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise WrongValue(f"can't be read from {path}: {reason}", "name a file that this user can read") from None
    if not value:
        raise WrongValue(f"is empty in {path}", "write the secret into the file")
    return Secret(value)


def check_private(path: Path) -> None:
    """Raises WrongValue when others than the owner may read the file or write it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise WrongValue(f"is in {path}, which others can open (mode {mode:04o})", f"type `chmod 600 {path}`")


def _shown(raw: Any) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, list):
        return "a list"
    return f"`{str(raw)[:60]}`"


def _example(option: Option, kind: Any) -> str:
    origin = get_origin(kind)
    if origin is Literal:
        value = f'"{get_args(kind)[0]}"'
    elif origin is tuple:
        inner = get_args(kind)[0]
        value = f'["{get_args(inner)[0] if get_origin(inner) is Literal else "..."}"]'
    elif kind is bool:
        value = "true"
    elif kind in (int, float):
        default = option.default
        value = str(default if default is not None else int(option.rule.low or 1))
    elif kind in (str, Path, Secret):
        value = '"..."'
    else:
        value = '{ key = "value" }'
    return f"`{option.name} = {value}`"
