"""The tables `to_device_messages` and `to_device_transactions`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import DeviceId, UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class Addressed:
    user_id: UserId
    device_id: DeviceId
    message: bytes


_INSERT = """
    INSERT INTO to_device_messages (user_id, device_id, position, number, message)
    SELECT new.user_id, new.device_id, $4, (new.number - 1)::integer, new.message
    FROM unnest($1::text[], $2::text[], $3::bytea[]) WITH ORDINALITY AS new(user_id, device_id, message, number)
"""
_PENDING = """
    SELECT position, message FROM to_device_messages
    WHERE user_id = $1 AND device_id = $2 AND position > $3 AND position <= $4
    ORDER BY position, number LIMIT $5
"""
# The newest stay.
_TRIM = """
    DELETE FROM to_device_messages AS m USING (
        SELECT user_id, device_id, position, number,
            row_number() OVER newest_first AS place, sum(octet_length(message)) OVER newest_first AS size_bytes
        FROM to_device_messages JOIN unnest($1::text[], $2::text[]) AS due(user_id, device_id)
            USING (user_id, device_id)
        WINDOW newest_first AS (PARTITION BY user_id, device_id ORDER BY position DESC, number DESC)
    ) AS queued
    WHERE (m.user_id, m.device_id, m.position, m.number)
        = (queued.user_id, queued.device_id, queued.position, queued.number)
        AND (queued.place > $3 OR queued.size_bytes > $4)
"""
_DELETE_UPTO = "DELETE FROM to_device_messages WHERE user_id = $1 AND device_id = $2 AND position <= $3"
_DELETE = "DELETE FROM to_device_messages WHERE user_id = $1 AND device_id = ANY($2::text[])"
_DEVICES = "SELECT user_id, device_id FROM devices WHERE user_id = ANY($1::text[])"
_DEHYDRATED = "SELECT user_id, device_id FROM dehydrated_devices WHERE user_id = ANY($1::text[])"
_BEGIN = """
    INSERT INTO to_device_transactions (user_id, device_id, txn_id, done_ts) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING
"""
_FORGET = "DELETE FROM to_device_transactions WHERE done_ts < $1"


async def insert(tx: Tx, messages: Sequence[Addressed], position: int) -> None:
    """All of one request, in one statement."""
    await tx.execute(
        _INSERT, [m.user_id for m in messages], [m.device_id for m in messages], [m.message for m in messages], position
    )


async def pending(
    db: Reader, user_id: UserId, device_id: DeviceId, since: int, upto: int, limit: int
) -> list[tuple[int, bytes]]:
    """(position, message) with since < position <= upto, oldest first."""
    rows = await db.fetch(_PENDING, user_id, device_id, since, upto, limit)
    return [(row["position"], row["message"]) for row in rows]


async def trim(tx: Tx, queues: Sequence[tuple[UserId, DeviceId]], most: int, bytes_max: int) -> None:
    """Deletes the oldest messages of these devices until each has so many, and so many bytes, at most."""
    await tx.execute(_TRIM, [user_id for user_id, _ in queues], [device_id for _, device_id in queues], most, bytes_max)


async def delete_upto(tx: Tx, user_id: UserId, device_id: DeviceId, position: int) -> None:
    await tx.execute(_DELETE_UPTO, user_id, device_id, position)


async def delete(tx: Tx, user_id: UserId, device_ids: Collection[DeviceId]) -> None:
    await tx.execute(_DELETE, user_id, list(device_ids))


async def devices_of(db: Reader, user_ids: Collection[UserId]) -> dict[UserId, set[DeviceId]]:
    """The devices of these users, dehydrated ones included."""
    found: dict[UserId, set[DeviceId]] = {}
    for sql in (_DEVICES, _DEHYDRATED):
        for row in await db.fetch(sql, list(user_ids)):
            found.setdefault(UserId(row["user_id"]), set()).add(DeviceId(row["device_id"]))
    return found


async def begin(tx: Tx, user_id: UserId, device_id: DeviceId, txn_id: str, now_ms: int) -> bool:
    """False if this transaction was done before."""
    return (await tx.execute(_BEGIN, user_id, device_id, txn_id, now_ms)) == "INSERT 0 1"


async def forget_transactions(tx: Tx, before_ms: int) -> None:
    await tx.execute(_FORGET, before_ms)
