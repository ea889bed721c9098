"""Glob patterns without regular expressions. spec: appendices/#glob-style-matching

Patterns come from users and match what others wrote, so each search is linear in the text: literal parts by the
substring search of the language, parts with `?` by a bit-parallel automaton. Nothing backtracks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# A lone surrogate: no text that came through the parser holds one.
_MARK = "\ud800"
_TOKEN = re.compile(r"[A-Za-z0-9_]+|[^A-Za-z0-9_]", re.ASCII | re.DOTALL)
_WORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
# The automaton takes about 0.1 µs a character, so `?` is searched for in so much of a text and no more.
AUTOMATON_CHARS_MAX = 4_096


def fold(text: str) -> str:
    """The form in which two texts are compared case-insensitively."""
    return text.lower()


class Words:
    """A folded text, prepared for any number of searches for whole words in it. Cost: one pass."""

    __slots__ = ("_marked", "text")

    def __init__(self, text: str) -> None:
        self.text = fold(text)
        self._marked: str | None = None

    @property
    def marked(self) -> str:
        """The text with a mark at each word boundary: whole words are then found by plain substring search."""
        if self._marked is None:
            self._marked = _mark(self.text)
        return self._marked

    @property
    def parts(self) -> frozenset[str]:
        """The words of it, and the characters that stand between them."""
        return frozenset(_TOKEN.findall(self.text))

    def has_whole(self, literal: str) -> bool:
        """Whether this literal text, in which `*` and `?` stand for themselves, is in it between word boundaries."""
        folded = fold(literal)
        return folded in self.text and _mark(folded) in self.marked


def rarest_part(literal: str) -> str:
    """One of `Words.parts` of every text that has this literal whole: its longest. Empty where it has none."""
    return max(_TOKEN.findall(fold(literal)), key=len, default="")


def _mark(text: str) -> str:
    return f"{_MARK}{_MARK.join(_TOKEN.findall(text))}{_MARK}" if text else _MARK


class WholeGlob:
    """A pattern that must match a whole value, case-insensitively."""

    __slots__ = ("_parts", "pattern")

    def __init__(self, pattern: str, *, folded: bool = True) -> None:
        self.pattern = fold(pattern) if folded else pattern
        self._parts = self.pattern.split("*")

    def matches(self, text: str) -> bool:
        """Whether it matches this text, which must be folded already if the pattern is."""
        parts = self._parts
        if len(parts) == 1:
            return self.pattern == text if "?" not in self.pattern else _equal_at(text, parts[0], 0, whole=True)
        first, last = parts[0], parts[-1]
        end = len(text) - len(last)
        if end < len(first) or not _equal_at(text, first, 0) or not _equal_at(text, last, end):
            return False
        position = len(first)
        for part in parts[1:-1]:
            found = _find(text, part, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True


def _equal_at(text: str, part: str, start: int, *, whole: bool = False) -> bool:
    """Whether `part`, in which `?` is any character, stands in the text at `start`."""
    if whole and len(text) != len(part):
        return False
    if "?" not in part:
        return text.startswith(part, start)
    return start + len(part) <= len(text) and all(
        wanted in ("?", text[start + offset]) for offset, wanted in enumerate(part)
    )


def _find(text: str, part: str, start: int, end: int) -> int:
    """The first place of `part` within text[start:end], or -1."""
    if "?" not in part:
        return text.find(part, start, end)
    return next(_Automaton(part).places(text, start, end), -1)


class _Automaton:
    """Finds a part with `?` in one pass: bit i is set while the last i+1 characters fit the part's first i+1."""

    __slots__ = ("_literals", "_part")

    def __init__(self, part: str) -> None:
        self._part = part
        self._literals = [literal for literal in part.split("?") if literal]

    def places(self, text: str, start: int, end: int) -> Iterator[int]:
        """Where the part stands within text[start:end], of which it reads `AUTOMATON_CHARS_MAX` characters.

        Reads no further than it is asked for, and nothing for a part that is too long or has what the text hasn't: a
        part may be any length, and what is made of it takes the square of that.
        """
        part = self._part
        end = min(end, start + AUTOMATON_CHARS_MAX)
        if len(part) > end - start or any(text.find(literal, start, end) < 0 for literal in self._literals):
            return
        anything, bits = self._masks()
        state, accept = 0, 1 << (len(part) - 1)
        for index in range(start, end):
            state = ((state << 1) | 1) & bits.get(text[index], anything)
            if state & accept:
                yield index + 1 - len(part)

    def _masks(self) -> tuple[int, dict[str, int]]:
        """The places of the part at which any character fits, and those at which each of its own does."""
        own: dict[str, int] = {}
        for index, char in enumerate(self._part):
            own[char] = own.get(char, 0) | 1 << index
        anything = own.pop("?", 0)
        return anything, {char: mask | anything for char, mask in own.items()}


class WordGlob:
    """A pattern that must match some part of a text that starts and ends at a word boundary, case-insensitively.

    spec: client-server-api/#conditions-1 (`event_match` on `content.body`)
    """

    __slots__ = ("_needles", "_parts")

    def __init__(self, pattern: str) -> None:
        parts = fold(pattern).split("*")
        self._parts = parts
        # Without `?`, parts are looked for in the marked text; the outermost take the mark of their boundary along.
        self._needles: list[str] | None = None
        if "?" not in pattern:
            needles = [_MARK.join(_TOKEN.findall(part)) for part in parts]
            if needles[0]:
                needles[0] = _MARK + needles[0]
            if needles[-1]:
                needles[-1] += _MARK
            self._needles = needles

    def matches(self, words: Words) -> bool:
        if self._needles is None:
            return self._matches_slowly(words.text)
        text, position = words.marked, 0
        for needle in self._needles:
            found = text.find(needle, position)
            if found < 0:
                return False
            position = found + len(needle)
        return True

    def _matches_slowly(self, text: str) -> bool:
        """For patterns with `?`: the leftmost place of each part, the outermost at boundaries."""
        position, last = 0, len(self._parts) - 1
        for number, part in enumerate(self._parts):
            found = self._leftmost(text, part, position, at_start=number == 0, at_end=number == last)
            if found < 0:
                return False
            position = found + len(part)
        return True

    @staticmethod
    def _leftmost(text: str, part: str, position: int, *, at_start: bool, at_end: bool) -> int:
        if not part:
            return position
        for place in _Automaton(part).places(text, position, len(text)):
            if at_start and not _is_boundary(text, place):
                continue
            if at_end and not _is_boundary(text, place + len(part)):
                continue
            return place
        return -1


def _is_boundary(text: str, position: int) -> bool:
    """Whether a word may start or end here: at an end of the text, or beside a character that is in no word."""
    if position in (0, len(text)):
        return True
    return text[position - 1] not in _WORD or text[position] not in _WORD
