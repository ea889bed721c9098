"""Paths to a property of an event, such as `content.m\\.relates_to.rel_type`.

spec: appendices/#dot-separated-property-paths
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Path = tuple[str, ...]


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT: Final = _Absent()
"""What stands at a path that an event doesn't have; None is a value."""


def parse_path(path: str) -> Path:
    """The names along a path. A dot parts them; `\\.` and `\\\\` stand for themselves, other backslashes are kept."""
    names: list[str] = []
    name: list[str] = []
    characters = iter(path)
    for char in characters:
        if char == ".":
            names.append("".join(name))
            name = []
        elif char == "\\":
            following = next(characters, "")
            name.append(following if following in (".", "\\") else char + following)
        else:
            name.append(char)
    names.append("".join(name))
    return tuple(names)


def value_at(value: object, path: Path) -> Any:
    """What stands at this path, or ABSENT."""
    for name in path:
        # Nearly always a dict: asking that first spares the slower question.
        if (type(value) is not dict and not isinstance(value, Mapping)) or name not in value:
            return ABSENT
        value = value[name]
    return value
