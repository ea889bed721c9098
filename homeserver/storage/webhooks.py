"""The tables `webhooks` and `webhook_alerts`: what other programs tell rooms."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRow:
    """`token_digest`: SHA-256 of the secret part of its URL. `has_entered`: whether somebody speaks for it there."""

    webhook_id: str
    room_id: RoomId
    owner: UserId
    name: str
    source: str
    token_digest: bytes
    signing_secret: str | None
    template: str | None
    created_ts: int
    used_ts: int | None = None
    has_entered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """An alert that goes on, with the message that tells of it."""

    webhook_id: str
    alert_group: str
    event_id: EventId
    text: str
    html: str
    acknowledged_by: UserId | None = None
    changed_ts: int


_COLUMNS = """
    webhook_id, room_id, owner, name, source, token_digest, signing_secret, template, created_ts, used_ts, has_entered
"""
# A room, and a user, may have so many.
_INSERT = f"""
    INSERT INTO webhooks ({_COLUMNS})
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
    WHERE (SELECT count(*) FROM webhooks WHERE room_id = $2) < $12
"""
_ONE = f"SELECT {_COLUMNS} FROM webhooks WHERE webhook_id = $1"
_OF_ROOM = f"SELECT {_COLUMNS} FROM webhooks WHERE room_id = $1 ORDER BY created_ts, webhook_id"
_ALL = f"SELECT {_COLUMNS} FROM webhooks ORDER BY room_id, created_ts, webhook_id LIMIT $1"
_ROOMS = "SELECT DISTINCT room_id FROM webhooks"
_USED = "UPDATE webhooks SET used_ts = $2, has_entered = true WHERE webhook_id = $1"
_DELETE = "DELETE FROM webhooks WHERE webhook_id = $1"

_ALERT_COLUMNS = "webhook_id, alert_group, event_id, text, html, acknowledged_by, changed_ts"
_ALERT = f"SELECT {_ALERT_COLUMNS} FROM webhook_alerts WHERE webhook_id = $1 AND alert_group = $2"
_ALERT_OF_EVENT = f"SELECT {_ALERT_COLUMNS} FROM webhook_alerts WHERE event_id = $1"
_PUT_ALERT = f"""
    INSERT INTO webhook_alerts ({_ALERT_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (webhook_id, alert_group) DO UPDATE SET
        event_id = excluded.event_id, text = excluded.text, html = excluded.html,
        acknowledged_by = excluded.acknowledged_by, changed_ts = excluded.changed_ts
"""
_DELETE_ALERT = "DELETE FROM webhook_alerts WHERE webhook_id = $1 AND alert_group = $2"
_DELETE_OLD_ALERTS = "DELETE FROM webhook_alerts WHERE changed_ts < $1"


async def insert(tx: Tx, row: WebhookRow, per_room_max: int) -> bool:
    """Whether the room could have one more."""
    done = await tx.execute(
        _INSERT, row.webhook_id, row.room_id, row.owner, row.name, row.source, row.token_digest, row.signing_secret,
        row.template, row.created_ts, row.used_ts, row.has_entered, per_room_max,
    )  # fmt: skip
    return done != "INSERT 0 0"


async def one(db: Reader, webhook_id: str) -> WebhookRow | None:
    row = await db.fetchrow(_ONE, webhook_id)
    return _row(row) if row else None


async def of_room(db: Reader, room_id: RoomId) -> list[WebhookRow]:
    return [_row(row) for row in await db.fetch(_OF_ROOM, room_id)]


async def some(db: Reader, limit: int) -> list[WebhookRow]:
    """Of all rooms."""
    return [_row(row) for row in await db.fetch(_ALL, limit)]


async def rooms(db: Reader) -> set[RoomId]:
    """The rooms that have one."""
    return {RoomId(row["room_id"]) for row in await db.fetch(_ROOMS)}


async def mark_used(tx: Tx, webhook_id: str, now_ms: int) -> None:
    """It has spoken in its room."""
    await tx.execute(_USED, webhook_id, now_ms)


async def delete(tx: Tx, webhook_id: str) -> bool:
    """Whether there was one."""
    return (await tx.execute(_DELETE, webhook_id)) != "DELETE 0"


async def alert(db: Reader, webhook_id: str, alert_group: str) -> AlertRow | None:
    row = await db.fetchrow(_ALERT, webhook_id, alert_group)
    return _alert(row) if row else None


async def alert_of_event(db: Reader, event_id: str) -> AlertRow | None:
    """The alert that this message tells of."""
    row = await db.fetchrow(_ALERT_OF_EVENT, event_id)
    return _alert(row) if row else None


async def put_alert(tx: Tx, row: AlertRow) -> None:
    await tx.execute(
        _PUT_ALERT, row.webhook_id, row.alert_group, row.event_id, row.text, row.html, row.acknowledged_by,
        row.changed_ts,
    )  # fmt: skip


async def delete_alert(tx: Tx, webhook_id: str, alert_group: str) -> None:
    await tx.execute(_DELETE_ALERT, webhook_id, alert_group)


async def delete_old_alerts(tx: Tx, before_ms: int) -> None:
    """Those that nothing was heard of since."""
    await tx.execute(_DELETE_OLD_ALERTS, before_ms)


def _row(row: Row) -> WebhookRow:
    return WebhookRow(
        webhook_id=row["webhook_id"],
        room_id=RoomId(row["room_id"]),
        owner=UserId(row["owner"]),
        name=row["name"],
        source=row["source"],
        token_digest=row["token_digest"],
        signing_secret=row["signing_secret"],
        template=row["template"],
        created_ts=row["created_ts"],
        used_ts=row["used_ts"],
        has_entered=row["has_entered"],
    )


def _alert(row: Row) -> AlertRow:
    return AlertRow(
        webhook_id=row["webhook_id"],
        alert_group=row["alert_group"],
        event_id=EventId(row["event_id"]),
        text=row["text"],
        html=row["html"],
        acknowledged_by=UserId(row["acknowledged_by"]) if row["acknowledged_by"] is not None else None,
        changed_ts=row["changed_ts"],
    )
