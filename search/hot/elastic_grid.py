"""Thousands of rooms of which parts are seen, asked for by a few dozen clauses. Pure.

What a search of Elasticsearch costs is its clauses, far more than the values of a list in one of them. So time is cut
into cells, where the intervals begin and end, and joined cells into a tree: a node is one clause, that lists the rooms
which are seen whole in it. What lies in a cell at an interval's end is little: it is fetched and looked through.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from search.hot import elastic_queries as queries
from search.hot.elastic_queries import Json, Spans
from search.tiers import FIRST_PLACE, LAST_PLACE

# Powers of two. The finer one is for what finds too much near the ends of intervals.
CELLS_LEAST, CELLS, CELLS_FINER = 8, 64, 512
# So much may lie in a cell, to be looked through.
NEAR_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Grid:
    """Places, first and last, with the rooms that are seen whole there; and those where a part of each is seen."""

    whole: Mapping[tuple[int, int], Sequence[int]]
    ends: Mapping[tuple[int, int], Sequence[int]]

    def unedited(self, clauses_max: int) -> Iterator[Json]:
        """Filters that together are what wasn't edited and is seen for sure; nothing is in two."""
        for some in _some(self.whole, clauses_max, 2):
            yield queries.all_of([queries.any_of([_inside(*one) for one in some]), queries.UNEDITED])

    def unedited_ends(self, clauses_max: int) -> Iterator[Json]:
        """What wasn't edited and may be seen, beside that."""
        for some in _some(self.ends, clauses_max, 2):
            yield queries.all_of([queries.any_of([_inside(*one) for one in some]), queries.UNEDITED])

    def edited(self, clauses_max: int) -> Iterator[Json]:
        """What was edited and is seen for sure: both its places lie in one node."""
        for some in _some(self.whole, clauses_max, 3):
            yield queries.all_of([queries.any_of([_inside(*one, is_edited=True) for one in some]), queries.EDITED])

    def edited_ends(self, rooms: Sequence[Json], clauses_max: int) -> Iterator[Json]:
        """What was edited and may be seen, beside that."""
        sure = list(self.edited(clauses_max))
        for one in rooms:
            yield queries.all_of([one, queries.EDITED, {"bool": {"must_not": sure}}])


def cells_for(found: int) -> int:
    """So many, and no more, that little of what is found lies in each: a clause costs more than what it finds."""
    cells = CELLS_LEAST
    while cells < CELLS_FINER and found > cells * NEAR_MAX:
        cells *= 2
    return cells


def grid_of(parts: Mapping[int, Spans], cells: int) -> Grid:
    """Rooms with their intervals, over at most so many cells; finer where more intervals begin and end."""
    cuts = _cuts(parts, cells)
    whole: dict[tuple[int, int], list[int]] = {}
    ends: dict[tuple[int, int], dict[int, None]] = {}
    nodes: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for room_nid, spans in parts.items():
        for first, last in spans:
            # Cell n reaches from cuts[n] up to before cuts[n + 1].
            begin, end = bisect_left(cuts, first), bisect_right(cuts, last + 1) - 1
            if begin > end:
                ends.setdefault((cuts[end], cuts[begin] - 1), {})[room_nid] = None
                continue
            if first < cuts[begin]:
                ends.setdefault((cuts[begin - 1], cuts[begin] - 1), {})[room_nid] = None
            if last + 1 > cuts[end]:
                ends.setdefault((cuts[end], cuts[end + 1] - 1), {})[room_nid] = None
            if (begin, end) not in nodes:
                nodes[begin, end] = [(cuts[left], cuts[right] - 1) for left, right in _nodes(begin, end)]
            for node in nodes[begin, end]:
                whole.setdefault(node, []).append(room_nid)
    return Grid(whole, {cell: list(rooms) for cell, rooms in ends.items()})


def _cuts(parts: Mapping[int, Spans], cells: int) -> list[int]:
    """Ascending, the ends of all places among them: as many intervals begin or end in each cell."""
    found = sorted({place for spans in parts.values() for first, last in spans for place in (first, last + 1)})
    found = [place for place in found if FIRST_PLACE < place <= LAST_PLACE]
    inner = min(len(found), cells - 1)
    chosen = {found[number * (len(found) - 1) // max(1, inner - 1)] for number in range(inner)}
    return [FIRST_PLACE, *sorted(chosen), LAST_PLACE + 1]


def _nodes(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The fewest nodes of a binary tree over the cells that together are the cells from `begin` up to before `end`."""
    size = 1
    while begin < end:
        # The largest node that begins here and ends in time.
        while begin % (2 * size) == 0 and begin + 2 * size <= end:
            size *= 2
        while begin % size or begin + size > end:
            size //= 2
        yield begin, begin + size
        begin += size


def _some(
    nodes: Mapping[tuple[int, int], Sequence[int]], clauses_max: int, cost: int
) -> Iterator[list[tuple[tuple[int, int], Sequence[int]]]]:
    size = max(1, (clauses_max - 2) // cost)
    listed = list(nodes.items())
    for at in range(0, len(listed), size):
        yield listed[at : at + size]


def _inside(places: tuple[int, int], room_nids: Sequence[int], *, is_edited: bool = False) -> Json:
    fields = ("place", "source_place") if is_edited else ("place",)
    return queries.all_of([queries.in_rooms(room_nids), *(queries.between(field, *places) for field in fields)])
