"""The tables `access_tokens`, `refresh_tokens` and `spent_refresh_tokens`. Only digests are kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from homeserver.core.identifiers import DeviceId, UserId
from homeserver.core.operators import UNBOUND, Bounds, Permission, Role
from homeserver.storage.database import Reader, Row, Tx
from homeserver.storage.operator_roles import bounds_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds an access token, with what authentication must know of the account."""

    token_nid: int
    user_id: UserId
    device_id: DeviceId | None
    expires_ts: int | None
    refresh_nid: int | None
    is_admin: bool
    is_guest: bool
    is_deactivated: bool
    is_locked: bool
    is_suspended: bool
    operator_role: Role | None = None
    scopes: frozenset[Permission] | None = None
    bounds: Bounds = UNBOUND


@dataclass(frozen=True, slots=True)
class RefreshRow:
    token_nid: int
    user_id: UserId
    device_id: DeviceId
    expires_ts: int | None
    used_ts: int | None


_INSERT_ACCESS = """
    INSERT INTO access_tokens (digest, user_id, device_id, expires_ts, refresh_nid) VALUES ($1, $2, $3, $4, $5)
"""
_HOLDER = """
    SELECT t.token_nid, t.user_id, t.device_id, t.expires_ts, t.refresh_nid,
           u.is_admin, u.is_guest, u.is_deactivated, u.is_locked, u.is_suspended, r.role, r.rooms,
           r.actions
    FROM access_tokens t JOIN users u USING (user_id)
    LEFT JOIN operator_roles r ON r.user_id = u.user_id AND r.role <> 'owner' WHERE t.digest = $1
"""
_DELETE_OF_DEVICES = "DELETE FROM access_tokens WHERE user_id = $1 AND device_id = ANY($2::text[])"
_DELETE_REFRESH_OF_DEVICES = "DELETE FROM refresh_tokens WHERE user_id = $1 AND device_id = ANY($2::text[])"
_DELETE_ACCESS = "DELETE FROM access_tokens WHERE token_nid = $1"
_DELETE_ALL = "DELETE FROM access_tokens WHERE user_id = $1"
_DELETE_ALL_REFRESH = "DELETE FROM refresh_tokens WHERE user_id = $1"
_INSERT_REFRESH = """
    INSERT INTO refresh_tokens (digest, user_id, device_id, expires_ts) VALUES ($1, $2, $3, $4) RETURNING token_nid
"""
_REFRESH = """
    SELECT token_nid, user_id, device_id, expires_ts, used_ts FROM refresh_tokens WHERE digest = $1 FOR UPDATE
"""
_REFRESH_OWNER = "SELECT user_id, device_id FROM refresh_tokens WHERE digest = $1"
_USED = "UPDATE refresh_tokens SET used_ts = $2 WHERE token_nid = $1"
_DELETE_OLD_ACCESS = "DELETE FROM access_tokens WHERE user_id = $1 AND device_id = $2 AND refresh_nid < $3"
_DELETE_OLD_REFRESH = "DELETE FROM refresh_tokens WHERE user_id = $1 AND device_id = $2 AND token_nid < $3"
_SPEND_OLD_REFRESH = """
    INSERT INTO spent_refresh_tokens (digest, user_id, device_id)
    SELECT digest, user_id, device_id FROM refresh_tokens
    WHERE user_id = $1 AND device_id = $2 AND token_nid < $3 ORDER BY token_nid
    ON CONFLICT DO NOTHING
"""
_TRIM_SPENT = """
    DELETE FROM spent_refresh_tokens WHERE user_id = $1 AND device_id = $2 AND spent_nid IN (
        SELECT spent_nid FROM spent_refresh_tokens WHERE user_id = $1 AND device_id = $2
        ORDER BY spent_nid DESC OFFSET $3
    )
"""
_SPENT = "SELECT user_id, device_id FROM spent_refresh_tokens WHERE digest = $1"
_DELETE_SPENT_OF_DEVICES = "DELETE FROM spent_refresh_tokens WHERE user_id = $1 AND device_id = ANY($2::text[])"
_DELETE_ALL_SPENT = "DELETE FROM spent_refresh_tokens WHERE user_id = $1"
# So many of a device's are remembered.
SPENT_KEPT = 50


