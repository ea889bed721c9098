"""The grid over what is seen of many rooms: nothing is sure that isn't seen; what is seen is sure, or looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from search.hot.elastic_grid import CELLS, grid_of
from search.hot.elastic_queries import Spans
from search.tiers import FIRST_PLACE, LAST_PLACE

PLACES = st.one_of(st.integers(-20, 20), st.sampled_from((FIRST_PLACE, LAST_PLACE)))


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Intervals in order that don't touch."""
    ends = sorted(draw(st.sets(PLACES, min_size=2, max_size=8)))
    pairs = zip(ends[::2], ends[1::2], strict=False)
    return [pair for pair in pairs if pair != (FIRST_PLACE, LAST_PLACE)]


def holding(cells: Mapping[tuple[int, int], Sequence[int]], room: int, place: int) -> int:
    """How many of them have the place, and list the room."""
    return sum(first <= place <= last and room in rooms for (first, last), rooms in cells.items())


@given(
    parts=st.dictionaries(st.integers(1, 5), spans(), max_size=5),
    cells=st.sampled_from((1, 2, 4, 8, 64)),
    places=st.lists(st.one_of(st.integers(-25, 25), PLACES), min_size=1, max_size=20),
)
def test_what_is_sure_is_seen(parts: Mapping[int, Spans], cells: int, places: list[int]) -> None:
    """T-G8"""
    grid = grid_of(parts, cells)
    assert len(grid.ends) <= cells and len(grid.whole) < 2 * cells
    for room, intervals in parts.items():
        for place in places:
            sure, unsure = holding(grid.whole, room, place), holding(grid.ends, room, place)
            is_seen = any(first <= place <= last for first, last in intervals)
            assert sure <= 1 and (not sure or is_seen) and (not is_seen or sure + unsure)
            assert not (sure and unsure), "it would be counted twice"


def test_a_user_of_ten_thousand_rooms_asks_by_few_clauses() -> None:
    parts = {room: [(room * 7, room * 7 + 50), (room * 9 + 100, LAST_PLACE)] for room in range(1, 10_001)}
    grid = grid_of(parts, CELLS)
    asked = [*grid.unedited(8_000), *grid.unedited_ends(8_000)]
    assert len(asked) == 2 and str(asked).count("'place'") < 3 * CELLS
    # No room is listed more often than a binary search takes steps, for each of its intervals.
    assert sum(map(len, grid.whole.values())) < 10_000 * 2 * 8


def test_few_ends_of_intervals_leave_nothing_to_look_through() -> None:
    grid = grid_of({room: [(room % 9, LAST_PLACE)] for room in range(1_000)}, CELLS)
    assert not grid.ends
