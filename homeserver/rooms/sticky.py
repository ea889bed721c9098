"""Events that are told for sure while they last (MSC4354): which there are, and when they may be told.

Who writes an event writes it into the table of sticky ones in the same transaction. Most are told from their own place
in the journal on. Two kinds wait until this finds them a later one: those that were put back into a gap of the past,
and those that only the room's state at that moment kept out (soft-failed), once the state lets them in.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from homeserver.core.auth_rules import check_auth, keys_for_check
from homeserver.core.errors import RuleBroken
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, ServerName
from homeserver.core.sticky import sticks_until_ms
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import PAST, Written
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.clock import Clock
from homeserver.storage import sticky_events
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

log = structlog.get_logger()

# The kind of a journal's entry about a room where events are told that weren't before.
STICKY = "sticky"
EVERY_S = 0.5
FORGET_EVERY_MS = 60_000
AT_ONCE = 1_000
# Only these decide whether somebody may send something.
_DECISIVE = frozenset({"m.room.member", "m.room.power_levels", "m.room.join_rules"})


@dataclass(frozen=True, slots=True)
class Sticking:
    """An event and the place in the journal from which on it is told."""

    place: int
    stored: StoredEvent


class StickyEvents:
    """A background task: `run` does one round. The rest answers who tells."""

    def __init__(self, db: Database, journal: Journal, rooms: Rooms, event_store: EventStore, clock: Clock) -> None:
        self._db = db
        self._journal = journal
        self._rooms = rooms
        self._events = event_store
        self._clock = clock
        # Of each room that has some: the newest place, and when the last of them ends.
        self._newest: dict[RoomId, tuple[int, int]] = {}
        self._to_look_at: set[RoomId] = set()
        self._forgotten_ms = 0

    async def start(self) -> None:
        """Takes up what an earlier run left. Call it before anybody can write."""
        now_ms = self._clock.now_ms()
        for room in await sticky_events.newest(self._db, now_ms):
            self._newest[room.room_id] = room.place, room.expires_ts
        self._to_look_at |= await sticky_events.waiting_rooms(self._db, now_ms)

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener, to be called before those that wake clients."""
        for entry in entries:
            if isinstance(entry.payload, Written):
                event = entry.payload.event
                until_ms = sticks_until_ms(event, self._clock.now_ms())
                if until_ms is not None and entry.payload.stored.is_shown:
                    self._remember(event.room_id, entry.position, until_ms)
                if event.state_key is not None and event.type in _DECISIVE:
                    self._to_look_at.add(event.room_id)
            elif entry.kind == PAST:
                self._to_look_at |= {past.event.room_id for past in entry.payload}
            elif entry.kind == "state_jump" and entry.room_id is not None:
                self._to_look_at.add(entry.room_id)
            elif entry.kind == STICKY and entry.room_id is not None:
                self._remember(entry.room_id, entry.position, entry.payload)

    async def run(self) -> None:
        """Lets those be told that may be by now, then waits for a moment."""
        rooms, self._to_look_at = self._to_look_at, set()
        try:
            while rooms:
                room_id = next(iter(rooms))
                await self._look_at(room_id)
                rooms.discard(room_id)
        except BaseException:
            self._to_look_at |= rooms
            raise
        now_ms = self._clock.now_ms()
        if now_ms - self._forgotten_ms >= FORGET_EVERY_MS:
            self._forgotten_ms = now_ms
            await sticky_events.delete_ended(self._db, now_ms)
            self._newest = {room_id: known for room_id, known in self._newest.items() if known[1] > now_ms}
        await self._clock.sleep(EVERY_S)

    def lively(self, since: int, among: Collection[RoomId]) -> list[RoomId]:
        """Those of these rooms that have events with a place after `since`. From memory: mostly there are none."""
        if not self._newest:
            return []
        now_ms = self._clock.now_ms()
        return [
            room_id
            for room_id, (place, until_ms) in self._newest.items()
            if place > since and until_ms > now_ms and room_id in among
        ]

    async def told(self, room_ids: Collection[RoomId], since: int, upto: int, limit: int) -> tuple[list[Sticking], int]:
        """Those of these rooms with a place in (since, upto], oldest first, and up to where these go.

        At most `limit`; there are more where that isn't `upto`. Redacted ones, which don't stick any more, aren't
        among them. No query for rooms that have none.
        """
        lively = self.lively(since, room_ids)
        if not lively:
            return [], upto
        rooms = await self._rooms.get_many(lively)
        nids = [room.nid for room in rooms.values()]
        placed = await sticky_events.after(self._db, nids, since, upto, self._clock.now_ms(), limit)
        told = placed[-1].place if len(placed) >= limit else upto
        stored = await self._events.by_nids([one.event_nid for one in placed])
        return [Sticking(one.place, found) for one in placed if (found := _still(stored.get(one.event_nid)))], told

    def has_some(self, room_id: RoomId) -> bool:
        """Whether a room has any. From memory."""
        return room_id in self._newest

    async def sent_by(self, server: ServerName, room_nids: Collection[int], limit: int) -> list[StoredEvent]:
        """What users of a server sent to these rooms that hasn't ended, oldest first; at most `limit`."""
        if not self._newest or not room_nids:
            return []
        placed = await sticky_events.of_server(self._db, room_nids, server, self._clock.now_ms(), limit)
        stored = await self._events.by_nids([one.event_nid for one in placed])
        return [found for one in placed if (found := _still(stored.get(one.event_nid)))]

    def _remember(self, room_id: RoomId, place: int, until_ms: int) -> None:
        before = self._newest.get(room_id, (0, 0))
        self._newest[room_id] = max(before[0], place), max(before[1], until_ms)

    async def _look_at(self, room_id: RoomId) -> None:
        waiting = await sticky_events.waiting(self._db, room_id, self._clock.now_ms(), AT_ONCE)
        room = await self._rooms.get(room_id) if waiting else None
        if room is None:
            return
        stored = await self._events.by_nids(waiting)
        events = [one.event for one in stored.values() if one.flags]
        keys = {key for event in events for key in keys_for_check(event)}
        room = await self._rooms.with_known(room, keys) if keys else room
        welcome = [
            nid for nid, one in stored.items() if _still(one) and (not one.flags or _is_allowed(one.event, room))
        ]
        if not welcome:
            return
        async with self._journal.write() as write:
            until_ms = await sticky_events.place(write.tx, welcome, write.position)
            if until_ms:
                write.publish(STICKY, room_id=room_id, payload=until_ms)
        log.info("sticky_events_told_late", room_id=room_id, events=len(welcome))


def _still(stored: StoredEvent | None) -> StoredEvent | None:
    """The event, unless it was redacted."""
    return stored if stored is not None and sticks_until_ms(stored.event, 0) is not None else None


def _is_allowed(event: Event, room: Room) -> bool:
    """Whether the room as it is now lets the event in."""
    known = room.head.known
    try:
        check_auth(event, {key: found for key in keys_for_check(event) if (found := known.get(key)) is not None})
    except RuleBroken:
        return False
    return True
