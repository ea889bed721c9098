"""What somebody types into a search, as a query tree. Pure. The grammar is in docs/operating/query-language.md.

Words stand beside each other: all of them are wanted. Only what looks like an operator of ours is one; everything else
is text, whatever signs it has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from homeserver.core.errors import InvalidParam
from homeserver.core.folding import fold
from homeserver.core.identifiers import is_room_id, is_user_id
from search.analyser import phrases_of, words_of
from search.tiers import (
    All,
    AnyOf,
    Between,
    Fuzzy,
    Has,
    InRooms,
    InThread,
    LinksTo,
    Mentions,
    Not,
    Phrase,
    Prefix,
    Query,
    Senders,
    Term,
)

CHARS_MAX = 1_000
LEAVES_MAX = 64
DEPTH_MAX = 8
ROOMS_MAX = 8
# Prefixes and fuzzy words, which look at many terms of an index.
WIDE_MAX = 8
PREFIX_CHARS_MIN = 2
FUZZY_CHARS_MIN = 3
KINDS = ("link", "file", "image", "video", "audio", "code", "poll")

_OPERATOR = re.compile(r"(from|in|before|after|during|has|host|is|mentions):(?=\S)", re.IGNORECASE | re.ASCII)
# What a link may have there: names of any script, addresses.
_HOST = re.compile(r"[^\s/?#:@<>\"'()\[\]]{1,255}")
_ROOM = re.compile(r"(?:^|[\s(-])in:([#!][^\s)]+)", re.IGNORECASE)
_DATE = re.compile(r"(\d{4})(?:-(?:[Qq]([1-4])|(\d{2})(?:-(\d{2}))?))?", re.ASCII)


class QueryError(InvalidParam):
    """A query that can't be meant so: `position` is the character, from 1, where it goes wrong."""

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(f"search_term, character {position}: {problem}")
        self.position = position


@dataclass(frozen=True, slots=True)
class Parsed:
    """`words` are those that are wanted, as people read them, to be highlighted."""

    query: Query
    words: Sequence[str]


def rooms_in(text: str) -> list[str]:
    """The rooms that a query may name, by id or alias, to be looked up before it is parsed: ROOMS_MAX at most."""
    return list(dict.fromkeys(_ROOM.findall(text[:CHARS_MAX])))[:ROOMS_MAX]


def parse(text: str, *, me: str = "", rooms: Mapping[str, frozenset[str]] | None = None) -> Parsed | None:
    """The meaning of a query of the user `me`; None where there is nothing to look for.

    `rooms` has what is meant by each room that it names: the rooms of a space, those that a room was upgraded from.
    Raises QueryError.
    """
    if len(text) > CHARS_MAX:
        raise QueryError(CHARS_MAX + 1, f"a search may have {CHARS_MAX} characters")
    parser = _Parser(text, me, rooms or {})
    query = parser.alternatives(0)
    return Parsed(query, list(dict.fromkeys(parser.words))) if query is not None else None


