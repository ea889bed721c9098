"""The table `dehydrated_devices`: at most one for each user."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.core.identifiers import DeviceId, UserId
from homeserver.storage.database import Reader, Tx

_GET = "SELECT device_id, device_data FROM dehydrated_devices WHERE user_id = $1"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('dehydrated_devices ' || $1, 0))"
_IS_REAL = "SELECT EXISTS (SELECT FROM devices WHERE user_id = $1 AND device_id = $2)"
_INSERT = "INSERT INTO dehydrated_devices (user_id, device_id, device_data) VALUES ($1, $2, $3)"
_DELETE = "DELETE FROM dehydrated_devices WHERE user_id = $1 RETURNING device_id"
_DELETE_THESE = "DELETE FROM dehydrated_devices WHERE user_id = $1 AND device_id = ANY($2::text[])"


async def get(db: Reader, user_id: UserId) -> tuple[DeviceId, bytes] | None:
    """The device's id, and what its owner needs to bring it back to life."""
    row = await db.fetchrow(_GET, user_id)
    return (DeviceId(row["device_id"]), row["device_data"]) if row else None


async def lock(tx: Tx, user_id: UserId) -> None:
    """Makes others who would replace or delete this user's device wait until the transaction ends."""
    await tx.execute(_LOCK, user_id)


async def is_real(db: Reader, user_id: UserId, device_id: DeviceId) -> bool:
    """Whether this is a device that somebody is logged in with."""
    return bool(await db.fetchval(_IS_REAL, user_id, device_id))


async def insert(tx: Tx, user_id: UserId, device_id: DeviceId, device_data: bytes) -> None:
    await tx.execute(_INSERT, user_id, device_id, device_data)


async def delete(tx: Tx, user_id: UserId) -> DeviceId | None:
    """The id of the device that is gone, if there was one."""
    device_id: str | None = await tx.fetchval(_DELETE, user_id)
    return DeviceId(device_id) if device_id is not None else None


async def delete_these(tx: Tx, user_id: UserId, device_ids: Collection[DeviceId]) -> None:
    """Deletes the dehydrated device if it is one of these."""
    await tx.execute(_DELETE_THESE, user_id, list(device_ids))
