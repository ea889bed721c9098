"""Unread events of rooms as sorted places in their timelines, so that a count is two binary searches.

What notifies everyone in a room is kept once for the room; only what differs for a user is kept for that user.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from homeserver.core.identifiers import EventId, RoomId, UserId

MAIN = "main"
# Counts of one room stop here: older events than these are no longer counted.
POSITIONS_MAX = 5_000


@dataclass(frozen=True, slots=True)
class UnreadCounts:
    """Unread events of a room for one user: in all (threads included), and of each thread that has some.

    spec: client-server-api/#receiving-notifications
    """

    notifications: int = 0
    highlights: int = 0
    threads: dict[EventId, tuple[int, int]] = field(default_factory=dict)

    @property
    def main_notifications(self) -> int:
        """Those outside of threads: what a client that asks for counts by thread gets as the room's count."""
        return self.notifications - sum(notifications for notifications, _ in self.threads.values())

    @property
    def main_highlights(self) -> int:
        return self.highlights - sum(highlights for _, highlights in self.threads.values())


NOTHING_UNREAD = UnreadCounts()


class Places:
    """Places that notified, by thread, and those of them that highlighted.

    Threads stand in the order of their newest place, so that what is read long since is never looked at.
    """

    __slots__ = ("_newest", "highlights", "notified")

    def __init__(self) -> None:
        self._newest = 0
        self.notified: dict[str, array[int]] = {}
        self.highlights: dict[str, array[int]] = {}

    def kind(self, is_highlight: bool) -> dict[str, array[int]]:
        return self.highlights if is_highlight else self.notified

    def add(self, thread_id: str, position: int, *, is_highlight: bool) -> None:
        """Cheapest where `position` is newer than what is there, as it nearly always is."""
        places = self.kind(is_highlight)
        found = places.pop(thread_id, None)
        if found is None:
            found = array("q")
        insort(found, position)
        places[thread_id] = found
        if position >= self._newest:
            self._newest = position
        else:
            self.order()

    def order(self) -> None:
        """Puts the threads in order again."""
        self.notified = dict(sorted(self.notified.items(), key=_newest_of))
        self.highlights = dict(sorted(self.highlights.items(), key=_newest_of))

    def put_before(self, thread_id: str, is_highlight: bool, older: array[int], upto: int) -> None:
        """Takes in those of `older` that aren't after `upto`, ahead of what is there. Call `order` at the end."""
        older = older[: bisect_right(older, upto)]
        if older:
            places = self.kind(is_highlight)
            places[thread_id] = older + places.get(thread_id, array("q"))

    def remove(self, position: int) -> bool:
        """Takes out one place. Whether it was there."""
        removed = False
        for places in (self.notified, self.highlights):
            for thread_id, found in list(places.items()):
                index = bisect_left(found, position)
                if index < len(found) and found[index] == position:
                    del found[index]
                    removed = True
                    if not found:
                        del places[thread_id]
        if removed:
            self.order()
        return removed

    def drop_upto(self, position: int) -> None:
        for places in (self.notified, self.highlights):
            for thread_id, found in list(places.items()):
                kept = found[bisect_right(found, position) :]
                if kept:
                    places[thread_id] = kept
                else:
                    del places[thread_id]

    def size(self) -> int:
        return sum(map(len, self.notified.values())) + sum(map(len, self.highlights.values()))

    def threads_after(self, position: int) -> Iterator[str]:
        """The threads with a place after this one."""
        for places in (self.notified, self.highlights):
            for thread_id, found in reversed(places.items()):
                if found[-1] <= position:
                    break
                yield thread_id


def _newest_of(item: tuple[str, array[int]]) -> int:
    return item[1][-1]


