"""The table `spam_mutes`: people whom rules muted in a room, for a while or for good."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class MuteRow:
    """`level_before`: None for the room's default; `until_ts`: None for good."""

    room_id: RoomId
    user_id: UserId
    level_before: int | None
    until_ts: int | None
    because: str


_COLUMNS = "room_id, user_id, level_before, until_ts, because"
_ONE = f"SELECT {_COLUMNS} FROM spam_mutes WHERE room_id = $1 AND user_id = $2"
_DUE = f"SELECT {_COLUMNS} FROM spam_mutes WHERE until_ts <= $1 ORDER BY until_ts LIMIT $2"
_NEXT = "SELECT min(until_ts) FROM spam_mutes"
# One that is there keeps the level from before, and the later end.
_PUT = f"""
    INSERT INTO spam_mutes ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (room_id, user_id) DO UPDATE SET because = excluded.because, until_ts =
        CASE WHEN excluded.until_ts IS NULL OR spam_mutes.until_ts IS NULL THEN NULL
        ELSE greatest(spam_mutes.until_ts, excluded.until_ts) END
"""
_END = "DELETE FROM spam_mutes WHERE room_id = $1 AND user_id = $2"


async def one(db: Reader, room_id: RoomId, user_id: UserId) -> MuteRow | None:
    row = await db.fetchrow(_ONE, room_id, user_id)
    return _mute(row) if row is not None else None


async def due(db: Reader, now_ms: int, limit: int) -> list[MuteRow]:
    """Those whose time is over, longest first."""
    return [_mute(row) for row in await db.fetch(_DUE, now_ms, limit)]


async def next_ts(db: Reader) -> int | None:
    """When the next one ends."""
    found: int | None = await db.fetchval(_NEXT)
    return found


async def put(tx: Tx, row: MuteRow) -> None:
    await tx.execute(_PUT, row.room_id, row.user_id, row.level_before, row.until_ts, row.because)


async def end(tx: Tx, room_id: RoomId, user_id: UserId) -> None:
    await tx.execute(_END, room_id, user_id)


def _mute(row: Row) -> MuteRow:
    return MuteRow(
        room_id=RoomId(row["room_id"]),
        user_id=UserId(row["user_id"]),
        level_before=row["level_before"],
        until_ts=row["until_ts"],
        because=row["because"],
    )
