"""The table `unredacted_reads`: who looked at what redacted events had said."""

from __future__ import annotations

from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.storage.database import Tx

_INSERT = "INSERT INTO unredacted_reads (read_ts, user_id, room_id, event_id) VALUES ($1, $2, $3, $4)"


async def insert(tx: Tx, now_ms: int, user_id: UserId, room_id: RoomId, event_id: EventId) -> None:
    await tx.execute(_INSERT, now_ms, user_id, room_id, event_id)
