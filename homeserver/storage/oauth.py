"""The tables `oauth_clients`, `oauth_sessions`, `oauth_codes` and `oauth_device_codes`."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.identifiers import DeviceId, UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What somebody allowed a client, until it takes it up."""

    client_id: str
    redirect_uri: str
    user_id: UserId
    device_id: DeviceId
    challenge: str
    expires_ts: int
    # The sign-in elsewhere that they came by.
    upstream_nid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """What a device without a browser waits for."""

    digest: bytes
    user_code: str
    client_id: str
    device_id: DeviceId
    expires_ts: int
    polled_ts: int = 0
    user_id: UserId | None = None
    is_denied: bool = False
    # The sign-in elsewhere that whoever allowed it came by.
    upstream_nid: int | None = None


_INSERT_CLIENT = """
    INSERT INTO oauth_clients (client_id, digest, metadata, created_ts) VALUES ($1, $2, $3, $4)
    ON CONFLICT (digest) DO UPDATE SET created_ts = excluded.created_ts RETURNING client_id
"""
_CLIENT = "SELECT metadata FROM oauth_clients WHERE client_id = $1"
_CLIENT_COUNT = "SELECT count(*) FROM oauth_clients"
_TRIM_CLIENTS = """
    DELETE FROM oauth_clients WHERE client_id IN (
        SELECT c.client_id FROM oauth_clients c
        WHERE c.created_ts < $1 AND NOT EXISTS (SELECT FROM oauth_sessions s WHERE s.client_id = c.client_id)
    )
"""
_SET_SESSION = """
    INSERT INTO oauth_sessions (user_id, device_id, client_id) VALUES ($1, $2, $3)
    ON CONFLICT (user_id, device_id) DO UPDATE SET client_id = excluded.client_id
"""
_SESSION = "SELECT client_id FROM oauth_sessions WHERE user_id = $1 AND device_id = $2"
_DELETE_SESSIONS = "DELETE FROM oauth_sessions WHERE user_id = $1 AND device_id = ANY($2::text[])"
# Nothing where the sign-in elsewhere, by which somebody comes, has ended meanwhile.
_INSERT_CODE = """
    INSERT INTO oauth_codes (digest, client_id, redirect_uri, user_id, device_id, challenge, expires_ts, upstream_nid)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8::bigint
    WHERE $8::bigint IS NULL OR EXISTS (SELECT FROM upstream_sessions WHERE upstream_nid = $8 FOR KEY SHARE)
"""
_TRIM_CODES = "DELETE FROM oauth_codes WHERE expires_ts < $1"
_USE_CODE = """
    UPDATE oauth_codes SET is_used = true WHERE digest = $1 AND NOT is_used
    RETURNING client_id, redirect_uri, user_id, device_id, challenge, expires_ts, upstream_nid
"""
_DELETE_CODE = "DELETE FROM oauth_codes WHERE digest = $1"
_USED_CODE = "SELECT user_id, device_id FROM oauth_codes WHERE digest = $1 AND is_used"
_DEVICE_COLUMNS = "digest, user_code, client_id, device_id, expires_ts, polled_ts, user_id, is_denied, upstream_nid"
_INSERT_DEVICE = """
    INSERT INTO oauth_device_codes (digest, user_code, client_id, device_id, expires_ts) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING
"""
_TRIM_DEVICES = "DELETE FROM oauth_device_codes WHERE expires_ts < $1"
_BY_USER_CODE = f"SELECT {_DEVICE_COLUMNS} FROM oauth_device_codes WHERE user_code = $1 AND expires_ts > $2"
_POLL = """
    UPDATE oauth_device_codes d SET polled_ts = $2 FROM oauth_device_codes before
    WHERE d.digest = $1 AND before.digest = d.digest
    RETURNING before.digest, before.user_code, before.client_id, before.device_id, before.expires_ts,
        before.polled_ts, before.user_id, before.is_denied, before.upstream_nid
"""
_DECIDE = """
    UPDATE oauth_device_codes SET user_id = $2, is_denied = $3, upstream_nid = $5::bigint
    WHERE user_code = $1 AND user_id IS NULL AND NOT is_denied AND expires_ts > $4
    AND ($5::bigint IS NULL OR EXISTS (SELECT FROM upstream_sessions WHERE upstream_nid = $5 FOR KEY SHARE))
"""
_TAKE_DEVICE = "DELETE FROM oauth_device_codes WHERE digest = $1"


