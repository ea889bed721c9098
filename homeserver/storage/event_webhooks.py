"""The table `event_webhooks`: what rooms tell other programs, and how far each has heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWebhookRow:
    """`position` and `pending_upto` are places of the room's timeline: up to where all was acknowledged, and where the
    delivery ends that was sent and isn't."""

    webhook_id: str
    room_id: RoomId
    owner: UserId
    name: str
    url: str
    signing_secret: str
    types: Sequence[str]
    created_ts: int
    position: int
    delivery: int = 0
    pending_upto: int | None = None
    failures: int = 0
    failing_since_ts: int | None = None
    retry_ts: int = 0
    is_enabled: bool = True


_COLUMNS = """
    webhook_id, room_id, owner, name, url, signing_secret, types, created_ts, position, delivery, pending_upto,
    failures, failing_since_ts, retry_ts, is_enabled
"""
_INSERT = f"""
    INSERT INTO event_webhooks ({_COLUMNS})
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
    WHERE (SELECT count(*) FROM event_webhooks WHERE room_id = $2) < $16
"""
_ONE = f"SELECT {_COLUMNS} FROM event_webhooks WHERE webhook_id = $1"
_ALL = f"SELECT {_COLUMNS} FROM event_webhooks ORDER BY room_id, created_ts, webhook_id"
_OF_ROOM = f"SELECT {_COLUMNS} FROM event_webhooks WHERE room_id = $1 ORDER BY created_ts, webhook_id"
_PROGRESS = """
    UPDATE event_webhooks SET position = $2, delivery = $3, pending_upto = $4, failures = $5, failing_since_ts = $6,
        retry_ts = $7, is_enabled = $8
    WHERE webhook_id = $1
"""
_DELETE = "DELETE FROM event_webhooks WHERE webhook_id = $1"


async def insert(tx: Tx, row: EventWebhookRow, per_room_max: int) -> bool:
    """Whether the room could have one more."""
    done = await tx.execute(
        _INSERT, row.webhook_id, row.room_id, row.owner, row.name, row.url, row.signing_secret, list(row.types),
        row.created_ts, row.position, row.delivery, row.pending_upto, row.failures, row.failing_since_ts,
        row.retry_ts, row.is_enabled, per_room_max,
    )  # fmt: skip
    return done != "INSERT 0 0"


async def one(db: Reader, webhook_id: str) -> EventWebhookRow | None:
    row = await db.fetchrow(_ONE, webhook_id)
    return _row(row) if row else None


async def all_of_them(db: Reader) -> list[EventWebhookRow]:
    return [_row(row) for row in await db.fetch(_ALL)]


async def of_room(db: Reader, room_id: RoomId) -> list[EventWebhookRow]:
    return [_row(row) for row in await db.fetch(_OF_ROOM, room_id)]


async def set_progress(tx: Tx, row: EventWebhookRow) -> None:
    """Everything that deliveries change."""
    await tx.execute(
        _PROGRESS, row.webhook_id, row.position, row.delivery, row.pending_upto, row.failures, row.failing_since_ts,
        row.retry_ts, row.is_enabled,
    )  # fmt: skip


async def delete(tx: Tx, webhook_id: str) -> bool:
    """Whether there was one."""
    return (await tx.execute(_DELETE, webhook_id)) != "DELETE 0"


def _row(row: Row) -> EventWebhookRow:
    return EventWebhookRow(
        webhook_id=row["webhook_id"],
        room_id=RoomId(row["room_id"]),
        owner=UserId(row["owner"]),
        name=row["name"],
        url=row["url"],
        signing_secret=row["signing_secret"],
        types=row["types"],
        created_ts=row["created_ts"],
        position=row["position"],
        delivery=row["delivery"],
        pending_upto=row["pending_upto"],
        failures=row["failures"],
        failing_since_ts=row["failing_since_ts"],
        retry_ts=row["retry_ts"],
        is_enabled=row["is_enabled"],
    )
