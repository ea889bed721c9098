"""Redacts what banned users said, where the ban asks for it (MSC4293): the messages of a spammer go with the spammer.

A consumer of the journal, since a ban may come from another server: what came after its cursor is looked at again at
start, and to redact again what is redacted changes nothing. State that the user set stays; it may be in force.
So does what they said in an earlier stay in the room. What comes later by somebody who is banned is hidden anyway.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.core.auth_rules import PowerLevels
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, UserId
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import Written
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.read_gate import FIRST, ReadGate
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.clock import Clock
from homeserver.storage import ban_redactions, events
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

KEY = "org.matrix.msc4293.redact_events"
STABLE_KEY = "redact_events"
REDACTED_AT_ONCE = 1_000
CATCH_UP_EVENTS = 1_000
# The cursor moves on so often while nothing is to be done.
EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class _Ban:
    room_id: RoomId
    nid: int  # the room's number
    user_id: UserId
    event_nid: int
    place: int


@dataclass(frozen=True, slots=True)
class BanReads:
    """Where bans are read from, and who was in a room when."""

    db: Database
    events: EventStore
    gate: ReadGate


class BanRedactions:
    """`run` does one round: redacts what the bans that were heard ask for, then waits for more."""

    def __init__(self, reads: BanReads, journal: Journal, rooms: Rooms, clock: Clock) -> None:
        self._db = reads.db
        self._journal = journal
        self._rooms = rooms
        self._events = reads.events
        self._gate = reads.gate
        self._clock = clock
        self._bans: deque[_Ban] = deque()
        self._has_bans = asyncio.Event()

    async def start(self) -> None:
        """Takes in what happened after the cursor, then listens."""
        at, upto = await ban_redactions.cursor(self._db), self._journal.visible
        while nids := await events.after_position(self._db, at, upto, CATCH_UP_EVENTS):
            stored = await self._events.by_nids(nids)
            asked = [one for nid in nids if (one := stored.get(nid)) is not None and asks_for_redaction(one.event)]
            rooms = await self._rooms.get_many({one.event.room_id for one in asked})
            for one in asked:
                room = rooms.get(one.event.room_id)
                if room is not None:
                    self._take(one, room)
            at = max([at + 1, *(one.ordering or 0 for one in stored.values())])
        self._journal.listen(self.hear)

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener."""
        for entry in entries:
            written = entry.payload
            if isinstance(written, Written) and asks_for_redaction(written.event):
                self._take(written.stored, written.room)

    async def run(self) -> None:
        """One round of a background task."""
        upto = self._journal.visible
        while self._bans:
            await self._redact(self._bans[0])
            self._bans.popleft()
        await ban_redactions.set_cursor(self._db, upto)
        self._has_bans.clear()
        if self._bans:
            return
        waits = [asyncio.ensure_future(self._has_bans.wait()), asyncio.ensure_future(self._clock.sleep(EVERY_S))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _take(self, stored: StoredEvent, room: Room) -> None:
        event = stored.event
        levels = room.power_levels()
        if stored.ordering is None or levels is None or not _may_redact(levels, event):
            return
        target = UserId(event.state_key or "")
        self._bans.append(_Ban(room.room_id, room.nid, target, stored.nid, stored.ordering))
        self._has_bans.set()

    async def _redact(self, ban: _Ban) -> None:
        """From the newest event of the user's stay back, some at a time, so that no statement takes long."""
        after = await self._stay_began(ban)
        before: int | None = ban.place
        while before is not None:
            async with self._journal.write() as write:
                before, redacted = await ban_redactions.redact_page(
                    write.tx, ban.nid, ban.user_id, ban.event_nid, (after, before), REDACTED_AT_ONCE
                )
                if redacted:
                    write.publish("redacted", room_id=ban.room_id, payload=tuple(redacted))
            if redacted:
                self._events.redacted(redacted)

    async def _stay_began(self, ban: _Ban) -> int:
        """After which place all was said in the stay that the ban ended."""
        seen = (await self._gate.timelines(ban.user_id, [ban]))[ban.room_id]
        began = seen.absent_before(ban.place)
        return FIRST if began is None else began


def asks_for_redaction(event: Event) -> bool:
    """Whether this is a ban or a kick that shall take along what the user said."""
    if event.type != "m.room.member" or event.state_key == event.sender or event.membership not in ("ban", "leave"):
        return False
    return event.content.get(KEY) is True or event.content.get(STABLE_KEY) is True


def _may_redact(levels: PowerLevels, event: Event) -> bool:
    """As for a redaction: whoever may not send one, or whose would have no effect, takes nothing along."""
    return (
        levels.may_send(event.sender, "m.room.redaction", is_state=False) and levels.user(event.sender) >= levels.redact
    )
