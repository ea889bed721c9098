"""The table `pushers`: where users want their notifications pushed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from homeserver.core.identifiers import DeviceId, UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class PusherRow:
    """`description` is JSON: kind, names, lang, profile_tag and data.

    Nothing is pushed while it isn't `is_enabled`. `failures` in a row have put the next attempt off until `retry_ts`.
    """

    user_id: UserId
    app_id: str
    pushkey: str
    device_id: DeviceId | None
    description: bytes
    changed_ts: int = 0
    failures: int = 0
    retry_ts: int = 0
    is_enabled: bool = True


_COLUMNS = "user_id, app_id, pushkey, device_id, description, changed_ts, failures, retry_ts, is_enabled"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('pushers ' || $1, 0))"
_COUNT_OTHERS = "SELECT count(*) FROM pushers WHERE user_id = $1 AND (app_id, pushkey) <> ($2, $3)"
_UPSERT = """
    INSERT INTO pushers (user_id, app_id, pushkey, device_id, description, changed_ts, is_enabled)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (app_id, pushkey, user_id) DO UPDATE SET
        device_id = excluded.device_id, description = excluded.description, changed_ts = excluded.changed_ts,
        failures = 0, retry_ts = 0, is_enabled = excluded.is_enabled
"""
_DELETE = "DELETE FROM pushers WHERE user_id = $1 AND app_id = $2 AND pushkey = $3"
_DELETE_OF_OTHERS = "DELETE FROM pushers WHERE app_id = $2 AND pushkey = $3 AND user_id <> $1 RETURNING user_id"
_DELETE_OF_DEVICES = "DELETE FROM pushers WHERE user_id = $1 AND device_id = ANY($2::text[])"
_OF_USERS = f"SELECT {_COLUMNS} FROM pushers WHERE user_id = ANY($1::text[]) ORDER BY app_id, pushkey"
_ENABLED_OF_USERS = f"""
    SELECT {_COLUMNS} FROM pushers WHERE user_id = ANY($1::text[]) AND is_enabled ORDER BY app_id, pushkey
"""
_DEVICE = "SELECT device_id FROM pushers WHERE user_id = $1 AND app_id = $2 AND pushkey = $3"
_OWNERS = "SELECT DISTINCT user_id FROM pushers WHERE user_id > $1 ORDER BY user_id LIMIT $2"
_SET_HEALTH = "UPDATE pushers SET failures = $4, retry_ts = $5 WHERE user_id = $1 AND app_id = $2 AND pushkey = $3"


async def lock(tx: Tx, user_id: UserId) -> None:
    """Lets one transaction at a time change this user's pushers, so that the cap holds."""
    await tx.execute(_LOCK, user_id)


async def count_others(tx: Tx, user_id: UserId, app_id: str, pushkey: str) -> int:
    """How many pushers a user has beside this one."""
    count: int = await tx.fetchval(_COUNT_OTHERS, user_id, app_id, pushkey)
    return count


async def upsert(tx: Tx, row: PusherRow) -> None:
    kept = (row.device_id, row.description, row.changed_ts, row.is_enabled)
    await tx.execute(_UPSERT, row.user_id, row.app_id, row.pushkey, *kept)


async def device_of(tx: Tx, user_id: UserId, app_id: str, pushkey: str) -> DeviceId | None:
    """The device that set this pusher, if there is one."""
    device_id: DeviceId | None = await tx.fetchval(_DEVICE, user_id, app_id, pushkey)
    return device_id


async def delete(tx: Tx, user_id: UserId, app_id: str, pushkey: str) -> None:
    await tx.execute(_DELETE, user_id, app_id, pushkey)


async def delete_of_others(tx: Tx, user_id: UserId, app_id: str, pushkey: str) -> list[UserId]:
    """Deletes the pushers with this app id and key that belong to other users; those users."""
    return [UserId(row["user_id"]) for row in await tx.fetch(_DELETE_OF_OTHERS, user_id, app_id, pushkey)]


async def delete_of_devices(tx: Tx, user_id: UserId, device_ids: list[DeviceId]) -> None:
    """Deletes what these devices had set: for when they are logged out."""
    await tx.execute(_DELETE_OF_DEVICES, user_id, device_ids)


async def set_health(tx: Tx, row: PusherRow, failures: int, retry_ts: int) -> None:
    """How often in a row it failed, and when to try again."""
    await tx.execute(_SET_HEALTH, row.user_id, row.app_id, row.pushkey, failures, retry_ts)


async def owners(db: Reader, after: str, limit: int) -> list[UserId]:
    """Users who have pushers, in the order of their ids, those after `after`."""
    return [UserId(row["user_id"]) for row in await db.fetch(_OWNERS, after, limit)]


async def of_user(db: Reader, user_id: UserId) -> list[PusherRow]:
    return [_row(row) for row in await db.fetch(_OF_USERS, [user_id])]


async def enabled_of_users(db: Reader, user_ids: Collection[UserId]) -> list[PusherRow]:
    """Those that are to be told something."""
    return [_row(row) for row in await db.fetch(_ENABLED_OF_USERS, list(user_ids))]


def _row(row: Row) -> PusherRow:
    return PusherRow(
        user_id=UserId(row["user_id"]),
        app_id=row["app_id"],
        pushkey=row["pushkey"],
        device_id=DeviceId(row["device_id"]) if row["device_id"] is not None else None,
        description=row["description"],
        changed_ts=row["changed_ts"],
        failures=row["failures"],
        retry_ts=row["retry_ts"],
        is_enabled=row["is_enabled"],
    )
