"""The tables `upstream_sessions` and `used_logouts`: sign-ins at other services, and orders to end them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import DeviceId, UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSession:
    """One sign-in. `details` is JSON: what the service must be told to end it there."""

    provider: str
    name_digest: bytes
    session_digest: bytes | None
    user_id: UserId
    opened_ts: int
    details: bytes | None = None


_INSERT = """
    INSERT INTO upstream_sessions (provider, name_digest, session_digest, user_id, opened_ts, details)
    VALUES ($1, $2, $3, $4, $5, $6) RETURNING upstream_nid
"""
# Those of a user that nothing hangs on any more.
_TRIM = """
    DELETE FROM upstream_sessions u WHERE u.user_id = $1 AND u.opened_ts < $2
    AND NOT EXISTS (SELECT FROM devices d WHERE d.upstream_nid = u.upstream_nid)
    AND NOT EXISTS (SELECT FROM browser_sessions b WHERE b.upstream_nid = u.upstream_nid)
"""
_IS_KNOWN = "SELECT EXISTS (SELECT FROM upstream_sessions WHERE provider = $1 AND session_digest = $2)"
_OF_DEVICE = "SELECT upstream_nid FROM devices WHERE user_id = $1 AND device_id = $2"
_DETAILS = "SELECT provider, details FROM upstream_sessions WHERE upstream_nid = $1 AND details IS NOT NULL"
# Waits for whoever opens something by one of them just now.
_BY_SESSIONS = """
    SELECT upstream_nid FROM upstream_sessions
    WHERE provider = $1 AND session_digest = ANY($2::bytea[]) AND ($3::bytea IS NULL OR name_digest = $3)
    ORDER BY upstream_nid FOR UPDATE
"""
_BY_NAME = """
    SELECT upstream_nid FROM upstream_sessions WHERE provider = $1 AND name_digest = $2
    ORDER BY upstream_nid FOR UPDATE
"""
_DEVICES = "SELECT user_id, device_id FROM devices WHERE upstream_nid = ANY($1::bigint[]) ORDER BY user_id, device_id"
_DELETE = "DELETE FROM upstream_sessions WHERE upstream_nid = ANY($1::bigint[])"
_EXPIRE = "DELETE FROM used_logouts WHERE expires_ts <= $1"
_USE = "INSERT INTO used_logouts (digest, expires_ts) VALUES ($1, $2) ON CONFLICT DO NOTHING"


async def insert(tx: Tx, session: UpstreamSession, trim_before_ts: int) -> int:
    """Its number. Deletes older ones of the same user that nothing hangs on."""
    await tx.execute(_TRIM, session.user_id, trim_before_ts)
    upstream: int = await tx.fetchval(
        _INSERT,
        session.provider,
        session.name_digest,
        session.session_digest,
        session.user_id,
        session.opened_ts,
        session.details,
    )
    return upstream


async def of_device(db: Reader, user_id: UserId, device_id: DeviceId) -> int | None:
    """The sign-in that this device came of."""
    upstream: int | None = await db.fetchval(_OF_DEVICE, user_id, device_id)
    return upstream


async def is_known(db: Reader, provider: str, session: bytes) -> bool:
    """Whether the service has such a session here."""
    return bool(await db.fetchval(_IS_KNOWN, provider, session))


async def details(db: Reader, upstream: int) -> tuple[str, bytes] | None:
    """The service of a sign-in, and what it must be told to end it there."""
    row = await db.fetchrow(_DETAILS, upstream)
    return (row["provider"], row["details"]) if row else None


async def find(tx: Tx, provider: str, name: bytes | None, sessions: Sequence[bytes]) -> list[int]:
    """Those that the service calls so; by the person's name alone where no session is named. Locks them."""
    if sessions:
        rows = await tx.fetch(_BY_SESSIONS, provider, list(sessions), name)
    else:
        rows = await tx.fetch(_BY_NAME, provider, name)
    return [row["upstream_nid"] for row in rows]


async def devices_of(db: Reader, upstreams: Sequence[int]) -> dict[UserId, list[DeviceId]]:
    """The devices that came of these sign-ins."""
    found: dict[UserId, list[DeviceId]] = {}
    for row in await db.fetch(_DEVICES, list(upstreams)):
        found.setdefault(row["user_id"], []).append(row["device_id"])
    return found


async def delete(tx: Tx, upstreams: Sequence[int]) -> None:
    """With browser sessions and all that is on its way to an app; devices stay."""
    await tx.execute(_DELETE, list(upstreams))


async def use_logout(tx: Tx, digest: bytes, expires_ts: int, now_ms: int) -> bool:
    """Whether this order comes for the first time."""
    await tx.execute(_EXPIRE, now_ms)
    return (await tx.execute(_USE, digest, expires_ts)) == "INSERT 0 1"
