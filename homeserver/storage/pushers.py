"""The table `pushers`: where users want their notifications pushed."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.identifiers import DeviceId, UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class PusherRow:
    """`description` is JSON: kind, names, lang, profile_tag and data."""

    user_id: UserId
    app_id: str
    pushkey: str
    device_id: DeviceId | None
    description: bytes


_COLUMNS = "user_id, app_id, pushkey, device_id, description"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('pushers ' || $1, 0))"
_COUNT_OTHERS = "SELECT count(*) FROM pushers WHERE user_id = $1 AND (app_id, pushkey) <> ($2, $3)"
_UPSERT = """
    INSERT INTO pushers (user_id, app_id, pushkey, device_id, description) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (app_id, pushkey, user_id) DO UPDATE SET
        device_id = excluded.device_id, description = excluded.description
"""
_DELETE = "DELETE FROM pushers WHERE user_id = $1 AND app_id = $2 AND pushkey = $3"
_DELETE_OF_OTHERS = "DELETE FROM pushers WHERE app_id = $2 AND pushkey = $3 AND user_id <> $1 RETURNING user_id"
_DELETE_OF_DEVICES = "DELETE FROM pushers WHERE user_id = $1 AND device_id = ANY($2::text[])"
_OF_USER = f"SELECT {_COLUMNS} FROM pushers WHERE user_id = $1 ORDER BY app_id, pushkey"


async def lock(tx: Tx, user_id: UserId) -> None:
    """Lets one transaction at a time change this user's pushers, so that the cap holds."""
    await tx.execute(_LOCK, user_id)


async def count_others(tx: Tx, user_id: UserId, app_id: str, pushkey: str) -> int:
    """How many pushers a user has beside this one."""
    count: int = await tx.fetchval(_COUNT_OTHERS, user_id, app_id, pushkey)
    return count


async def upsert(tx: Tx, row: PusherRow) -> None:
    await tx.execute(_UPSERT, row.user_id, row.app_id, row.pushkey, row.device_id, row.description)


async def delete(tx: Tx, user_id: UserId, app_id: str, pushkey: str) -> None:
    await tx.execute(_DELETE, user_id, app_id, pushkey)


async def delete_of_others(tx: Tx, user_id: UserId, app_id: str, pushkey: str) -> list[UserId]:
    """Deletes the pushers with this app id and key that belong to other users; those users."""
    return [UserId(row["user_id"]) for row in await tx.fetch(_DELETE_OF_OTHERS, user_id, app_id, pushkey)]


async def delete_of_devices(tx: Tx, user_id: UserId, device_ids: list[DeviceId]) -> None:
    """Deletes what these devices had set: for when they are logged out."""
    await tx.execute(_DELETE_OF_DEVICES, user_id, device_ids)


async def of_user(db: Reader, user_id: UserId) -> list[PusherRow]:
    return [
        PusherRow(
            user_id=UserId(row["user_id"]),
            app_id=row["app_id"],
            pushkey=row["pushkey"],
            device_id=DeviceId(row["device_id"]) if row["device_id"] is not None else None,
            description=row["description"],
        )
        for row in await db.fetch(_OF_USER, user_id)
    ]
