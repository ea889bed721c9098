"""What happened since this process started, kept so that a sync with nothing new asks nothing, and who waits for more.

A listener of the journal: each batch is taken in, then exactly those users are woken whom it concerns.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Sequence

from immutables import Map

from homeserver.core.identifiers import RoomId, UserId
from homeserver.journal.journal import PURGED, Entry, Journal
from homeserver.rooms.building import PAST, Written
from homeserver.rooms.residents import Rooms
from homeserver.storage.events import StoredEvent
from homeserver.sync.user_rooms import UserRooms

RECENT_PER_ROOM = 200
FEEDS_MAX = 5_000
PARKED_PER_DEVICE_MAX = 8


class _Feed:
    """The newest events of a room: all with a position above `floor`."""

    __slots__ = ("floor", "recent")

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.recent: deque[StoredEvent] = deque()


class SyncHub:
    """One for each process that answers /sync."""

    def __init__(self, journal: Journal, rooms: Rooms, user_rooms: UserRooms) -> None:
        self._journal = journal
        self._rooms = rooms
        self._user_rooms = user_rooms
        # Of what happened at or before this position, memory knows nothing.
        self.start = journal.visible
        self._feeds: OrderedDict[RoomId, _Feed] = OrderedDict()
        self._dropped: dict[RoomId, int] = {}
        self._room_last: OrderedDict[RoomId, int] = OrderedDict()  # the most lately active last
        self._user_last: dict[UserId, dict[str, int]] = {}
        self._member_last: dict[RoomId, int] = {}
        self._jump_last: dict[RoomId, int] = {}
        self._gap_last: dict[RoomId, int] = {}
        self._waiting: dict[UserId, set[asyncio.Future[bool]]] = {}
        self._parked: dict[tuple[UserId, str], deque[asyncio.Future[bool]]] = {}
        self._is_stopping = False
        self.has_waiting = asyncio.Event()
        journal.listen(self._hear)

    @property
    def waiting(self) -> int:
        """How many syncs are parked."""
        return sum(len(futures) for futures in self._waiting.values())

    def jump_last(self, room_id: RoomId) -> int:
        """The position up to which a room's state may have changed otherwise than by its timeline."""
        return self._jump_last.get(room_id, self.start)

    def gap_last(self, room_id: RoomId) -> int:
        """The place of the newest event of a room since the start that cites what isn't here; 0 if there is none."""
        return self._gap_last.get(room_id, 0)

    def room_last(self, room_id: RoomId) -> int:
        """The position of the newest thing in a room, or of the start if there was none since."""
        return self._room_last.get(room_id, self.start)

    def active(self, since: int, among: Collection[RoomId]) -> list[RoomId]:
        """Those of these rooms where anything happened after `since`, as far as memory reaches.

        Costs as much as rooms of the server were active since, or as `among` has if those are fewer.
        """
        found: list[RoomId] = []
        for seen, (room_id, last) in enumerate(reversed(self._room_last.items())):
            if last <= since:
                break
            if seen > len(among):
                return [room_id for room_id in among if self._room_last.get(room_id, 0) > since]
            if room_id in among:
                found.append(room_id)
        return found

    def user_last(self, user_id: UserId, kind: str) -> int:
        """The same for what concerns a user alone."""
        kinds = self._user_last.get(user_id)
        return self.start if kinds is None else kinds.get(kind, self.start)

    def user_newest(self, user_id: UserId) -> int:
        """The position of the newest thing of any kind that concerns a user alone."""
        kinds = self._user_last.get(user_id)
        return max(kinds.values()) if kinds else self.start

    def member_moved(self, room_ids: Iterable[RoomId], since: int) -> bool:
        """Whether anybody's membership of one of these rooms has changed since."""
        return since < self.start or any(self._member_last.get(room_id, 0) > since for room_id in room_ids)

    def members_moved(self, since: int, among: Collection[RoomId]) -> bool:
        """The same of however many rooms, at the cost of those that were active since."""
        moved = self._member_last
        return since < self.start or any(moved.get(room_id, 0) > since for room_id in self.active(since, among))

    def recent(self, room_id: RoomId, since: int, upto: int) -> list[StoredEvent] | None:
        """All events of a room in (since, upto], or None if memory doesn't reach back so far."""
        feed = self._feeds.get(room_id)
        if feed is None:
            return [] if since >= max(self.start, self._dropped.get(room_id, 0)) else None
        if since < feed.floor:
            return None
        return [stored for stored in feed.recent if since < (stored.ordering or 0) <= upto]

    async def wait(self, user_id: UserId, device: str, seen: int, timeout_s: float) -> bool:
        """Returns when something of this user's happened after position `seen`, or when the time is up.

        False if it isn't to wait on: too many newer syncs of this device wait, or the server stops.
        """
        if self._journal.visible > seen and self._is_news(user_id, seen):
            return True
        if self._is_stopping:
            return False
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(user_id, set())
        waiting.add(future)
        parked = self._park(user_id, device, future)
        self.has_waiting.set()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return True
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(user_id) is waiting:
                del self._waiting[user_id]
            if future in parked:
                parked.remove(future)
            if not parked and self._parked.get((user_id, device)) is parked:
                del self._parked[user_id, device]
            if not self._waiting:
                self.has_waiting.clear()

    def stop(self) -> None:
        """Answers all who wait, and lets nobody wait from now on."""
        self._is_stopping = True
        for waiting in list(self._waiting.values()):
            for future in waiting:
                if not future.done():
                    future.set_result(False)

    def _park(self, user_id: UserId, device: str, future: asyncio.Future[bool]) -> deque[asyncio.Future[bool]]:
        """Adds to those of a device that wait; ends the oldest if they are too many."""
        parked = self._parked.setdefault((user_id, device), deque())
        parked.append(future)
        if len(parked) > PARKED_PER_DEVICE_MAX:
            oldest = parked.popleft()
            if not oldest.done():
                oldest.set_result(False)
        return parked

    def _is_news(self, user_id: UserId, seen: int) -> bool:
        """Whether something happened between building an answer and parking."""
        if self.user_newest(user_id) > seen:
            return True
        known = self._user_rooms.known(user_id)
        return known is None or any(self._room_last.get(room_id, 0) > seen for room_id in known)

    def _hear(self, entries: Sequence[Entry]) -> None:
        woken: set[UserId] = set()
        for entry in entries:
            if isinstance(entry.payload, Written):
                self._hear_event(entry.payload, woken)
            elif entry.kind == PAST:
                self._make_way({past.event.room_id for past in entry.payload})
            elif entry.room_id is not None:
                self._touch(entry.room_id, entry.position)
                if entry.kind == "redacted":
                    self._redact_all(entry.room_id, entry.payload)
                if entry.kind == PURGED:
                    self._redact_all(entry.room_id, entry.payload.event_nids)
                if entry.kind == "gap":
                    self._gap_last[entry.room_id] = entry.position
                if entry.kind == "state_jump":
                    self._jump_last[entry.room_id] = entry.position
                    self._member_last[entry.room_id] = entry.position
                room = self._rooms.resident(entry.room_id)
                if room is not None:
                    woken |= self._concerned(room.members)
            for user_id in entry.user_ids:
                self._user_last.setdefault(user_id, {})[entry.kind] = entry.position
                if entry.kind in ("forgotten", "membership", "state_jump", "room_purged"):
                    self._user_rooms.forget(user_id)
                if user_id in self._waiting:
                    woken.add(user_id)
        for user_id in woken:
            for future in self._waiting.pop(user_id, ()):
                if not future.done():
                    future.set_result(True)

    def _touch(self, room_id: RoomId, position: int) -> None:
        self._room_last[room_id] = position
        self._room_last.move_to_end(room_id)

    def _hear_event(self, written: Written, woken: set[UserId]) -> None:
        event, position = written.event, written.stored.ordering or written.stored.nid
        if written.is_entry:
            self._gap_last[event.room_id] = position
        feed = self._feeds.get(event.room_id)
        if feed is None:
            feed = self._feeds[event.room_id] = _Feed(max(self.start, self._dropped.pop(event.room_id, 0)))
        self._feeds.move_to_end(event.room_id)
        feed.recent.append(written.stored)
        if len(feed.recent) > RECENT_PER_ROOM:
            feed.floor = feed.recent.popleft().ordering or 0
        if len(self._feeds) > FEEDS_MAX:
            room_id, dropped = self._feeds.popitem(last=False)
            self._dropped[room_id] = (dropped.recent[-1].ordering or 0) if dropped.recent else dropped.floor
        if written.redacts is not None:
            self._redact(feed, written.redacts.nid)
        self._touch(event.room_id, position)
        if event.type == "m.room.member":
            self._member_last[event.room_id] = position
            user_id = UserId(event.state_key or "")
            self._user_rooms.hear(user_id, written)
            self._user_last.setdefault(user_id, {})["membership"] = position
            if user_id in self._waiting:
                woken.add(user_id)
        woken |= self._concerned(written.room.members)

    def _redact(self, feed: _Feed, target: int) -> None:
        """What memory has of a redacted event isn't to be shown any more: let the database answer from there on."""
        if any(stored.nid == target for stored in feed.recent):
            feed.floor = max(feed.floor, target)
            while feed.recent and feed.recent[0].nid <= target:
                feed.recent.popleft()

    def _redact_all(self, room_id: RoomId, targets: Sequence[int]) -> None:
        feed, gone = self._feeds.get(room_id), set(targets)
        if feed is not None and any(stored.nid in gone for stored in feed.recent):
            feed.floor = feed.recent[-1].ordering or feed.floor
            feed.recent.clear()

    def _make_way(self, room_ids: Iterable[RoomId]) -> None:
        """A gap was filled: who hasn't seen beyond it reads from the database, where its events are in their places."""
        for room_id in room_ids:
            feed = self._feeds.get(room_id)
            if feed is not None and feed.recent:
                feed.floor = feed.recent[-1].ordering or feed.floor
                feed.recent.clear()

    def _concerned(self, members: Map[UserId, str]) -> set[UserId]:
        """Those who wait and are in the room: over whichever of the two is smaller."""
        waiting = self._waiting
        if not waiting:
            return set()
        if len(waiting) < len(members):
            return {user_id for user_id in waiting if members.get(user_id) == "join"}
        return {user_id for user_id in members if user_id in waiting}
