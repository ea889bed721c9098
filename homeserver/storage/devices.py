"""The table `devices`: where users are logged in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import DeviceId, UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True)
class DeviceRow:
    user_id: UserId
    device_id: DeviceId
    display_name: str | None = None
    last_seen_ts: int | None = None
    last_seen_ip: str | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """A device's newest request."""

    user_id: UserId
    device_id: DeviceId
    ts: int
    address: str
    user_agent: str


_UPSERT = """
    INSERT INTO devices (user_id, device_id, display_name) VALUES ($1, $2, $3)
    ON CONFLICT (user_id, device_id) DO UPDATE SET display_name = coalesce(devices.display_name, excluded.display_name)
"""
# Nothing where the sign-in elsewhere, by which somebody comes, has ended meanwhile.
_OPEN = """
    INSERT INTO devices (user_id, device_id, display_name, upstream_nid) SELECT $1, $2, $3, $4::bigint
    WHERE $4::bigint IS NULL OR EXISTS (SELECT FROM upstream_sessions WHERE upstream_nid = $4 FOR KEY SHARE)
    ON CONFLICT (user_id, device_id) DO UPDATE
    SET display_name = coalesce(devices.display_name, excluded.display_name), upstream_nid = excluded.upstream_nid
"""
_MAKE_MANY = """
    INSERT INTO devices (user_id, device_id) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING
"""
_COUNT = "SELECT count(*) FROM devices WHERE user_id = $1"
_OF_USER = """
    SELECT user_id, device_id, display_name, last_seen_ts, last_seen_ip FROM devices WHERE user_id = $1
    ORDER BY device_id
"""
_ONE = """
    SELECT user_id, device_id, display_name, last_seen_ts, last_seen_ip FROM devices
    WHERE user_id = $1 AND device_id = $2
"""
_SIGHTINGS_OF = """
    SELECT device_id, last_seen_ts, last_seen_ip, last_seen_user_agent FROM devices
    WHERE user_id = $1 AND last_seen_ts IS NOT NULL ORDER BY device_id
"""
_RENAME = "UPDATE devices SET display_name = $3 WHERE user_id = $1 AND device_id = $2"
_DELETE = "DELETE FROM devices WHERE user_id = $1 AND device_id = ANY($2::text[])"
_SEEN = """
    UPDATE devices SET last_seen_ts = seen.ts, last_seen_ip = seen.address, last_seen_user_agent = seen.user_agent
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
        AS seen(user_id, device_id, ts, address, user_agent)
    WHERE devices.user_id = seen.user_id AND devices.device_id = seen.device_id
"""


async def upsert(tx: Tx, user_id: UserId, device_id: DeviceId, display_name: str | None) -> None:
    """Makes the device, or finds it; a name that it has stays."""
    await tx.execute(_UPSERT, user_id, device_id, display_name)


async def open_device(
    tx: Tx, user_id: UserId, device_id: DeviceId, display_name: str | None, upstream: int | None
) -> bool:
    """As `upsert`, for somebody who logs in, by a sign-in elsewhere or not; False where that has ended meanwhile."""
    return (await tx.execute(_OPEN, user_id, device_id, display_name, upstream)) == "INSERT 0 1"


async def make_many(tx: Tx, user_id: UserId, device_ids: Collection[DeviceId]) -> None:
    """Makes devices without a name; those that are there stay as they are."""
    await tx.execute(_MAKE_MANY, user_id, list(device_ids))


async def count(db: Reader, user_id: UserId) -> int:
    return int(await db.fetchval(_COUNT, user_id))


async def of_user(db: Reader, user_id: UserId) -> list[DeviceRow]:
    return [_device(row) for row in await db.fetch(_OF_USER, user_id)]


async def one(db: Reader, user_id: UserId, device_id: DeviceId) -> DeviceRow | None:
    row = await db.fetchrow(_ONE, user_id, device_id)
    return _device(row) if row else None


async def sightings_of(db: Reader, user_id: UserId) -> list[Sighting]:
    """When and from where each device of a user was last used."""
    return [
        Sighting(
            user_id,
            DeviceId(row["device_id"]),
            row["last_seen_ts"],
            row["last_seen_ip"] or "",
            row["last_seen_user_agent"] or "",
        )
        for row in await db.fetch(_SIGHTINGS_OF, user_id)
    ]


async def rename(tx: Tx, user_id: UserId, device_id: DeviceId, display_name: str | None) -> bool:
    return (await tx.execute(_RENAME, user_id, device_id, display_name)) == "UPDATE 1"


async def delete(tx: Tx, user_id: UserId, device_ids: Collection[DeviceId]) -> None:
    await tx.execute(_DELETE, user_id, list(device_ids))


async def seen(tx: Tx, sightings: Sequence[Sighting]) -> None:
    """Records when and from where devices were last used."""
    await tx.execute(
        _SEEN,
        [s.user_id for s in sightings],
        [s.device_id for s in sightings],
        [s.ts for s in sightings],
        [s.address for s in sightings],
        [s.user_agent for s in sightings],
    )


def _device(row: Row) -> DeviceRow:
    return DeviceRow(
        UserId(row["user_id"]),
        DeviceId(row["device_id"]),
        row["display_name"],
        row["last_seen_ts"],
        row["last_seen_ip"],
    )
