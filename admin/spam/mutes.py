"""People whom rules mute in a room: for some minutes or for good, and heard again with the power they had.

What they had is kept with the mute. It is given back only where the mute still stands: who changed their power
meanwhile meant it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from admin.audit import AuditEntry, AuditLog
from admin.audit_actions import Action
from admin.room_hand import RoomHand
from admin.spam.book import BY_ITSELF
from admin.storage import spam_mutes
from admin.storage.spam_mutes import MuteRow
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.residents import Room
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database

log = structlog.get_logger()

MUTED = -1
AT_ONCE = 100
_ROUND_S = 0.5


class Mutes:
    """Mutes, and ends mutes once their time is over."""

    def __init__(self, db: Database, hand: RoomHand, audit: AuditLog, clock: Clock) -> None:
        self._db = db
        self._hand = hand
        self._audit = audit
        self._clock = clock
        self._turn = asyncio.Lock()
        self._next_ms: int | None = None

    async def start(self) -> None:
        """Reads when the next one ends; those whose time was over meanwhile are ended by the first round."""
        self._next_ms = await spam_mutes.next_ts(self._db)

    async def mute(self, room_id: RoomId, user_id: UserId, *, minutes: int, because: str) -> None:
        """`minutes`: 0 for good. One who is muted already stays so until the later of the two ends.

        Raises NotFound where nobody of ours is in the room; MatrixError where the room says no.
        """
        async with self._turn:
            room, _ = await self._hand.acting(room_id)
            known = await spam_mutes.one(self._db, room_id, user_id)
            until_ms = self._clock.now_ms() + minutes * 60_000 if minutes else None
            level = _level(room, user_id)
            row = MuteRow(
                room_id=room_id,
                user_id=user_id,
                level_before=known.level_before if known is not None else level,
                until_ts=until_ms,
                because=because[:255],
            )
            async with self._db.transaction() as tx:
                await spam_mutes.put(tx, row)
                after = {"room_id": room_id, "level": MUTED, "until_ts": until_ms}
                await self._audit.record(tx, _entry("user.mute", user_id, because, {"level": level}, after))
            try:
                if level != MUTED:
                    await self._hand.set_power(room_id, user_id, MUTED)
            except MatrixError:
                await self._forget(room_id, user_id)
                raise
            self._next_ms = await spam_mutes.next_ts(self._db)

    async def unmute(self, room_id: RoomId, user_id: UserId, *, because: str) -> bool:
        """Whether their power was given back: not where somebody changed it meanwhile, or nobody was muted.

        Raises NotFound where nobody of ours is in the room; MatrixError where the room says no.
        """
        async with self._turn:
            known = await spam_mutes.one(self._db, room_id, user_id)
            room, _ = await self._hand.acting(room_id)
            is_ours = _level(room, user_id) == MUTED
            before = known.level_before if known is not None else None
            if is_ours:
                await self._hand.set_power(room_id, user_id, before)
            async with self._db.transaction() as tx:
                await spam_mutes.end(tx, room_id, user_id)
                after = {"room_id": room_id, "level": before, "restored": is_ours}
                await self._audit.record(tx, _entry("user.unmute", user_id, because, {"level": MUTED}, after))
        return is_ours

    async def run(self) -> None:
        """One round of a background task."""
        now_ms = self._clock.now_ms()
        if self._next_ms is not None and self._next_ms <= now_ms:
            for row in await spam_mutes.due(self._db, now_ms, AT_ONCE):
                await self._end(row)
            self._next_ms = await spam_mutes.next_ts(self._db)
        await self._clock.sleep(_ROUND_S)

    async def _end(self, row: MuteRow) -> None:
        try:
            await self.unmute(row.room_id, row.user_id, because="its time is over")
        except MatrixError as error:  # we are out of the room, or nobody of ours has power any more
            log.warning("spam_unmute_failed", room_id=row.room_id, why=str(error)[:200])
            await self._forget(row.room_id, row.user_id)

    async def _forget(self, room_id: RoomId, user_id: UserId) -> None:
        async with self._db.transaction() as tx:
            await spam_mutes.end(tx, room_id, user_id)


def _level(room: Room, user_id: UserId) -> int | None:
    """What the room's power levels say of this user alone; None where they say nothing."""
    event = room.known_state("m.room.power_levels")
    levels = event.content.get("users") if event is not None else None
    level = levels.get(user_id) if isinstance(levels, dict) else None
    return level if type(level) is int else None


def _entry(
    action: Action, user_id: UserId, because: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> AuditEntry:
    return AuditEntry(actor=BY_ITSELF, action=action, target=user_id, reason=because, before=before, after=after)
