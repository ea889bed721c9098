"""Single events that go by themselves: at a time, or some time after somebody else read them.

A message says so itself, where the server lets it (`org.matrix.self_destruct_after`: a time in milliseconds;
`org.matrix.msc2228.self_destruct`: milliseconds from the first public read receipt of another), or a rule does by
`expire_event_at` and `expire_event_after_reading`. An event of a user of ours goes by a redaction of their own, which
clients and other servers hear of; one from elsewhere is hidden here. What it said leaves the database, the index and
the media at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from homeserver.core import canonical_json
from homeserver.core.errors import MatrixError, NotFound, Unavailable
from homeserver.core.events import Draft, Event
from homeserver.core.identifiers import EventId, ServerName, UserId, domain_of
from homeserver.core.redaction import redact
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import Written
from homeserver.rooms.erasure import Erasure
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.writer import RoomWriter
from homeserver.runtime.clock import Clock
from homeserver.storage import event_expiries, events, journal_cursors, media_links, room_retention
from homeserver.storage.database import Database
from homeserver.storage.event_expiries import DueEvent, Expiring, Read
from homeserver.storage.events import StoredEvent

log = structlog.get_logger()

AT_KEY = "org.matrix.self_destruct_after"
AFTER_READ_KEY = "org.matrix.msc2228.self_destruct"
AFTER_READ_MS_MAX = 365 * 86_400_000
EVERY_S = 1.0
AT_ONCE = 100
_CATCH_UP = 500
# How far the cursor may stay behind while no message wishes anything: the next start reads what lies between.
_BEHIND_MAX = 10_000
_TRY_AGAIN_MS = 60_000
_TS_MAX = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiryTools:
    """What expiring is done with."""

    db: Database
    journal: Journal
    events: EventStore
    writer: RoomWriter
    erasure: Erasure
    clock: Clock
    server_name: ServerName


class Expiry:
    """A background task: `run` does one round. `by_wish`: whether messages may say themselves that they expire."""

    def __init__(self, tools: ExpiryTools, *, by_wish: bool) -> None:
        self._tools = tools
        self._by_wish = by_wish
        self._wished: list[Expiring] = []
        self._reads: list[Read] = []
        self._unread_rooms: set[str] = set()
        self._heard = 0
        self._written_down = 0  # the cursor
        self._next_ms: int | None = None

    async def start(self) -> None:
        """Takes up what an earlier run left. Call it before anybody can write."""
        tools = self._tools
        if self._by_wish:
            at = await journal_cursors.position(tools.db, event_expiries.CONSUMER)
            # Messages from before the server was told to let them expire stay.
            at = at if at is not None else tools.journal.visible
            while placed := await events.after_position(tools.db, at, tools.journal.visible, _CATCH_UP):
                found = await tools.events.by_nids(placed)
                self._wished += [wish for one in found.values() if (wish := wish_of(one)) is not None]
                at = max(placed.values())
            self._heard = max(at, tools.journal.visible)
            await self._flush(always=True)
            tools.journal.follow(event_expiries.CONSUMER, lambda: self._heard)
        async with tools.db.transaction() as tx:
            await event_expiries.read_earlier(tx)
        self._unread_rooms = {str(room_id) for room_id in await event_expiries.unread_rooms(tools.db)}
        tools.journal.listen(self.hear)
        self._next_ms = await event_expiries.next_ts(tools.db)

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener."""
        for entry in entries:
            if self._by_wish and isinstance(entry.payload, Written):
                wish = wish_of(entry.payload.stored)
                if wish is not None:
                    self._wished.append(wish)
                    if wish.expires_ts is None:
                        self._unread_rooms.add(wish.room_id)
            elif entry.kind == "receipt" and entry.room_id in self._unread_rooms:
                # Private receipts don't count: who sees a message go would know of them.
                self._reads += [
                    Read(one.room_id, one.user_id, one.event_ordering, one.thread_id == "")
                    for one in entry.payload
                    if one.receipt_type == "m.read"
                ]
            self._heard = entry.position

    async def run(self) -> None:
        """Expires what is due, then waits for a moment."""
        await self._flush(always=self._by_wish and self._heard - self._written_down > _BEHIND_MAX)
        if self._next_ms is not None and self._next_ms <= self._tools.clock.now_ms():
            await self.expire_due()
        await self._tools.clock.sleep(EVERY_S)

    async def expire_event_at(self, event_id: EventId, ts_ms: int) -> None:
        """Has an event go at a time (milliseconds; one that is past: now). An earlier time stays.

        Raises NotFound for an event that isn't in a timeline here, or is state, which doesn't expire.
        """
        stored = await self._message(event_id)
        async with self._tools.db.transaction() as tx:
            await event_expiries.insert(tx, [_expiring(stored, expires_ts=max(0, ts_ms))])
        self._sooner(ts_ms)

    async def expire_event_after_reading(self, event_id: EventId, after_ms: int) -> None:
        """Has an event go so many milliseconds after somebody else's first public read receipt for it.

        One that was read already: so long after that. Raises NotFound as `expire_event_at`.
        """
        stored = await self._message(event_id)
        # Before it is looked whether it was read: a receipt that comes meanwhile is heard, or seen.
        self._unread_rooms.add(stored.event.room_id)
        async with self._tools.db.transaction() as tx:
            await event_expiries.insert(tx, [_expiring(stored, after_read_ms=after_ms)])
            begun = await event_expiries.read_already(tx, [stored.nid])
        for ts_ms in begun:
            self._sooner(ts_ms)

    async def keep_event(self, event_id: EventId) -> bool:
        """Takes back what the two above said; what the message says itself still holds.

        Whether it was about to go, and is still there. Raises NotFound as `expire_event_at`.
        """
        stored = await self._message(event_id)
        wish = wish_of(stored) if self._by_wish else None
        async with self._tools.db.transaction() as tx:
            is_kept = await event_expiries.keep(tx, stored.nid)
            if wish is not None and is_kept:
                await event_expiries.insert(tx, [wish])
                await event_expiries.read_already(tx, [stored.nid])
        return is_kept

    async def _message(self, event_id: EventId) -> StoredEvent:
        stored = await self._tools.events.by_id(event_id)
        if stored is None or stored.ordering is None or stored.event.is_state:
            raise NotFound("there is no such message")
        return stored

    async def expire_due(self) -> None:
        """Goes through what is due once."""
        tools = self._tools
        while found := await event_expiries.due(tools.db, tools.clock.now_ms(), AT_ONCE):
            shown = await media_links.of_events(tools.db, [one.event_nid for one in found])
            gone = [one.event_nid for one in found if one.is_redacted or await self._expire(one)]
            async with tools.db.transaction() as tx:
                await media_links.hide_for_good(tx, shown)
                await event_expiries.done(tx, gone)
                left = list({one.event_nid for one in found}.difference(gone))
                await event_expiries.later(tx, left, tools.clock.now_ms() + _TRY_AGAIN_MS)
            tools.erasure.wake()
            if len(found) < AT_ONCE:
                break
        self._next_ms = await event_expiries.next_ts(tools.db)
        if self._next_ms is not None:  # held ones are due, and stay so
            self._next_ms = max(self._next_ms, tools.clock.now_ms() + int(EVERY_S * 1000))

    async def _expire(self, one: DueEvent) -> bool:
        """Whether it is gone for everybody here. False: to be tried again."""
        tools = self._tools
        if domain_of(one.sender) == tools.server_name:
            draft = Draft(
                type="m.room.redaction",
                sender=one.sender,
                content={"reason": "expired"},
                redacts=one.event_id,
                origin_server_ts=tools.clock.now_ms(),
            )
            try:
                await tools.writer.send(one.room_id, draft)
                return True
            except Unavailable:
                return False
            except MatrixError as refusal:  # they left, or may not: it goes here, at least
                log.info("expiry_not_redacted", error=refusal.code)
        return await self._hide(one)

    async def _hide(self, one: DueEvent) -> bool:
        """As messages of a room expire: not while it is where the room goes on."""
        tools = self._tools
        stored = (await tools.events.by_nids([one.event_nid])).get(one.event_nid)
        if stored is None:
            return True
        if stored.is_lost:
            return False
        newest = await events.newest_positions(tools.db, [stored.room_nid])
        if stored.ordering is not None and stored.ordering >= newest.get(stored.room_nid, 0):
            return False
        pdu = redact(ROOM_VERSIONS[stored.event.version.id], stored.event.pdu)
        async with tools.journal.write() as write:
            await room_retention.hide(write.tx, {one.event_nid: canonical_json.encode(pdu)})
            write.publish("redacted", room_id=one.room_id, payload=(one.event_nid,))
        tools.events.redacted([one.event_nid])
        return True

    async def _flush(self, *, always: bool = False) -> None:
        """Writes down what was heard, with the cursor."""
        if not (self._wished or self._reads or always):
            return
        wished, reads, upto = self._wished, self._reads, self._heard
        self._wished, self._reads = [], []
        try:
            async with self._tools.db.transaction() as tx:
                if wished:
                    await event_expiries.insert(tx, wished)
                begun = await event_expiries.read(tx, reads, self._tools.clock.now_ms()) if reads else []
                if self._by_wish:  # what was said while messages might not say it isn't looked at later
                    await journal_cursors.advance(tx, event_expiries.CONSUMER, upto)
        except BaseException:
            self._wished, self._reads = wished + self._wished, reads + self._reads
            raise
        self._written_down = upto
        for ts_ms in [*begun, *(wish.expires_ts for wish in wished if wish.expires_ts is not None)]:
            self._sooner(ts_ms)

    def _sooner(self, ts_ms: int) -> None:
        self._next_ms = ts_ms if self._next_ms is None else min(self._next_ms, ts_ms)


def wish_of(stored: StoredEvent) -> Expiring | None:
    """When a message says that it goes; None for one that doesn't say, or says nonsense."""
    event = stored.event
    if event.is_state or stored.ordering is None or stored.flags or event.type == "m.room.redaction":
        return None
    at, after_read = _number(event, AT_KEY, _TS_MAX), _number(event, AFTER_READ_KEY, AFTER_READ_MS_MAX)
    if at is None and after_read is None:
        return None
    return _expiring(stored, expires_ts=at, after_read_ms=after_read)


def _expiring(stored: StoredEvent, *, expires_ts: int | None = None, after_read_ms: int | None = None) -> Expiring:
    event = stored.event
    return Expiring(
        event_nid=stored.nid,
        room_id=event.room_id,
        place=stored.ordering or 0,
        sender=UserId(event.sender),
        expires_ts=expires_ts,
        after_read_ms=after_read_ms,
    )


def _number(event: Event, key: str, most: int) -> int | None:
    value: Any = event.content.get(key)
    return value if type(value) is int and 0 < value <= most else None
