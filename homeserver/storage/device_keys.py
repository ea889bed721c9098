"""The tables of what devices publish: `device_keys`, `one_time_keys`, `fallback_keys`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import DeviceId, UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class DeviceKeysRow:
    user_id: UserId
    device_id: DeviceId
    keys: bytes
    display_name: str | None


@dataclass(frozen=True, slots=True)
class ClaimedKey:
    user_id: UserId
    device_id: DeviceId
    algorithm: str
    key_id: str
    key: bytes


_UPSERT = """
    INSERT INTO device_keys (user_id, device_id, keys) VALUES ($1, $2, $3)
    ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys WHERE device_keys.keys <> excluded.keys
"""
_OF_USERS = """
    SELECT k.user_id, k.device_id, k.keys, d.display_name FROM device_keys k
    LEFT JOIN devices d USING (user_id, device_id) WHERE k.user_id = ANY($1::text[])
"""
_ONE = "SELECT keys FROM device_keys WHERE user_id = $1 AND device_id = $2"
_DELETE = "DELETE FROM device_keys WHERE user_id = $1 AND device_id = ANY($2::text[])"
_DELETE_ONE_TIME = "DELETE FROM one_time_keys WHERE user_id = $1 AND device_id = ANY($2::text[])"
_DELETE_FALLBACK = "DELETE FROM fallback_keys WHERE user_id = $1 AND device_id = ANY($2::text[])"
_KNOWN_ONE_TIME = """
    SELECT algorithm, key_id, key FROM one_time_keys WHERE user_id = $1 AND device_id = $2 AND key_id = ANY($3::text[])
"""
_INSERT_ONE_TIME = """
    INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, key, position)
    SELECT $1, $2, new.algorithm, new.key_id, new.key, $6
    FROM unnest($3::text[], $4::text[], $5::bytea[]) AS new(algorithm, key_id, key)
    ON CONFLICT DO NOTHING
"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('one_time_keys ' || $1 || ' ' || $2, 0))"
_COUNTS = "SELECT algorithm, count(*) AS count FROM one_time_keys WHERE user_id = $1 AND device_id = $2 GROUP BY 1"
_UNUSED = "SELECT algorithm FROM fallback_keys WHERE user_id = $1 AND device_id = $2 AND NOT is_used ORDER BY 1"
_UPSERT_FALLBACK = """
    INSERT INTO fallback_keys (user_id, device_id, algorithm, key_id, key)
    SELECT $1, $2, new.algorithm, new.key_id, new.key
    FROM unnest($3::text[], $4::text[], $5::bytea[]) AS new(algorithm, key_id, key)
    ON CONFLICT (user_id, device_id, algorithm) DO UPDATE SET
        key_id = excluded.key_id, key = excluded.key,
        is_used = fallback_keys.is_used AND fallback_keys.key_id = excluded.key_id
"""
# Each key goes to one asker: a row that another transaction is taking is passed over.
_CLAIM = """
    WITH wanted AS (
        SELECT DISTINCT * FROM unnest($1::text[], $2::text[], $3::text[]) AS w(user_id, device_id, algorithm)
    ), chosen AS (
        SELECT k.user_id, k.device_id, k.algorithm, k.key_id FROM wanted w CROSS JOIN LATERAL (
            SELECT * FROM one_time_keys o
            WHERE o.user_id = w.user_id AND o.device_id = w.device_id AND o.algorithm = w.algorithm
            ORDER BY o.position, o.key_id LIMIT 1 FOR UPDATE SKIP LOCKED
        ) k
    )
    DELETE FROM one_time_keys o USING chosen c
    WHERE o.user_id = c.user_id AND o.device_id = c.device_id AND o.algorithm = c.algorithm AND o.key_id = c.key_id
    RETURNING o.user_id, o.device_id, o.algorithm, o.key_id, o.key
"""
_USE_FALLBACK = """
    UPDATE fallback_keys f SET is_used = true
    FROM unnest($1::text[], $2::text[], $3::text[]) AS w(user_id, device_id, algorithm)
    WHERE f.user_id = w.user_id AND f.device_id = w.device_id AND f.algorithm = w.algorithm
    RETURNING f.user_id, f.device_id, f.algorithm, f.key_id, f.key
"""