async def insert_access(
    tx: Tx,
    digest: bytes,
    user_id: UserId,
    device_id: DeviceId | None,
    *,
    expires_ts: int | None,
    refresh_nid: int | None,
) -> None:
    await tx.execute(_INSERT_ACCESS, digest, user_id, device_id, expires_ts, refresh_nid)


async def holder(db: Reader, digest: bytes) -> Holder | None:
    """Whose access token this is the digest of. Three index look-ups."""
    row = await db.fetchrow(_HOLDER, digest)
    if row is None:
        return None
    return Holder(**with_role(row))


def with_role(row: Row) -> dict[str, Any]:
    """A row with `role`, `rooms` and `actions` of the account, as a `Holder` is made of it."""
    known = {**row, "bounds": bounds_of(row), "operator_role": Role(row["role"]) if row["role"] is not None else None}
    return {name: value for name, value in known.items() if name not in ("role", "rooms", "actions")}


async def delete_access(tx: Tx, token_nid: int) -> None:
    await tx.execute(_DELETE_ACCESS, token_nid)


async def delete_of_devices(tx: Tx, user_id: UserId, device_ids: Collection[DeviceId]) -> None:
    """Ends the sessions of these devices."""
    await tx.execute(_DELETE_OF_DEVICES, user_id, list(device_ids))
    await tx.execute(_DELETE_REFRESH_OF_DEVICES, user_id, list(device_ids))
    await tx.execute(_DELETE_SPENT_OF_DEVICES, user_id, list(device_ids))


async def delete_all(tx: Tx, user_id: UserId) -> None:
    await tx.execute(_DELETE_ALL, user_id)
    await tx.execute(_DELETE_ALL_REFRESH, user_id)
    await tx.execute(_DELETE_ALL_SPENT, user_id)


async def insert_refresh(tx: Tx, digest: bytes, user_id: UserId, device_id: DeviceId, expires_ts: int | None) -> int:
    nid: int = await tx.fetchval(_INSERT_REFRESH, digest, user_id, device_id, expires_ts)
    return nid


async def refresh(tx: Tx, digest: bytes) -> RefreshRow | None:
    """The refresh token of this digest, locked until the transaction ends."""
    row = await tx.fetchrow(_REFRESH, digest)
    if row is None:
        return None
    return RefreshRow(
        row["token_nid"], UserId(row["user_id"]), DeviceId(row["device_id"]), row["expires_ts"], row["used_ts"]
    )


async def refresh_owner(db: Reader, digest: bytes) -> tuple[UserId, DeviceId] | None:
    """Whose refresh token this is the digest of."""
    row = await db.fetchrow(_REFRESH_OWNER, digest)
    return (UserId(row["user_id"]), DeviceId(row["device_id"])) if row else None


async def mark_used(tx: Tx, token_nid: int, now_ms: int) -> None:
    await tx.execute(_USED, token_nid, now_ms)


async def delete_older(tx: Tx, user_id: UserId, device_id: DeviceId, refresh_nid: int) -> bool:
    """Ends what was given out before this refresh token and the access token that came with it; `spent` knows it.

    Whether an access token ended.
    """
    ended = await tx.execute(_DELETE_OLD_ACCESS, user_id, device_id, refresh_nid)
    await tx.execute(_SPEND_OLD_REFRESH, user_id, device_id, refresh_nid)
    await tx.execute(_TRIM_SPENT, user_id, device_id, SPENT_KEPT)
    await tx.execute(_DELETE_OLD_REFRESH, user_id, device_id, refresh_nid)
    return ended != "DELETE 0"


async def spent(db: Reader, digest: bytes) -> tuple[UserId, DeviceId] | None:
    """Whose refresh token this is the digest of that was replaced, while the session goes on."""
    row = await db.fetchrow(_SPENT, digest)
    return (UserId(row["user_id"]), DeviceId(row["device_id"])) if row else None
