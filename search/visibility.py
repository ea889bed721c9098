"""What a searcher may see, as a part of the question. It only ever narrows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search.tiers import FIRST_PLACE, LAST_PLACE, Scope

# As the read gate gives them: ascending; None is open towards that end.
Ranges = Sequence[tuple[int | None, int | None]]


def scope_of(rooms: Mapping[int, Ranges]) -> Scope:
    """Room number → the closed intervals of its places that may be read. Rooms with none are left out."""
    return {room_nid: _intervals(ranges) for room_nid, ranges in rooms.items() if ranges}


def _intervals(ranges: Ranges) -> list[tuple[int, int]]:
    intervals: list[tuple[int, int]] = []
    for first, last in ranges:
        begin = FIRST_PLACE if first is None else max(first, FIRST_PLACE)
        end = LAST_PLACE if last is None else min(last, LAST_PLACE)
        if intervals and begin <= intervals[-1][1] + 1:
            intervals[-1] = (intervals[-1][0], max(end, intervals[-1][1]))
        elif begin <= end:
            intervals.append((begin, end))
    return intervals
