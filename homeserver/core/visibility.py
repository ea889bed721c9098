"""Who may see which event of a room. spec: client-server-api/#room-history-visibility

What counts is the room's state *at* an event. `VisibilityTimeline` holds one user's view of one room as the few places
where that state changed, so that any number of events is judged without a look at the database.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum

WORLD_READABLE = "world_readable"
SHARED = "shared"
INVITED = "invited"
JOINED = "joined"
VISIBILITIES = frozenset({WORLD_READABLE, SHARED, INVITED, JOINED})


class Verdict(Enum):
    """What a viewer gets of an event."""

    FULL = "full"
    REDACTED = "redacted"  # its sender's account was erased before the viewer could see it
    NONE = "none"


def visibility_of(content: Mapping[str, object] | None) -> str:
    """The visibility that this content of m.room.history_visibility sets; shared if there is none or it is unknown."""
    value = content.get("history_visibility") if content is not None else None
    return value if isinstance(value, str) and value in VISIBILITIES else SHARED


def may_see(visibility: str, membership: str | None, *, joined_later: bool) -> bool:
    """Whether a user sees an event, by the state at it. Rules 1 to 5 of the spec's "Server behaviour".

    `membership` is the user's at the event; `joined_later` says whether the user joined at any point after it.
    A value of `visibility` that the spec doesn't know is shared.
    """
    if visibility == WORLD_READABLE or membership == "join":
        return True
    if visibility in (INVITED, JOINED):
        return visibility == INVITED and membership == "invite"
    return joined_later


def may_see_change(before: tuple[str, str | None], after: tuple[str, str | None], *, joined_later: bool) -> bool:
    """The same for an event that changes the visibility, or the viewer's own membership: either side suffices.

    `before` and `after` are (visibility, membership) of the state on both sides of the event.
    """
    return may_see(*before, joined_later=joined_later) or may_see(*after, joined_later=joined_later)


class VisibilityTimeline:
    """One user's view of one room. Positions are those of the room's events in the order in which we keep them."""

    __slots__ = ("_joins", "_member_at", "_memberships", "_ranges", "_visibilities", "_visible_at")

    def __init__(
        self,
        visibilities: Sequence[tuple[int, str]],
        memberships: Sequence[tuple[int, str | None]],
    ) -> None:
        """Each change as (position of the event that made it, new value), in ascending order of position.

        `memberships` has the viewer's only. Before its first change a room is shared and the user no member.
        """
        self._visible_at = [position for position, _ in visibilities]
        self._visibilities = [SHARED, *(value for _, value in visibilities)]
        self._member_at = [position for position, _ in memberships]
        self._memberships = [None, *(value for _, value in memberships)]
        self._joins = [position for position, value in memberships if value == "join"]
        self._ranges: list[tuple[int | None, int | None]] | None = None

    def verdict(self, position: int, *, erased_at: int | None = None, soft_failed: bool = False) -> Verdict:
        """What the user gets of the event at this position. Cost: some bisections.

        `erased_at` is the position at which the sender's account was erased, if it was: who could see the event as a
        member before keeps it. A soft-failed event is shown to nobody (spec: server-server-api/#soft-failure).
        """
        if soft_failed or not self._sees(position):
            return Verdict.NONE
        if erased_at is not None and not self._saw_as_member(position, erased_at):
            return Verdict.REDACTED
        return Verdict.FULL

    def verdicts(self, positions: Iterable[int]) -> list[Verdict]:
        """The verdict on each of these events, whose senders are not erased."""
        return [Verdict.FULL if self._sees(position) else Verdict.NONE for position in positions]

    def membership_at(self, position: int) -> str:
        """The viewer's membership after the event at this position; leave where there never was one."""
        return self._memberships[bisect_right(self._member_at, position)] or "leave"

    @property
    def left_at(self) -> int | None:
        """The position of the event that ended the viewer's last time in the room; None if they never left it."""
        ends = [
            position
            for (position, value), before in zip(
                zip(self._member_at, self._memberships[1:], strict=True), self._memberships, strict=False
            )
            if before == "join" and value != "join"
        ]
        return ends[-1] if ends else None

    @property
    def is_left_last(self) -> bool:
        """Whether nothing has happened to the viewer's membership since they were in the room: no ban, no invite."""
        return bool(self._member_at) and self.left_at == self._member_at[-1]

    def absent_before(self, position: int) -> int | None:
        """Where the viewer was last set to be no member, before this position; None if that was never so."""
        for index in range(bisect_left(self._member_at, position), 0, -1):
            if self._memberships[index] != "join":
                return self._member_at[index - 1]
        return None

    def place_seen(self, place: int) -> int:
        """The place nearest to this one at which the room's state (before the event there) is the viewer's to see."""
        found = place
        for first, last in self.visible_ranges():
            if first is not None and place < first:
                return first
            if last is None or place <= last + 1:
                return place
            found = last + 1
        return found

    def visible_ranges(self) -> list[tuple[int | None, int | None]]:
        """All that the user may see, as ascending ranges of positions (first, last); None is open towards that end."""
        if self._ranges is None:
            self._ranges = self._worked_out(self._sees)
        return self._ranges

    def kept_ranges(self, erased_at: int) -> list[tuple[int | None, int | None]]:
        """The same of what was said by a sender whose account was erased at this position: `verdict` is FULL there."""
        return self._worked_out(lambda position: self._sees(position) and self._saw_as_member(position, erased_at))

    def _worked_out(self, is_seen: Callable[[int], bool]) -> list[tuple[int | None, int | None]]:
        places = sorted({*self._visible_at, *self._member_at})
        ranges: list[tuple[int | None, int | None]] = []
        # Between two changes the answer is the same everywhere, so one position stands for all.
        pieces: list[tuple[int | None, int | None]] = [(None, places[0] - 1 if places else None)]
        for index, place in enumerate(places):
            following = places[index + 1] if index + 1 < len(places) else None
            pieces.append((place, place))
            if following is None or following > place + 1:
                pieces.append((place + 1, following - 1 if following is not None else None))
        for first, last in pieces:
            sample = first if first is not None else last if last is not None else 0
            if not is_seen(sample):
                continue
            if ranges and ranges[-1][1] is not None and first is not None and ranges[-1][1] + 1 == first:
                ranges[-1] = (ranges[-1][0], last)
            else:
                ranges.append((first, last))
        return ranges

    def _sides(self, position: int) -> tuple[tuple[str, str | None], tuple[str, str | None]]:
        """(visibility, membership) before and after the event at this position."""
        before = (
            self._visibilities[bisect_left(self._visible_at, position)],
            self._memberships[bisect_left(self._member_at, position)],
        )
        after = (
            self._visibilities[bisect_right(self._visible_at, position)],
            self._memberships[bisect_right(self._member_at, position)],
        )
        return before, after

    def _sees(self, position: int) -> bool:
        before, after = self._sides(position)
        joined_later = bool(self._joins) and self._joins[-1] > position
        if before == after:
            return may_see(*after, joined_later=joined_later)
        return may_see_change(before, after, joined_later=joined_later)

    def _saw_as_member(self, position: int, until: int) -> bool:
        """Whether the user could see the event before `until` by being, or becoming, a member of the room."""
        sides = self._sides(position)
        following = bisect_right(self._joins, position)
        joined_later = following < len(self._joins) and self._joins[following] < until
        return any(
            may_see(SHARED if visibility == WORLD_READABLE else visibility, membership, joined_later=joined_later)
            for visibility, membership in sides
        )
