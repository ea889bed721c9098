"""Raid mode: a room is locked while a wave lasts, and opens again by itself, whatever happens to the server meanwhile.

What the room said before is kept with the lock. It is put back only where the lock still stands: who changed the room
meanwhile meant it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import structlog

from admin.audit import AuditEntry, AuditLog
from admin.audit_actions import Action
from admin.room_hand import RoomHand
from admin.spam.book import BY_ITSELF, Recorded
from admin.spam.rules import LOCKS
from admin.storage import spam_raids
from admin.storage.spam_raids import RaidRow
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.identifiers import RoomId
from homeserver.rooms.residents import Room
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database, Tx

log = structlog.get_logger()

QUIET_LEVEL = 50
# What a room may have levels of its own for, and what a quiet room must not hear.
_SAID = frozenset({"m.room.message", "m.room.encrypted", "m.sticker", "m.reaction"})
RAIDS_MAX = 1_000
SECONDS_MAX = 30 * 86_400
_ROUND_S = 0.5


class RaidMode:
    """Locks rooms, and opens them once their time is over."""

    def __init__(self, db: Database, hand: RoomHand, audit: AuditLog, clock: Clock) -> None:
        self._db = db
        self._hand = hand
        self._audit = audit
        self._clock = clock
        self._turn = asyncio.Lock()
        self._some = asyncio.Event()
        self.locked: dict[RoomId, RaidRow] = {}

    async def start(self) -> None:
        """Reads what is locked; whose time was over meanwhile is opened by the first round."""
        self.locked = {row.room_id: row for row in await spam_raids.all_of_them(self._db)}
        if self.locked:
            self._some.set()

    async def lock(
        self, room_id: RoomId, *, how: str, seconds: int, because: str, recorded: Recorded | None = None
    ) -> RaidRow:
        """Locks a room for so long; one that is locked stays so until the later of the two ends.

        Raises InvalidParam; NotFound where nobody of ours has power in the room; MatrixError where the room says no.
        """
        if how not in LOCKS or not 1 <= seconds <= SECONDS_MAX:
            raise InvalidParam(f"a lock is one of {', '.join(LOCKS)}, for 1 to {SECONDS_MAX} seconds")
        until_ms = self._clock.now_ms() + seconds * 1_000
        async with self._turn, self._hand.turn:
            known = self.locked.get(room_id)
            if known is not None:
                return await self._prolong(known, until_ms)
            if len(self.locked) >= RAIDS_MAX:
                raise InvalidParam(f"{RAIDS_MAX} rooms may be locked at once")
            room, _ = await self._hand.acting(room_id)
            before = _content(room, how)
            raid = RaidRow(
                room_id=room_id,
                how=how,
                because=because[:255],
                since_ts=self._clock.now_ms(),
                until_ts=until_ms,
                before=orjson.dumps(before).decode(),
                during=orjson.dumps(_locked(how, before)).decode(),
            )
            note = recorded or self._note("room.lock", room_id, because)
            async with self._db.transaction() as tx:
                await spam_raids.add(tx, raid)
                await note(tx, {}, {"how": how, "until_ts": until_ms})
            self.locked[room_id] = raid
            self._some.set()
            try:
                if raid.during != raid.before:
                    await self._hand.set_state(room_id, LOCKS[how], orjson.loads(raid.during))
            except MatrixError:
                await self._forget(room_id)
                raise
        return raid

    async def unlock(self, room_id: RoomId, *, because: str, recorded: Recorded | None = None) -> bool:
        """Opens a room again. Whether what it said before was put back: not where somebody changed it meanwhile.

        Raises NotFound for a room that isn't locked, MatrixError where the room says no.
        """
        async with self._turn, self._hand.turn:
            raid = self.locked.get(room_id)
            if raid is None:
                raise NotFound("this room isn't locked")
            room = await self._hand.rooms.get(room_id)
            opened = _opened(raid, _content(room, raid.how)) if room is not None else None
            is_ours = opened is not None
            if opened is not None and raid.during != raid.before:
                await self._hand.set_state(room_id, LOCKS[raid.how], opened)
            note = recorded or self._note("room.unlock", room_id, because)
            async with self._db.transaction() as tx:
                await spam_raids.end(tx, room_id)
                await note(tx, {"how": raid.how, "until_ts": raid.until_ts}, {"restored": is_ours})
            self.locked.pop(room_id, None)
        return is_ours

    async def run(self) -> None:
        """One round of a background task."""
        await self._some.wait()
        now_ms = self._clock.now_ms()
        for raid in [raid for raid in self.locked.values() if raid.until_ts <= now_ms]:
            try:
                await self.unlock(raid.room_id, because="its time is over")
            except NotFound:
                await self._forget(raid.room_id)  # we are out of it, or nobody of ours has power any more
            except MatrixError as error:
                log.warning("spam_unlock_failed", room_id=raid.room_id, why=str(error)[:200])
                await self._forget(raid.room_id)
        if not self.locked:
            self._some.clear()
        await self._clock.sleep(_ROUND_S)

    async def _prolong(self, known: RaidRow, until_ms: int) -> RaidRow:
        if until_ms <= known.until_ts:
            return known
        raid = replace(known, until_ts=until_ms)
        async with self._db.transaction() as tx:
            await spam_raids.prolong(tx, raid.room_id, until_ms)
        self.locked[raid.room_id] = raid
        return raid

    async def _forget(self, room_id: RoomId) -> None:
        async with self._db.transaction() as tx:
            await spam_raids.end(tx, room_id)
        self.locked.pop(room_id, None)

    def _note(self, action: Action, room_id: RoomId, because: str) -> Recorded:
        async def note(tx: Tx, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
            entry = AuditEntry(
                actor=BY_ITSELF, action=action, target=room_id, reason=because, before=before, after=after
            )
            await self._audit.record(tx, entry)

        return note


def _content(room: Room, how: str) -> dict[str, Any]:
    event = room.known_state(LOCKS[how])
    return dict(event.content) if event is not None else {}


def _opened(raid: RaidRow, now: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an open room says; None where somebody changed what the lock had changed.

    What else was said meanwhile (somebody was muted) stays.
    """
    before, during = orjson.loads(raid.before), orjson.loads(raid.during)
    locked = {key for key in before.keys() | during.keys() if before.get(key) != during.get(key)}
    if any(now.get(key) != during.get(key) for key in locked):
        return None
    kept = {key: value for key, value in now.items() if key not in locked}
    return {**kept, **{key: before[key] for key in before if key in locked}}


def _locked(how: str, content: Mapping[str, Any]) -> dict[str, Any]:
    if how == "invite_only":
        return {"join_rule": "invite"}
    events = content.get("events")
    raised = (
        {name: _raised(level) for name, level in events.items() if name in _SAID} if isinstance(events, dict) else {}
    )
    levels = {**events, **raised} if isinstance(events, dict) else {}
    return {**content, "events_default": _raised(content.get("events_default")), "events": levels}


def _raised(level: object) -> int:
    return max(level, QUIET_LEVEL) if isinstance(level, int) else QUIET_LEVEL
