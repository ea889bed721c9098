"""The table `pushes`: notifications that are still to be delivered, by pusher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class PusherKey:
    """Names a pusher."""

    user_id: UserId
    app_id: str
    pushkey: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRow:
    """One event for one pusher. `tweaks` is JSON."""

    key: PusherKey
    event_nid: int
    room_id: RoomId
    thread_id: str
    tweaks: bytes
    decided_ts: int


_INSERT = """
    INSERT INTO pushes (user_id, app_id, pushkey, event_nid, room_id, thread_id, tweaks, decided_ts)
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bytea[], $8::bigint[]
    )
    ON CONFLICT DO NOTHING
"""
_DELETE = """
    DELETE FROM pushes p USING unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
        AS done(user_id, app_id, pushkey, event_nid)
    WHERE (p.app_id, p.pushkey, p.user_id, p.event_nid) = (done.app_id, done.pushkey, done.user_id, done.event_nid)
"""
_DELETE_ORPHANS = """
    DELETE FROM pushes p WHERE NOT EXISTS (
        SELECT FROM pushers r WHERE (r.app_id, r.pushkey, r.user_id) = (p.app_id, p.pushkey, p.user_id)
    )
"""
_ALL = """
    SELECT user_id, app_id, pushkey, event_nid, room_id, thread_id, tweaks, decided_ts FROM pushes
    ORDER BY event_nid LIMIT $1
"""


async def insert(tx: Tx, rows: Sequence[PushRow]) -> None:
    await tx.execute(
        _INSERT,
        [row.key.user_id for row in rows],
        [row.key.app_id for row in rows],
        [row.key.pushkey for row in rows],
        [row.event_nid for row in rows],
        [row.room_id for row in rows],
        [row.thread_id for row in rows],
        [row.tweaks for row in rows],
        [row.decided_ts for row in rows],
    )


async def delete(tx: Tx, done: Sequence[tuple[PusherKey, int]]) -> None:
    """Deletes what was delivered, or needs no delivery any more."""
    await tx.execute(
        _DELETE,
        [key.user_id for key, _ in done],
        [key.app_id for key, _ in done],
        [key.pushkey for key, _ in done],
        [event_nid for _, event_nid in done],
    )


async def delete_orphans(tx: Tx) -> None:
    """Deletes those whose pusher is gone."""
    await tx.execute(_DELETE_ORPHANS)


async def all_waiting(db: Reader, limit: int) -> list[PushRow]:
    """What an earlier run left, oldest first."""
    return [
        PushRow(
            key=PusherKey(UserId(row["user_id"]), row["app_id"], row["pushkey"]),
            event_nid=row["event_nid"],
            room_id=RoomId(row["room_id"]),
            thread_id=row["thread_id"],
            tweaks=row["tweaks"],
            decided_ts=row["decided_ts"],
        )
        for row in await db.fetch(_ALL, limit)
    ]
