"""Counts by binary search equal counts by looking at every event."""

from __future__ import annotations

from array import array
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.push.tallies import MAIN, RoomTally, UnreadCounts

ME, OTHER = UserId("@me:a.b"), UserId("@other:a.b")
THREADS = (MAIN, "$a", "$b", "$c")
POSITIONS = st.integers(1, 40)
# (position, thread, whose: everyone's, mine, somebody else's, notifies, highlights)
EVENTS = st.lists(
    st.tuples(POSITIONS, st.sampled_from(THREADS), st.sampled_from([None, ME, OTHER]), st.booleans(), st.booleans()),
    unique_by=lambda event: event[0],
)
RECEIPTS = st.lists(st.tuples(POSITIONS, st.sampled_from(("", *THREADS))), max_size=5)


def _upto(receipts: list[tuple[int, str]], joined_at: int, thread: str) -> int:
    return max([joined_at, *(position for position, where in receipts if where in ("", thread))])


@given(EVENTS, RECEIPTS, st.integers(0, 20), st.none() | POSITIONS, st.sets(POSITIONS, max_size=3), st.integers(0, 40))
def test_counts_equal_the_naive_ones(
    events: list[tuple[int, str, UserId | None, bool, bool]],
    receipts: list[tuple[int, str]],
    joined_at: int,
    custom_since: int | None,
    redacted: set[int],
    saved_upto: int,
) -> None:
    """In any order of arrival, with the older part loaded later."""
    tally = RoomTally(RoomId("!r:a.b"), saved_upto)
    notified: Counter[str] = Counter()
    highlighted: Counter[str] = Counter()
    for position, thread, whose, notifies, highlights in events:
        places = tally.shared if whose is None else tally.places_of(whose)
        for is_highlight, wanted in ((False, notifies), (True, highlights)):
            if wanted and position > saved_upto:
                places.add(thread, position, is_highlight=is_highlight)
        counts = whose == ME or (whose is None and (custom_since is None or position <= custom_since))
        if counts and position not in redacted and position > _upto(receipts, joined_at, thread):
            notified[thread] += notifies
            highlighted[thread] += highlights
    _load(tally, events, saved_upto)
    for position in redacted:
        tally.remove(position)
    reading = tally.reading(ME)
    reading.join(joined_at)
    for position, thread in receipts:
        reading.advance(thread, position)
    threads = {
        EventId(thread): (notified[thread], highlighted[thread])
        for thread in THREADS
        if thread != MAIN and (notified[thread] or highlighted[thread])
    }
    assert tally.counts(ME, custom_since) == UnreadCounts(notified.total(), highlighted.total(), threads)


def _load(tally: RoomTally, events: list[tuple[int, str, UserId | None, bool, bool]], upto: int) -> None:
    """Puts in what a page of the database would hold, and a bit more."""
    older: dict[tuple[UserId | None, str, bool], list[int]] = {}
    for position, thread, whose, notifies, highlights in sorted(events, key=lambda event: event[0]):
        for is_highlight, wanted in ((False, notifies), (True, highlights)):
            if wanted:
                older.setdefault((whose, thread, is_highlight), []).append(position)
    for (whose, thread, is_highlight), positions in older.items():
        places = tally.shared if whose is None else tally.places_of(whose)
        places.put_before(thread, is_highlight, array("q", positions), upto)
    for places in (tally.shared, *tally.personal.values()):
        places.order()
