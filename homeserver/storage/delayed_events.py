"""The table `delayed_events`: what is to be sent later."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from homeserver.core.identifiers import DeviceId, RoomId, UserId
from homeserver.storage.database import Database, Reader, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayedRow:
    """One event to be sent at `since_ts` + `delay_ms`."""

    delay_id: str
    user_id: UserId
    device_id: DeviceId | None
    room_id: RoomId
    type: str
    state_key: str | None
    content: bytes
    delay_ms: int
    since_ts: int
    txn_key: UUID | None = None
    sticky_ms: int | None = None

    @property
    def due_ts(self) -> int:
        return self.since_ts + self.delay_ms


_COLUMNS = "delay_id, user_id, device_id, room_id, type, state_key, content, delay_ms, since_ts, txn_key, sticky_ms"
# The second of two equal requests finds the row of the first; a user may have so many at once.
_INSERT = f"""
    WITH made AS (
        INSERT INTO delayed_events ({_COLUMNS})
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
        WHERE (SELECT count(*) FROM delayed_events WHERE user_id = $2) < $12
        ON CONFLICT (txn_key) DO NOTHING
        RETURNING delay_id
    )
    SELECT delay_id FROM made UNION ALL SELECT delay_id FROM delayed_events WHERE txn_key = $10
"""
_DUE = f"""
    SELECT {_COLUMNS} FROM delayed_events WHERE since_ts + delay_ms <= $1 ORDER BY since_ts + delay_ms LIMIT $2
"""
_NEXT = "SELECT min(since_ts + delay_ms) FROM delayed_events"
_ONE = f"SELECT {_COLUMNS} FROM delayed_events WHERE delay_id = $1"
_OF_USER = f"SELECT {_COLUMNS} FROM delayed_events WHERE user_id = $1 ORDER BY since_ts + delay_ms"
_STATE_KEYS = "SELECT delay_id, user_id, room_id, type, state_key FROM delayed_events WHERE state_key IS NOT NULL"
_RESTART = "UPDATE delayed_events SET since_ts = $2 WHERE delay_id = $1 RETURNING delay_ms"
_DELETE = "DELETE FROM delayed_events WHERE delay_id = $1 RETURNING room_id, type, state_key"
_SENDER = "SELECT is_deactivated OR is_locked OR is_suspended AS is_silent, is_guest FROM users WHERE user_id = $1"


async def insert(db: Database, row: DelayedRow, per_user_max: int) -> str | None:
    """The id of the row, or of the one that an equal request made; None if the user has too many."""
    delay_id: str | None = await db.fetchval(
        _INSERT, row.delay_id, row.user_id, row.device_id, row.room_id, row.type, row.state_key, row.content,
        row.delay_ms, row.since_ts, row.txn_key, row.sticky_ms, per_user_max,
    )  # fmt: skip
    return delay_id


async def due(db: Reader, now_ms: int, limit: int) -> list[DelayedRow]:
    return [_row(row) for row in await db.fetch(_DUE, now_ms, limit)]


async def next_due(db: Reader) -> int | None:
    """When the next of all has to be sent."""
    found: int | None = await db.fetchval(_NEXT)
    return found


async def one(db: Reader, delay_id: str) -> DelayedRow | None:
    row = await db.fetchrow(_ONE, delay_id)
    return _row(row) if row else None


async def of_user(db: Reader, user_id: UserId) -> list[DelayedRow]:
    return [_row(row) for row in await db.fetch(_OF_USER, user_id)]


async def state_keys(db: Reader) -> list[tuple[str, UserId, tuple[RoomId, str, str]]]:
    """(id, user, (room, type, state key)) of all delayed state."""
    return [
        (row["delay_id"], UserId(row["user_id"]), (RoomId(row["room_id"]), row["type"], row["state_key"]))
        for row in await db.fetch(_STATE_KEYS)
    ]


async def restart(db: Database, delay_id: str, now_ms: int) -> int | None:
    """Lets the delay run anew; how long it is, or None if there is no such event."""
    delay_ms: int | None = await db.fetchval(_RESTART, delay_id, now_ms)
    return delay_ms


async def delete(db: Database, delay_id: str) -> tuple[RoomId, str, str | None] | None:
    """The (room, type, state key) that it was for; None if there was none."""
    row = await db.fetchrow(_DELETE, delay_id)
    return (RoomId(row["room_id"]), row["type"], row["state_key"]) if row is not None else None


async def sender(db: Reader, user_id: UserId) -> tuple[bool, bool]:
    """Whether the user may still send anything, and whether it is a guest."""
    row = await db.fetchrow(_SENDER, user_id)
    return (False, False) if row is None else (not row["is_silent"], row["is_guest"])


def _row(row: Row) -> DelayedRow:
    return DelayedRow(
        delay_id=row["delay_id"],
        user_id=UserId(row["user_id"]),
        device_id=DeviceId(row["device_id"]) if row["device_id"] is not None else None,
        room_id=RoomId(row["room_id"]),
        type=row["type"],
        state_key=row["state_key"],
        content=row["content"],
        delay_ms=row["delay_ms"],
        since_ts=row["since_ts"],
        txn_key=row["txn_key"],
        sticky_ms=row["sticky_ms"],
    )
