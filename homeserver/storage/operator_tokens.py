"""The table `operator_tokens`: what operators' programs show. Only digests are kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from homeserver.core.identifiers import UserId
from homeserver.core.operators import Permission, Role
from homeserver.storage.database import Reader, Row, Tx
from homeserver.storage.operator_roles import bounds_of
from homeserver.storage.tokens import Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorToken:
    """What is known of one; times in milliseconds."""

    token_nid: int
    user_id: UserId
    name: str
    scopes: frozenset[Permission]
    created_ts: int
    expires_ts: int
    rooms: frozenset[str] | None = None  # None: all that its operator has


_HOLDER = """
    SELECT t.token_nid, t.user_id, t.expires_ts, t.scopes,
           u.is_admin, u.is_guest, u.is_deactivated, u.is_locked, u.is_suspended, r.role, r.rooms,
           r.actions, t.rooms AS token_rooms
    FROM operator_tokens t JOIN users u USING (user_id)
    LEFT JOIN operator_roles r ON r.user_id = u.user_id AND r.role <> 'owner' WHERE t.digest = $1
"""
_COLUMNS = "token_nid, user_id, name, scopes, created_ts, expires_ts, rooms"
_INSERT = """
    INSERT INTO operator_tokens (digest, user_id, name, scopes, created_ts, expires_ts, rooms)
    VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING token_nid
"""
_LIST = f"SELECT {_COLUMNS} FROM operator_tokens WHERE $1::text IS NULL OR user_id = $1 ORDER BY token_nid LIMIT $2"
_DELETE = f"DELETE FROM operator_tokens WHERE token_nid = $1 RETURNING {_COLUMNS}"
_EXPIRE = "DELETE FROM operator_tokens WHERE expires_ts <= $1"
_COUNT = "SELECT count(*) FROM operator_tokens WHERE user_id = $1"


async def holder(db: Reader, digest: bytes) -> Holder | None:
    """Whose token this is the digest of, and what it may. Three index look-ups."""
    row = await db.fetchrow(_HOLDER, digest)
    if row is None:
        return None
    return Holder(
        token_nid=row["token_nid"],
        user_id=UserId(row["user_id"]),
        device_id=None,
        expires_ts=row["expires_ts"],
        refresh_nid=None,
        is_admin=row["is_admin"],
        is_guest=row["is_guest"],
        is_deactivated=row["is_deactivated"],
        is_locked=row["is_locked"],
        is_suspended=row["is_suspended"],
        operator_role=Role(row["role"]) if row["role"] is not None else None,
        scopes=_scopes(row["scopes"]),
        bounds=replace(bounds_of(row), token_rooms=_rooms(row["token_rooms"])),
    )


async def insert(tx: Tx, digest: bytes, token: OperatorToken) -> int:
    """Its number; `token`'s own counts for nothing. Those that have expired go."""
    await tx.execute(_EXPIRE, token.created_ts)
    scopes = sorted(token.scopes)
    values = (token.user_id, token.name, scopes, token.created_ts, token.expires_ts)
    rooms = sorted(token.rooms) if token.rooms is not None else None
    nid: int = await tx.fetchval(_INSERT, digest, *values, rooms)
    return nid


async def count(db: Reader, user_id: UserId) -> int:
    return int(await db.fetchval(_COUNT, user_id))


async def some(db: Reader, user_id: UserId | None, limit: int) -> list[OperatorToken]:
    """Those of one user; None: everybody's."""
    return [_token(row) for row in await db.fetch(_LIST, user_id, limit)]


async def delete(tx: Tx, token_nid: int) -> OperatorToken | None:
    """The token that is gone now."""
    row = await tx.fetchrow(_DELETE, token_nid)
    return _token(row) if row else None


def _token(row: Row) -> OperatorToken:
    return OperatorToken(
        token_nid=row["token_nid"],
        user_id=UserId(row["user_id"]),
        name=row["name"],
        scopes=_scopes(row["scopes"]),
        created_ts=row["created_ts"],
        expires_ts=row["expires_ts"],
        rooms=_rooms(row["rooms"]),
    )


def _rooms(ids: Collection[str] | None) -> frozenset[str] | None:
    return frozenset(ids) if ids is not None else None


def _scopes(names: Collection[str]) -> frozenset[Permission]:
    """A permission that there isn't any more is none."""
    return frozenset(permission for permission in Permission if permission.value in names)