class _Parser:
    def __init__(self, text: str, me: str, rooms: Mapping[str, frozenset[str]]) -> None:
        self._text = text
        self._me = me
        self._rooms = rooms
        self._at = 0
        self._leaves = 0
        self._wide = 0
        self._negated = 0
        self.words: list[str] = []

    def alternatives(self, depth: int) -> Query | None:
        """What stands between `OR`s, up to the end or the parenthesis that ends this group."""
        found: list[Query] = []
        parts: list[Query] = []
        while self._skip_spaces():
            if depth and self._text[self._at] == ")":
                break
            if parts and self._takes_or(depth):
                found.append(_all(parts))
                parts = []
                continue
            part = self._part(depth)
            if part is not None:
                parts.append(part)
        if parts:
            found.append(_all(parts))
        if not found:
            return None
        return found[0] if len(found) == 1 else AnyOf(tuple(found))

    def _skip_spaces(self) -> bool:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._at < len(self._text)

    def _takes_or(self, depth: int) -> bool:
        """An `OR` with something on both sides. Elsewhere it is a word: people also write of Oregon."""
        rest = self._text[self._at + 2 :]
        following = rest.lstrip()
        if not self._text.startswith("OR", self._at) or not rest[:1].isspace() or not following:
            return False
        if depth and following.startswith(")"):
            return False
        self._at += 2
        return True

    def _part(self, depth: int) -> Query | None:
        start, text = self._at, self._text
        if text[start] == "-" and text[start + 1 : start + 2].strip() not in ("", "-"):
            self._at += 1
            self._negated += 1
            part = self._positive(depth)
            self._negated -= 1
            return Not(part) if part is not None else None
        return self._positive(depth)

    def _positive(self, depth: int) -> Query | None:
        start = self._at
        if self._text[start] == "(":
            return self._group(depth)
        if self._text[start] == '"':
            end = self._text.find('"', start + 1)
            if end < 0:
                raise QueryError(start + 1, 'this " has no second one')
            self._at = end + 1
            return self._quoted(self._text[start + 1 : end], start)
        chunk = self._chunk(depth)
        operator = _OPERATOR.match(chunk)
        if operator is not None:
            self._count(start)
            return self._operated(operator[1].lower(), chunk[operator.end() :], start, start + operator.end())
        return self._word(chunk, start)

    def _group(self, depth: int) -> Query | None:
        start = self._at
        if depth == DEPTH_MAX:
            raise QueryError(start + 1, f"parentheses may be {DEPTH_MAX} deep")
        self._at += 1
        inner = self.alternatives(depth + 1)
        if self._at >= len(self._text):
            raise QueryError(start + 1, "this ( is never closed")
        self._at += 1
        return inner

    def _chunk(self, depth: int) -> str:
        """Up to the next space, or the parenthesis that ends the group."""
        start, opened = self._at, 0
        while self._at < len(self._text) and not (char := self._text[self._at]).isspace():
            if char == ")" and depth and not opened and self._at > start:
                break
            opened += (char == "(") - (char == ")" and opened > 0)
            self._at += 1
        return self._text[start : self._at]

    def _quoted(self, text: str, start: int) -> Query | None:
        self._hear(text)
        return self._runs(text, start)

    def _word(self, chunk: str, start: int) -> Query | None:
        if chunk.endswith("*") and chunk[-2:-1].isalnum():
            return self._prefix(chunk[:-1], start)
        if chunk.endswith("~") and chunk[-2:-1].isalnum():
            return self._fuzzy(chunk[:-1], start)
        self._hear(chunk)
        return self._runs(chunk, start)

    def _prefix(self, word: str, start: int) -> Query | None:
        self._hear(word)
        phrases = phrases_of(word)
        last = phrases[-1][-1] if phrases else ""
        if not fold(word).endswith(last) or phrases_of(word + "a")[-1][-1] != last + "a":
            # Scripts that are cut into pairs are searched for parts of words anyway.
            return self._runs(word, start)
        if len(last) < PREFIX_CHARS_MIN:
            raise QueryError(start + 1, f"* needs {PREFIX_CHARS_MIN} letters before it")
        self._count(start, is_wide=True)
        before = [*phrases[:-1], phrases[-1][:-1]]
        return _all([*(_run(run) for run in before if run), Prefix(last)])

    def _fuzzy(self, word: str, start: int) -> Query | None:
        self._hear(word)
        folded = fold(word)
        if phrases_of(word) != [(folded,)]:
            return self._runs(word, start)
        if len(folded) < FUZZY_CHARS_MIN:
            raise QueryError(start + 1, f"~ needs {FUZZY_CHARS_MIN} letters before it")
        self._count(start, is_wide=True)
        return Fuzzy(folded, 1 if len(folded) < 6 else 2)

    def _runs(self, text: str, start: int) -> Query | None:
        runs = phrases_of(text)
        for _ in runs:
            self._count(start)
        return _all([_run(run) for run in runs]) if runs else None

    def _operated(self, operator: str, value: str, start: int, value_start: int) -> Query:
        match operator:
            case "from":
                return Senders(frozenset({self._user(value, value_start)}))
            case "mentions":
                return Mentions(self._user(value, value_start))
            case "in":
                if value not in self._rooms and not is_room_id(value):
                    known = "no room here has this alias" if value.startswith("#") else "in: takes !room or #alias"
                    raise QueryError(value_start + 1, known)
                return InRooms(self._rooms.get(value, frozenset({value})))
            case "has":
                kinds = value.lower().split("|")
                if not set(kinds) <= set(KINDS):
                    raise QueryError(value_start + 1, f"has: takes {', '.join(KINDS)}")
                return AnyOf(tuple(map(Has, kinds))) if len(kinds) > 1 else Has(kinds[0])
            case "host":
                if not _HOST.fullmatch(host := value.lower().rstrip(".")):
                    raise QueryError(value_start + 1, "host: takes the name of a host, as in host:example.org")
                return LinksTo(host)
            case "is":
                if value.lower() != "thread":
                    raise QueryError(value_start + 1, "is: takes thread")
                return InThread()
            case _:
                first_ms, end_ms = _span(value, value_start)
                if operator == "before":
                    return Between(None, first_ms)
                return Between(end_ms, None) if operator == "after" else Between(first_ms, end_ms)

    def _user(self, value: str, start: int) -> str:
        if value.lower() == "me" and self._me:
            return self._me
        if not is_user_id(value):
            raise QueryError(start + 1, "here stands @user:server, or me")
        return value

    def _hear(self, text: str) -> None:
        if not self._negated:
            self.words.extend(words_of(text))

    def _count(self, start: int, *, is_wide: bool = False) -> None:
        self._leaves += 1
        self._wide += is_wide
        if self._leaves > LEAVES_MAX:
            raise QueryError(start + 1, f"a search may have {LEAVES_MAX} parts")
        if self._wide > WIDE_MAX:
            raise QueryError(start + 1, f"a search may have {WIDE_MAX} words with * or ~")


def _run(tokens: tuple[str, ...]) -> Query:
    return Term(tokens[0]) if len(tokens) == 1 else Phrase(tokens)


def _all(parts: Sequence[Query]) -> Query:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _span(value: str, start: int) -> tuple[int, int]:
    """First millisecond of a day, month, quarter or year in UTC, and the first one after it."""
    problem = QueryError(start + 1, "here stands a year, 2025-03, 2025-Q1 or 2025-03-31")
    match = _DATE.fullmatch(value)
    if match is None:
        raise problem
    year, quarter, month, day = (int(part) if part else None for part in match.groups())
    assert year is not None
    try:
        if day is not None:
            first = date(year, month or 0, day)
            return _ms(first), _ms(first) + 86_400_000
        months = 1 if month is not None else 3 if quarter is not None else 12
        begin = month if month is not None else 3 * quarter - 2 if quarter is not None else 1
        first, after = date(year, begin, 1), begin - 1 + months
        return _ms(first), _ms(date(year + after // 12, after % 12 + 1, 1))
    except ValueError:
        raise problem from None


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
