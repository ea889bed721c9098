"""The tables `console_sessions` and `console_factors`: who is in the console, and by which second factor."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.core.operators import Bounds, Role
from homeserver.storage.database import Reader, Tx
from homeserver.storage.operator_roles import bounds_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session that may be used. `is_full` is False until the second factor was given."""

    user_id: UserId
    role: Role | None
    is_full: bool
    seen_ts: int
    bounds: Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorRow:
    """A second factor; before its first right code it isn't confirmed."""

    secret: str
    is_confirmed: bool
    used_step: int


_INSERT = """
    INSERT INTO console_sessions (digest, user_id, opened_ts, seen_ts, address, is_full, password_mark)
    SELECT $1, user_id, $3, $3, $4, $5, sha256(convert_to(coalesce(password_hash, ''), 'UTF8'))
    FROM users WHERE user_id = $2
"""
_TRIM = """
    DELETE FROM console_sessions WHERE user_id = $1 AND (
        opened_ts <= $2 OR digest IN (
            SELECT digest FROM console_sessions WHERE user_id = $1 ORDER BY seen_ts DESC OFFSET $3
        )
    )
"""
_FIND = """
    SELECT s.user_id, s.is_full, s.seen_ts, CASE WHEN u.is_admin THEN 'owner' ELSE r.role END AS role, r.rooms,
        r.actions
    FROM console_sessions s JOIN users u USING (user_id) LEFT JOIN operator_roles r USING (user_id)
    WHERE s.digest = $1 AND s.opened_ts > $2 AND s.seen_ts > $3
        AND NOT u.is_deactivated AND NOT u.is_locked AND NOT u.is_suspended
        AND s.password_mark = sha256(convert_to(coalesce(u.password_hash, ''), 'UTF8'))
"""
_SEEN = "UPDATE console_sessions SET seen_ts = $2 WHERE digest = $1"
_DELETE = "DELETE FROM console_sessions WHERE digest = $1"
_FACTOR = "SELECT secret, is_confirmed, used_step FROM console_factors WHERE user_id = $1"
_PROPOSE = """
    INSERT INTO console_factors (user_id, secret, is_confirmed, used_step) VALUES ($1, $2, false, 0)
    ON CONFLICT (user_id) DO NOTHING
"""
_TAKE = """
    UPDATE console_factors SET is_confirmed = true, used_step = $3
    WHERE user_id = $1 AND secret = $2 AND used_step < $3
"""
_FORGET = "DELETE FROM console_factors WHERE user_id = $1"
_DELETE_ALL = "DELETE FROM console_sessions WHERE user_id = $1"


async def insert(tx: Tx, digest: bytes, user_id: UserId, now_ms: int, address: str, *, is_full: bool) -> None:
    await tx.execute(_INSERT, digest, user_id, now_ms, address, is_full)


async def trim(tx: Tx, user_id: UserId, opened_after_ms: int, keep: int) -> None:
    """Deletes what has expired of a user's, and all but the `keep` that were used last."""
    await tx.execute(_TRIM, user_id, opened_after_ms, keep)


async def find(db: Reader, digest: bytes, *, opened_after_ms: int, seen_after_ms: int) -> SessionRow | None:
    """The session, while it, the account and the password with which it was opened may be used."""
    row = await db.fetchrow(_FIND, digest, opened_after_ms, seen_after_ms)
    if row is None:
        return None
    role = Role(row["role"]) if row["role"] is not None else None
    return SessionRow(
        user_id=UserId(row["user_id"]),
        role=role,
        is_full=row["is_full"],
        seen_ts=row["seen_ts"],
        bounds=bounds_of(row),
    )


async def seen(tx: Tx, digest: bytes, now_ms: int) -> None:
    await tx.execute(_SEEN, digest, now_ms)


async def delete(tx: Tx, digest: bytes) -> None:
    await tx.execute(_DELETE, digest)


async def factor(db: Reader, user_id: UserId) -> FactorRow | None:
    row = await db.fetchrow(_FACTOR, user_id)
    if row is None:
        return None
    return FactorRow(secret=row["secret"], is_confirmed=row["is_confirmed"], used_step=row["used_step"])


async def propose_factor(tx: Tx, user_id: UserId, secret: str) -> None:
    """Keeps a secret for somebody who has none."""
    await tx.execute(_PROPOSE, user_id, secret)


async def take_code(tx: Tx, user_id: UserId, secret: str, step: int) -> bool:
    """Whether a right code of this time step counts; it then never does again."""
    return (await tx.execute(_TAKE, user_id, secret, step)) == "UPDATE 1"


async def forget_factor(tx: Tx, user_id: UserId) -> bool:
    """Whether there was one. The user's sessions end, and the next log-in makes a new one."""
    await tx.execute(_DELETE_ALL, user_id)
    return (await tx.execute(_FORGET, user_id)) == "DELETE 1"
