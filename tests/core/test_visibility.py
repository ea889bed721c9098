"""History visibility: the spec's rules, changes seen from both sides, and timelines equal to asking event by event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.visibility import Verdict, VisibilityTimeline, may_see, may_see_change, visibility_of

MEMBERSHIPS = ("join", "invite", "knock", "leave", "ban", None)

# Who sees an event, by (visibility, membership at it): always, by joining later, or never. Rules 1 to 5.
ALWAYS, LATER, NEVER = "always", "later", "never"
RULES = {
    "world_readable": dict.fromkeys(MEMBERSHIPS, ALWAYS),
    "shared": {**dict.fromkeys(MEMBERSHIPS, LATER), "join": ALWAYS},
    "invited": {**dict.fromkeys(MEMBERSHIPS, NEVER), "join": ALWAYS, "invite": ALWAYS},
    "joined": {**dict.fromkeys(MEMBERSHIPS, NEVER), "join": ALWAYS},
    "org.example.unknown": {**dict.fromkeys(MEMBERSHIPS, LATER), "join": ALWAYS},
}


@pytest.mark.parametrize("visibility", RULES)
@pytest.mark.parametrize("membership", MEMBERSHIPS)
@pytest.mark.parametrize("joined_later", [False, True])
def test_rules(visibility: str, membership: str | None, joined_later: bool) -> None:
    """T-G1: decided per event from the membership at it, not from the membership now."""
    expected = RULES[visibility][membership]
    assert may_see(visibility, membership, joined_later=joined_later) is (
        expected == ALWAYS or (expected == LATER and joined_later)
    )


@pytest.mark.parametrize("content", [None, {}, {"history_visibility": "x"}, {"history_visibility": ["joined"]}])
def test_unknown_is_shared(content: dict[str, object] | None) -> None:
    assert visibility_of(content) == "shared"


@pytest.mark.parametrize(
    ("before", "after", "seen"),
    [
        (("world_readable", None), ("joined", None), True),
        (("joined", None), ("world_readable", None), True),
        (("joined", None), ("invited", None), False),
        (("joined", "leave"), ("joined", "join"), True),
        (("joined", "join"), ("joined", "ban"), True),
        (("joined", None), ("joined", "invite"), False),
        (("joined", "invite"), ("joined", "leave"), False),
        (("invited", None), ("invited", "invite"), True),
    ],
)
def test_changes_are_seen_from_either_side(
    before: tuple[str, str | None], after: tuple[str, str | None], seen: bool
) -> None:
    """T-G1: the events that change visibility, or the viewer's own membership."""
    assert may_see_change(before, after, joined_later=False) is seen


# One room: joined by the viewer at 10, left at 20, joined again at 30; its visibility is given per case.
STAY = [(10, "join"), (20, "leave"), (30, "join"), (40, "ban")]


@pytest.mark.parametrize(
    ("visibilities", "memberships", "ranges"),
    [
        ([], [], []),
        ([(1, "world_readable")], [], [(1, None)]),
        ([(1, "world_readable"), (5, "joined")], [], [(1, 5)]),
        ([], [(10, "join")], [(None, None)]),
        ([], STAY, [(None, 40)]),
        ([], STAY[:2], [(None, 20)]),
        ([(1, "joined")], STAY, [(None, 1), (10, 20), (30, 40)]),
        ([(1, "joined")], [(5, "invite"), (7, "leave")], []),
        ([(1, "invited")], [(5, "invite"), (7, "leave")], [(5, 7)]),
        ([(1, "invited")], [(5, "invite"), (7, "join")], [(None, 1), (5, None)]),
        ([(15, "joined"), (25, "shared")], STAY, [(None, 20), (25, 40)]),
        ([(1, "joined"), (50, "world_readable"), (60, "joined")], STAY, [(None, 1), (10, 20), (30, 40), (50, 60)]),
    ],
)
def test_ranges(
    visibilities: list[tuple[int, str]],
    memberships: list[tuple[int, str | None]],
    ranges: list[tuple[int | None, int | None]],
) -> None:
    """T-G1, T-G8: before the join, after leaving and after a ban, as the visibility of that time says."""
    assert VisibilityTimeline(visibilities, memberships).visible_ranges() == ranges


# Each step of a room: (what changes, new value); a message changes nothing.
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("visibility"), st.sampled_from(["world_readable", "shared", "invited", "joined"])),
        st.tuples(st.just("membership"), st.sampled_from(["join", "invite", "leave", "ban", "knock"])),
        st.tuples(st.just("message"), st.just("")),
    ),
    max_size=12,
)


@given(_STEPS)
def test_a_timeline_is_the_rules_event_by_event(steps: list[tuple[str, str]]) -> None:
    """T-G1, T-G8: bisection and ranges give what the spec's rules give at each event."""
    timeline = VisibilityTimeline(
        [(place, value) for place, (kind, value) in enumerate(steps) if kind == "visibility"],
        [(place, value) for place, (kind, value) in enumerate(steps) if kind == "membership"],
    )
    seen: list[bool] = []
    visibility, membership = "shared", None
    for place, (kind, value) in enumerate(steps):
        before = (visibility, membership)
        visibility = value if kind == "visibility" else visibility
        membership = value if kind == "membership" else membership
        joined_later = ("membership", "join") in steps[place + 1 :]
        seen.append(may_see_change(before, (visibility, membership), joined_later=joined_later))
        assert timeline.membership_at(place) == (membership or "leave")
    assert [verdict is Verdict.FULL for verdict in timeline.verdicts(range(len(steps)))] == seen
    ranges = timeline.visible_ranges()
    assert [
        any((first is None or first <= place) and (last is None or place <= last) for first, last in ranges)
        for place in range(len(steps))
    ] == seen


@pytest.mark.parametrize(
    ("visibilities", "memberships", "erased_at", "verdict"),
    [
        ([], [(1, "join")], 9, Verdict.FULL),  # was there
        ([], [(7, "join")], 9, Verdict.FULL),  # joined before the erasure
        ([], [(20, "join")], 9, Verdict.REDACTED),  # joined after it
        ([], [(7, "join"), (8, "leave"), (20, "join")], 9, Verdict.FULL),
        ([(1, "world_readable")], [], 9, Verdict.REDACTED),  # never a member
        ([(1, "world_readable")], [(7, "join")], 9, Verdict.FULL),
        ([(1, "invited")], [(3, "invite"), (20, "join")], 9, Verdict.FULL),
        ([(1, "joined")], [(20, "join")], 9, Verdict.NONE),
        ([], [], 9, Verdict.NONE),
        ([], [(20, "join")], None, Verdict.FULL),
    ],
)
def test_erased_senders(
    visibilities: list[tuple[int, str]],
    memberships: list[tuple[int, str | None]],
    erased_at: int | None,
    verdict: Verdict,
) -> None:
    """T-G7: who could not see the event as a member before its sender's account was erased gets it redacted."""
    assert VisibilityTimeline(visibilities, memberships).verdict(5, erased_at=erased_at) is verdict


def test_soft_failed_events_are_shown_to_nobody() -> None:
    timeline = VisibilityTimeline([(1, "world_readable")], [(1, "join")])
    assert timeline.verdict(5) is Verdict.FULL
    assert timeline.verdict(5, soft_failed=True) is Verdict.NONE
