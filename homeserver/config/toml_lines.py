"""On which line of a TOML file each key stands: the standard parser reads values and forgets where they were.

The text has been accepted by `tomllib` before, so this only has to skip what can't hold a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

Path = tuple[str | int, ...]

_KEY_PART = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"' + r"|'[^'\n]*'|#[^\n]*")


def lines_of(text: str) -> Mapping[Path, int]:
    """Line numbers, from 1, of every table and every key; an array of tables has its index in the path."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in _statements(text):
        stripped = line.strip()
        if stripped.startswith("[["):
            names = _resolve(_key(stripped[2:]), counts)
            counts[names] = counts.get(names, -1) + 1
            table = (*names, counts[names])
            found.setdefault(names, number)
            found[table] = number
        elif stripped.startswith("["):
            table = _resolve(_key(stripped[1:]), counts)
            found.setdefault(table, number)
        else:
            names = _key(stripped)
            for length in range(1, len(names) + 1):
                found.setdefault((*table, *names[:length]), number)
    return found


def _resolve(names: Path, counts: Mapping[Path, int]) -> Path:
    """The path with the index of the newest element after each array of tables that it passes through."""
    resolved: Path = ()
    for position, name in enumerate(names):
        resolved = (*resolved, name)
        if resolved in counts and position < len(names) - 1:
            resolved = (*resolved, counts[resolved])
    return resolved


def _key(text: str) -> Path:
    parts: list[str | int] = []
    position = 0
    while match := _KEY_PART.match(text, position):
        parts.append(match[1] if match[1] is not None else match[2] if match[2] is not None else match[3])
        position = match.end()
        if text[position : position + 1] != ".":
            break
        position += 1
    return tuple(parts)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """The first line of each statement. Those inside a long string, an array or an inline table are skipped."""
    depth = 0
    quote = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if not quote and depth == 0 and line.strip() and not line.lstrip().startswith("#"):
            yield number, line
            if line.lstrip().startswith("["):
                continue
        depth, quote = _after(line, depth, quote)


def _after(line: str, depth: int, quote: str) -> tuple[int, str]:
    """How deep in brackets, and in which long string, the line ends."""
    position = 0
    while position < len(line):
        if quote:
            end = line.find(quote, position)
            while quote == '"""' and end > 0 and line[end - 1] == "\\":
                end = line.find(quote, end + 1)
            if end < 0:
                return depth, quote
            position, quote = end + 3, ""
        elif line.startswith(('"""', "'''"), position):
            quote = line[position : position + 3]
            position += 3
        elif match := _STRING.match(line, position):
            position = match.end()
        else:
            depth += (line[position] in "[{") - (line[position] in "]}")
            position += 1
    return depth, quote