async def insert_client(tx: Tx, client_id: str, digest: bytes, metadata: bytes, now_ms: int) -> str:
    """The id of the client with these metadata: this one, or the one that had them already."""
    known: str = await tx.fetchval(_INSERT_CLIENT, client_id, digest, metadata, now_ms)
    return known


async def client(db: Reader, client_id: str) -> bytes | None:
    metadata: bytes | None = await db.fetchval(_CLIENT, client_id)
    return metadata


async def client_count(db: Reader) -> int:
    return int(await db.fetchval(_CLIENT_COUNT))


async def trim_clients(tx: Tx, created_before: int) -> None:
    """Deletes old clients that nobody is signed in with."""
    await tx.execute(_TRIM_CLIENTS, created_before)


async def set_session(tx: Tx, user_id: UserId, device_id: DeviceId, client_id: str) -> None:
    await tx.execute(_SET_SESSION, user_id, device_id, client_id)


async def session(db: Reader, user_id: UserId, device_id: DeviceId) -> str | None:
    """The client that a device's session was given to, if it was by OAuth."""
    client_id: str | None = await db.fetchval(_SESSION, user_id, device_id)
    return client_id


async def delete_sessions(tx: Tx, user_id: UserId, device_ids: list[DeviceId]) -> None:
    await tx.execute(_DELETE_SESSIONS, user_id, device_ids)


async def insert_code(tx: Tx, digest: bytes, code: Code, now_ms: int) -> None:
    """Keeps used ones for an hour: whoever shows one again is found out."""
    await tx.execute(_TRIM_CODES, now_ms - 3_600_000)
    await tx.execute(
        _INSERT_CODE,
        digest,
        code.client_id,
        code.redirect_uri,
        code.user_id,
        code.device_id,
        code.challenge,
        code.expires_ts,
        code.upstream_nid,
    )


async def use_code(tx: Tx, digest: bytes) -> Code | None:
    """Uses a code up with what is made of it in this transaction: whoever else shows it waits for its end."""
    row = await tx.fetchrow(_USE_CODE, digest)
    return Code(**row) if row else None


async def delete_code(tx: Tx, digest: bytes) -> None:
    """Nothing was made of it, and nothing will be."""
    await tx.execute(_DELETE_CODE, digest)


async def used_code(db: Reader, digest: bytes) -> tuple[UserId, DeviceId] | None:
    """Whose session a code that was used has made."""
    row = await db.fetchrow(_USED_CODE, digest)
    return (row["user_id"], row["device_id"]) if row else None


async def insert_device_code(tx: Tx, code: DeviceCode, now_ms: int) -> bool:
    """False if the user code is taken."""
    await tx.execute(_TRIM_DEVICES, now_ms - 60_000)
    done = await tx.execute(
        _INSERT_DEVICE, code.digest, code.user_code, code.client_id, code.device_id, code.expires_ts
    )
    return done != "INSERT 0 0"


async def by_user_code(db: Reader, user_code: str, now_ms: int) -> DeviceCode | None:
    row = await db.fetchrow(_BY_USER_CODE, user_code, now_ms)
    return _device_code(row) if row else None


async def poll(tx: Tx, digest: bytes, now_ms: int) -> DeviceCode | None:
    """The code as it was before this poll, which is noted."""
    row = await tx.fetchrow(_POLL, digest, now_ms)
    return _device_code(row) if row else None


async def decide(
    tx: Tx, user_code: str, user_id: UserId, *, is_denied: bool, upstream: int | None, now_ms: int
) -> bool:
    """False if somebody has decided, or it is too late."""
    return (await tx.execute(_DECIDE, user_code, user_id, is_denied, now_ms, upstream)) == "UPDATE 1"


async def take_device_code(tx: Tx, digest: bytes) -> bool:
    """False if it was taken meanwhile."""
    return (await tx.execute(_TAKE_DEVICE, digest)) == "DELETE 1"


def _device_code(row: Row) -> DeviceCode:
    return DeviceCode(**row)