Wanted = tuple[UserId, DeviceId, str]


async def upsert(tx: Tx, user_id: UserId, device_id: DeviceId, keys: bytes) -> bool:
    """Whether that changed anything."""
    return (await tx.execute(_UPSERT, user_id, device_id, keys)) == "INSERT 0 1"


async def of_users(db: Reader, user_ids: Collection[UserId]) -> list[DeviceKeysRow]:
    """The keys of all devices of these users, with the devices' names."""
    return [
        DeviceKeysRow(UserId(row["user_id"]), DeviceId(row["device_id"]), row["keys"], row["display_name"])
        for row in await db.fetch(_OF_USERS, list(user_ids))
    ]


async def one(db: Reader, user_id: UserId, device_id: DeviceId) -> bytes | None:
    keys: bytes | None = await db.fetchval(_ONE, user_id, device_id)
    return keys


async def delete(tx: Tx, user_id: UserId, device_ids: Collection[DeviceId]) -> None:
    """Deletes all that these devices have published."""
    for sql in (_DELETE, _DELETE_ONE_TIME, _DELETE_FALLBACK):
        await tx.execute(sql, user_id, list(device_ids))


async def lock(tx: Tx, user_id: UserId, device_id: DeviceId) -> None:
    """Makes other uploads of one-time keys of this device wait until the transaction ends."""
    await tx.execute(_LOCK, user_id, device_id)


async def known_one_time(
    db: Reader, user_id: UserId, device_id: DeviceId, key_ids: Collection[str]
) -> dict[tuple[str, str], bytes]:
    """Those of these one-time keys that are there: (algorithm, key id) → key."""
    rows = await db.fetch(_KNOWN_ONE_TIME, user_id, device_id, list(key_ids))
    return {(row["algorithm"], row["key_id"]): row["key"] for row in rows}


async def insert_one_time(
    tx: Tx, user_id: UserId, device_id: DeviceId, keys: Mapping[tuple[str, str], bytes], position: int
) -> None:
    names = list(keys)
    await tx.execute(
        _INSERT_ONE_TIME,
        user_id,
        device_id,
        [n[0] for n in names],
        [n[1] for n in names],
        list(keys.values()),
        position,
    )


async def counts(db: Reader, user_id: UserId, device_id: DeviceId) -> dict[str, int]:
    return {row["algorithm"]: row["count"] for row in await db.fetch(_COUNTS, user_id, device_id)}


async def unused_fallback(db: Reader, user_id: UserId, device_id: DeviceId) -> list[str]:
    """The algorithms for which the fallback key has not been handed out."""
    return [row["algorithm"] for row in await db.fetch(_UNUSED, user_id, device_id)]


async def upsert_fallback(tx: Tx, user_id: UserId, device_id: DeviceId, keys: Mapping[tuple[str, str], bytes]) -> None:
    names = list(keys)
    await tx.execute(
        _UPSERT_FALLBACK, user_id, device_id, [n[0] for n in names], [n[1] for n in names], list(keys.values())
    )


async def claim(tx: Tx, wanted: Sequence[Wanted]) -> list[ClaimedKey]:
    """Takes one one-time key for each that has one."""
    return await _claimed(tx, _CLAIM, wanted)


async def use_fallback(tx: Tx, wanted: Sequence[Wanted]) -> list[ClaimedKey]:
    """The fallback keys of those that have one, marked as used."""
    return await _claimed(tx, _USE_FALLBACK, wanted)


async def _claimed(tx: Tx, sql: str, wanted: Sequence[Wanted]) -> list[ClaimedKey]:
    rows = await tx.fetch(sql, [w[0] for w in wanted], [w[1] for w in wanted], [w[2] for w in wanted])
    return [
        ClaimedKey(UserId(row["user_id"]), DeviceId(row["device_id"]), row["algorithm"], row["key_id"], row["key"])
        for row in rows
    ]
