"""What a question finds in one file: from the index of words first, then only in what that points to."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap, BitMap64

from search.analyser import analyse
from search.archive.terms import HAS, HOST, KEY, MENTION, SENDER, TYPE
from search.documents import KEYS
from search.tiers import (
    FIRST_PLACE,
    LAST_PLACE,
    All,
    AnyOf,
    Between,
    Fuzzy,
    Has,
    Hit,
    InRooms,
    InThread,
    LinksTo,
    Mentions,
    Not,
    Phrase,
    Prefix,
    Query,
    Question,
    Senders,
    Term,
    Types,
)

if TYPE_CHECKING:
    from search.archive.reading import ArchiveFile

_HIT_COLUMNS = ("event_nid", "source_nid", "room_nid", "time_ms", "rank")
# Those that there are: nobody fills the memory by naming others.
KEY_TERMS = frozenset(KEY + key for key in KEYS.values())
_Intervals = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Found:
    """The first hits, and how many there are in all."""

    hits: list[Hit]
    count: int


class Asked:
    """A question to many files: what of it is the same for all, and how good a hit must be to be among the first."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.whole: dict[int, None] = {}
        self.parts: dict[int, _Intervals] = {}
        for room_nid, spans in question.scope.items():
            if any(first <= FIRST_PLACE and end >= LAST_PLACE for first, end in spans):
                self.whole[room_nid] = None
            elif spans:
                self.parts[room_nid] = spans
        self.numbers = np.fromiter(sorted(self.whole), np.int64, len(self.whole))
        self._lock = threading.Lock()
        self._best: list[tuple[float, int]] = []

    @property
    def floor(self) -> tuple[float, int] | None:
        """What isn't behind this cursor is none of the first, as other files have enough that are better."""
        with self._lock:
            return self._best[0] if len(self._best) == self.question.limit else None

    def found(self, hits: Sequence[Hit]) -> None:
        """A file has these."""
        with self._lock:
            self._best = heapq.nlargest(self.question.limit, [*self._best, *(hit.cursor for hit in hits)])[::-1]


def evaluate(file: ArchiveFile, question: Question | Asked, hidden: BitMap64) -> Found:
    """What it finds but for what is hidden. Of a question to many files only hits that may be among the first of all.

    Raises Damaged.
    """
    asked = question if isinstance(question, Asked) else Asked(question)
    rows, question = _Rows(file), asked.question
    seen, parted = _scoped(file, asked)
    if not seen:
        return Found([], 0)
    wanted = BitMap()
    for key in question.keys:
        wanted |= seen & rows.having(KEY + key)
    found = rows.matching(question.query, wanted)
    found = _in_places(file, found, parted)
    found = _shown(file, found, question.upto, hidden)
    hits = _first(file, found, asked)
    asked.found(hits)
    return Found(hits, len(found))


def _scoped(file: ArchiveFile, asked: Asked) -> tuple[BitMap, list[tuple[int, int, _Intervals]]]:
    """The rows of rooms that are seen, and those of them (from a row to before another) of which parts are."""
    seen, parted = BitMap(), []
    is_whole = np.zeros(len(file.room_nids), np.bool_)
    if len(asked.numbers):
        at = np.minimum(np.searchsorted(asked.numbers, file.room_nids), len(asked.numbers) - 1)
        is_whole = asked.numbers[at] == file.room_nids
    if is_whole.all():
        seen.add_range(0, file.head.rows)
        return seen, []
    for place in np.flatnonzero(is_whole).tolist():
        room = file.rooms[place]
        seen.add_range(room.first_row, room.first_row + room.count)
    if asked.parts:
        for place in np.flatnonzero(~is_whole).tolist():
            room = file.rooms[place]
            spans = asked.parts.get(room.room_nid)
            if spans:
                last = room.first_row + room.count
                seen.add_range(room.first_row, last)
                parted.append((room.first_row, last, spans))
    return seen, parted


def _in_places(file: ArchiveFile, found: BitMap, parted: Sequence[tuple[int, int, _Intervals]]) -> BitMap:
    """Of rooms that are seen in parts, what lies in these."""
    unseen = BitMap()
    for first, last, spans in parted:
        span = BitMap()
        span.add_range(first, last)
        for group, begin, rows in _by_group(file, found & span):
            if _covers(spans, file.bounds(group, "place")) and _covers(spans, file.bounds(group, "source_place")):
                continue
            places, sources = file.column(group, "place"), file.column(group, "source_place")
            for row in rows:
                if not (_within(spans, places[row - begin]) and _within(spans, sources[row - begin])):
                    unseen.add(row)
    return found - unseen


def _covers(spans: _Intervals, bounds: tuple[int, int]) -> bool:
    return any(first <= bounds[0] and bounds[1] <= last for first, last in spans)


def _within(spans: _Intervals, place: int) -> bool:
    return any(first <= place <= last for first, last in spans)


def _shown(file: ArchiveFile, found: BitMap, upto: int, hidden: BitMap64) -> BitMap:
    unshown = BitMap()
    for group, begin, rows in _by_group(file, found):
        least, most = file.bounds(group, "event_nid")
        if most <= upto and not hidden.range_cardinality(least, most + 1):
            continue
        nids = file.column(group, "event_nid")
        unshown.update(row for row in rows if nids[row - begin] > upto or nids[row - begin] in hidden)
    return found - unshown


