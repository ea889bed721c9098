"""The table `reports`: what users reported to the people who run this server."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReport:
    """Of an event, a room or a user. `received_ts` in milliseconds."""

    kind: str
    target: str
    reporter: UserId
    reason: str
    received_ts: int
    room_id: RoomId | None = None
    sender: UserId | None = None


_UPSERT = """
    INSERT INTO reports (kind, target, room_id, sender, reporter, reason, received_ts)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (reporter, kind, target) DO UPDATE SET reason = excluded.reason, received_ts = excluded.received_ts
"""
_COUNT = "SELECT count(*) FROM reports WHERE reporter = $1"
_IS_ROOM = "SELECT EXISTS (SELECT FROM rooms WHERE room_id = $1)"
_IS_USER = """
    SELECT EXISTS (SELECT FROM users WHERE user_id = $1) OR EXISTS (SELECT FROM memberships WHERE user_id = $1)
"""


async def upsert(tx: Tx, report: NewReport) -> None:
    await tx.execute(
        _UPSERT,
        report.kind,
        report.target,
        report.room_id,
        report.sender,
        report.reporter,
        report.reason,
        report.received_ts,
    )


async def count(db: Reader, reporter: UserId) -> int:
    """How many reports a user has made."""
    return int(await db.fetchval(_COUNT, reporter))


async def is_room(db: Reader, room_id: RoomId) -> bool:
    """Whether this server knows the room."""
    return bool(await db.fetchval(_IS_ROOM, room_id))


async def is_user(db: Reader, user_id: UserId) -> bool:
    """Whether this is an account here, or somebody seen in a room."""
    return bool(await db.fetchval(_IS_USER, user_id))