@dataclass(slots=True)
class Reading:
    """Up to where a user has read in a room, by thread; no thread id: in all of them. `joined_at`: in from here on."""

    joined_at: int = 0
    everywhere: int = 0
    threads: dict[str, int] = field(default_factory=dict)
    is_loaded: bool = False

    def advance(self, thread_id: str, position: int) -> None:
        if not thread_id:
            self.everywhere = max(self.everywhere, position)
        elif position > self.threads.get(thread_id, 0):
            self.threads[thread_id] = position

    def join(self, position: int) -> None:
        self.joined_at = max(self.joined_at, position)

    def upto(self, thread_id: str) -> int:
        return max(self.joined_at, self.everywhere, self.threads.get(thread_id, 0))


@dataclass(slots=True, eq=False)
class RoomTally:
    """What is unread in one room: in memory, complete for what came after `complete_after`; loading adds the rest."""

    room_id: RoomId
    complete_after: int
    shared: Places = field(default_factory=Places)
    personal: dict[UserId, Places] = field(default_factory=dict)
    loaded_of: set[UserId] = field(default_factory=set)
    readings: dict[UserId, Reading] = field(default_factory=dict)
    custom: list[UserId] = field(default_factory=list)
    custom_generation: int = -1
    is_loaded: bool = False
    unsaved: int = 0

    def reading(self, user_id: UserId) -> Reading:
        found = self.readings.get(user_id)
        if found is None:
            found = self.readings[user_id] = Reading()
        return found

    def places_of(self, user_id: UserId) -> Places:
        found = self.personal.get(user_id)
        if found is None:
            found = self.personal[user_id] = Places()
        return found

    def remove(self, position: int) -> bool:
        """Takes out an event for everybody. Whether anybody had it."""
        removed = [places.remove(position) for places in (self.shared, *self.personal.values())]
        return any(removed)

    def counts(self, user_id: UserId, custom_since: int | None) -> UnreadCounts:
        """What this user has unread; the room's shared places count until their rules became custom."""
        reading = self.reading(user_id)
        personal = self.personal.get(user_id)
        if not (self.shared.notified or self.shared.highlights or personal):
            return NOTHING_UNREAD
        notifications = highlights = 0
        threads: dict[EventId, tuple[int, int]] = {}
        floor = max(reading.joined_at, reading.everywhere)
        names = set(self.shared.threads_after(floor))
        if personal is not None:
            names.update(personal.threads_after(floor))
        for thread_id in names:
            upto = reading.upto(thread_id)
            notified = _after(self.shared.notified.get(thread_id), upto, custom_since)
            highlighted = _after(self.shared.highlights.get(thread_id), upto, custom_since)
            if personal is not None:
                notified += _after(personal.notified.get(thread_id), upto, None)
                highlighted += _after(personal.highlights.get(thread_id), upto, None)
            notifications += notified
            highlights += highlighted
            if thread_id != MAIN and (notified or highlighted):
                threads[EventId(thread_id)] = (notified, highlighted)
        return UnreadCounts(notifications, highlights, threads)

    def newest(self, user_id: UserId, custom_since: int | None, before: int, limit: int, highlights: bool) -> list[int]:
        """The newest places before `before` that notified (or highlighted) this user, newest first."""
        joined_at = self.reading(user_id).joined_at
        found: set[int] = set()
        for places in self.shared.kind(highlights).values():
            upto = before if custom_since is None else min(before, custom_since + 1)
            found.update(_tail(places, joined_at, upto, limit))
        if user_id in self.personal:
            for places in self.personal[user_id].kind(highlights).values():
                found.update(_tail(places, joined_at, before, limit))
        return sorted(found, reverse=True)[:limit]


def _after(places: array[int] | None, position: int, upto: int | None) -> int:
    if places is None or places[-1] <= position:
        return 0
    end = len(places) if upto is None else bisect_right(places, upto)
    return max(0, end - bisect_right(places, position))


def _tail(places: array[int], after: int, before: int, limit: int) -> array[int]:
    end = bisect_left(places, before)
    return places[max(end - limit, bisect_right(places, after)) : end]
