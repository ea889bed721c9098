"""What a question finds in one file: from the index of words first, then only in what that points to."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyroaring import BitMap, BitMap64

from search.analyser import analyse
from search.archive.reading import ArchiveFile
from search.archive.terms import HAS, HOST, KEY, MENTION, SENDER, TYPE
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

_HIT_COLUMNS = ("event_nid", "source_nid", "room_nid", "time_ms", "rank")
_Intervals = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Found:
    """The first hits, and how many there are in all."""

    hits: list[Hit]
    count: int


def evaluate(file: ArchiveFile, question: Question, hidden: BitMap64) -> Found:
    """What it finds but for what is hidden. Raises Damaged."""
    rows = _Rows(file)
    seen, parted = _scoped(file, question)
    wanted = BitMap()
    for key in question.keys:
        wanted |= seen & rows.having(KEY + key)
    found = rows.matching(question.query, wanted)
    found = _in_places(file, found, parted)
    found = _shown(file, found, question.upto, hidden)
    return Found(_first(file, found, question), len(found))


def _scoped(file: ArchiveFile, question: Question) -> tuple[BitMap, list[tuple[int, int, _Intervals]]]:
    """The rows of rooms that are seen, and those of them (from a row to before another) of which parts are."""
    seen, parted = BitMap(), []
    for room in file.rooms:
        spans = question.scope.get(room.room_nid)
        if spans:
            last = room.first_row + room.count
            seen.add_range(room.first_row, last)
            if not any(first <= FIRST_PLACE and end >= LAST_PLACE for first, end in spans):
                parted.append((room.first_row, last, spans))
    return seen, parted


def _in_places(file: ArchiveFile, found: BitMap, parted: Sequence[tuple[int, int, _Intervals]]) -> BitMap:
    """Of rooms that are seen in parts, what lies in these."""
    unseen = BitMap()
    for first, last, spans in parted:
        span = BitMap()
        span.add_range(first, last)
        for group, begin, rows in _by_group(file, found & span):
            places, sources = file.column(group, "place"), file.column(group, "source_place")
            for row in rows:
                if not (_within(spans, places[row - begin]) and _within(spans, sources[row - begin])):
                    unseen.add(row)
    return found - unseen


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


def _first(file: ArchiveFile, found: BitMap, question: Question) -> list[Hit]:
    """The first ones in the order asked for. Row groups that can't have any of them aren't read."""
    order = "rank" if question.by_rank else "time_ms"
    groups = sorted(_by_group(file, found), key=lambda one: file.bounds(one[0], order)[1], reverse=True)
    best: list[tuple[tuple[float, int], Hit]] = []
    for group, begin, rows in groups:
        if len(best) == question.limit and (file.bounds(group, order)[1], 2**63) <= best[0][0]:
            break
        if question.after is not None and (file.bounds(group, order)[0], 0) > question.after:
            continue
        file.load(group, _HIT_COLUMNS)
        nids, sources, rooms, times, ranks = (file.column(group, name) for name in _HIT_COLUMNS)
        for row in rows:
            at = row - begin
            cursor = (ranks[at] if question.by_rank else times[at], nids[at])
            if question.after is not None and cursor >= question.after:
                continue
            if len(best) == question.limit and cursor <= best[0][0]:
                continue
            hit = Hit(nids[at], sources[at], rooms[at], float(ranks[at]), cursor)
            (heapq.heappush if len(best) < question.limit else heapq.heapreplace)(best, (cursor, hit))
    return [hit for _, hit in sorted(best, key=lambda one: one[0], reverse=True)]


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
        found = self._known.get(term)
        if found is None:
            found = self._known[term] = self._file.terms.rows(term)
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