def _first(file: ArchiveFile, found: BitMap, asked: Asked) -> list[Hit]:
    """The first ones in the order asked for. Row groups that can't have any of them aren't read."""
    question, floor = asked.question, asked.floor
    order = "rank" if question.by_rank else "time_ms"
    groups = sorted(_by_group(file, found), key=lambda one: file.bounds(one[0], order)[1], reverse=True)
    best: list[Hit] = []
    for group, begin, rows in groups:
        most = (file.bounds(group, order)[1], 2**63)
        if (floor is not None and most <= floor) or (len(best) == question.limit and most <= best[-1].cursor):
            break
        if question.after is not None and (file.bounds(group, order)[0], 0) > question.after:
            continue
        best = sorted([*best, *_of_group(file, group, np.array(rows) - begin, question)], key=_cursor, reverse=True)
        del best[question.limit :]
    return best


def _of_group(file: ArchiveFile, group: int, at: npt.NDArray[np.int64], question: Question) -> list[Hit]:
    """The first of these rows of a group, in no order."""
    file.load(group, _HIT_COLUMNS)
    values = {name: file.numbers(group, name)[at] for name in _HIT_COLUMNS}
    keys, nids = values["rank" if question.by_rank else "time_ms"], values["event_nid"]
    order = np.lexsort((nids, keys))
    if question.after is not None:
        value, nid = question.after
        order = order[((keys < value) | ((keys == value) & (nids < nid)))[order]]
    columns = [values[name][order[-question.limit :]].tolist() for name in _HIT_COLUMNS]
    return [
        Hit(nid, source, room, float(rank), (rank if question.by_rank else time_ms, nid))
        for nid, source, room, time_ms, rank in zip(*columns, strict=True)
    ]


def _cursor(hit: Hit) -> tuple[float, int]:
    return hit.cursor


def _by_group(file: ArchiveFile, rows: BitMap) -> list[tuple[int, int, list[int]]]:
    """Row groups that have some of these rows: (number, its first row, those rows)."""
    groups = []
    for group in range(file.groups):
        begin, end = file.span(group)
        if rows.range_cardinality(begin, end):
            span = BitMap()
            span.add_range(begin, end)
            groups.append((group, begin, (rows & span).to_array().tolist()))
    return groups


class _Rows:
    """Looks at one file for the parts of a query."""

    def __init__(self, file: ArchiveFile) -> None:
        self._file = file
        self._known: dict[str, BitMap] = {}

    def having(self, term: str) -> BitMap:
        """The rows that have a term."""
        # Every question names a key: which rows have it is remembered from one question to the next.
        known = self._file.keys if term.startswith(KEY) else self._known
        found = known.get(term)
        if found is None:
            found = self._file.terms.rows(term)
            if known is self._known or term in KEY_TERMS:
                known[term] = found
        return found

    def matching(self, query: Query, within: BitMap) -> BitMap:
        """The rows among `within` that a query means: exactly those."""
        if not within:
            return within
        match query:
            case All(parts):
                for part in sorted(parts, key=_cost):
                    within = self.matching(part, within)
                return within
            case AnyOf(parts):
                found = BitMap()
                for part in sorted(parts, key=_cost):
                    found |= self.matching(part, within - found)
                return found
            case Not(part):
                return within - self.matching(part, within)
            case Phrase(tokens):
                return self._with_phrase(tokens, within)
            case Between(after, before):
                return self._between(after, before, within)
            case InRooms(room_ids):
                rooms = BitMap()
                for room in self._file.rooms:
                    if room.room_id in room_ids:
                        rooms.add_range(room.first_row, room.first_row + room.count)
                return within & rooms
            case _:
                return within & self._leaf(query)

    def _leaf(self, query: Query) -> BitMap:
        match query:
            case Term(token):
                return self.having(token)
            case Prefix(token):
                return self._file.terms.with_prefix(token)
            case Fuzzy(token, distance):
                return self._file.terms.alike(token, distance)
            case Senders(user_ids):
                return self._any(SENDER + user_id for user_id in user_ids)
            case Types(types):
                return self._any(TYPE + kind for kind in types)
            case Has(kind):
                return self.having(HAS + kind)
            case InThread():
                return self.having(HAS + "thread")
            case Mentions(user_id):
                return self.having(MENTION + user_id)
            case LinksTo(host):
                return self.having(HOST + host)
            case _:
                raise TypeError(type(query))

    def _any(self, terms: Iterable[str]) -> BitMap:
        found = BitMap()
        for term in sorted(terms):
            found |= self.having(term)
        return found

    def _with_phrase(self, tokens: tuple[str, ...], within: BitMap) -> BitMap:
        """Whether they stand one after the other says the text alone."""
        for token in tokens:
            within = within & self.having(token)
        found = BitMap()
        size = len(tokens)
        for group, begin, rows in _by_group(self._file, within):
            bodies = self._file.column(group, "body")
            for row in rows:
                held = analyse(bodies[row - begin]).tokens
                if any(tuple(held[at : at + size]) == tokens for at in range(len(held) - size + 1)):
                    found.add(row)
        return found

    def _between(self, after: int | None, before: int | None, within: BitMap) -> BitMap:
        found = BitMap()
        for group, begin, rows in _by_group(self._file, within):
            least, most = self._file.bounds(group, "origin_server_ts")
            if (after is not None and most < after) or (before is not None and least >= before):
                continue
            if (after is None or after <= least) and (before is None or most < before):
                found.update(rows)
                continue
            said = self._file.column(group, "origin_server_ts")
            found.update(
                row
                for row in rows
                if (after is None or after <= said[row - begin]) and (before is None or said[row - begin] < before)
            )
        return found


def _cost(query: Query) -> int:
    """What narrows most for least comes first."""
    match query:
        case Term() | InRooms() | Mentions() | LinksTo() | Has() | InThread() | Types():
            return 0
        case Senders():
            return 1
        case Prefix():
            return 2
        case Phrase():
            return 4
        case Fuzzy():
            return 5
        case Between():
            return 6
        case Not(part):
            return 1 + _cost(part)
        case All(parts) | AnyOf(parts):
            return 1 + max(map(_cost, parts), default=0)
