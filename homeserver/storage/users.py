"""The table `users`: the accounts of this server."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """One account. `password_hash` is None where nobody logs in by password."""

    user_id: UserId
    password_hash: str | None
    created_ts: int
    user_type: str | None = None
    is_admin: bool = False
    is_guest: bool = False
    is_deactivated: bool = False
    is_locked: bool = False
    is_suspended: bool = False


_COLUMNS = "user_id, password_hash, created_ts, user_type, is_admin, is_guest, is_deactivated, is_locked, is_suspended"
_INSERT = f"""
    INSERT INTO users ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING
"""
_BY_ID = f"SELECT {_COLUMNS} FROM users WHERE user_id = $1"
_EXISTING = "SELECT user_id FROM users WHERE user_id = ANY($1::text[]) AND NOT is_deactivated"
_LIST = f"SELECT {_COLUMNS} FROM users WHERE user_id > $1 ORDER BY user_id LIMIT $2"
_SET_PASSWORD = "UPDATE users SET password_hash = $2 WHERE user_id = $1"
_DEACTIVATE = """
    UPDATE users SET is_deactivated = true, password_hash = NULL,
        erased_position = CASE WHEN $2::bigint IS NULL THEN erased_position ELSE $2 END
    WHERE user_id = $1
"""
_END_BEING_GUEST = """
    UPDATE users SET is_guest = false, password_hash = $2 WHERE user_id = $1 AND is_guest AND NOT is_deactivated
"""
_SET_SUSPENDED = "UPDATE users SET is_suspended = $2 WHERE user_id = $1"
_SET_LOCKED = "UPDATE users SET is_locked = $2 WHERE user_id = $1"
_REACTIVATE = "UPDATE users SET is_deactivated = false, erased_position = NULL WHERE user_id = $1"
_SET_TYPE = "UPDATE users SET user_type = $2 WHERE user_id = $1"
_ERASED = "SELECT user_id, erased_position FROM users WHERE erased_position IS NOT NULL"


async def insert(tx: Tx, user: UserRow) -> bool:
    """Whether the name was free."""
    return (
        await tx.execute(
            _INSERT,
            user.user_id,
            user.password_hash,
            user.created_ts,
            user.user_type,
            user.is_admin,
            user.is_guest,
            user.is_deactivated,
            user.is_locked,
            user.is_suspended,
        )
        != "INSERT 0 0"
    )


async def by_id(db: Reader, user_id: UserId) -> UserRow | None:
    row = await db.fetchrow(_BY_ID, user_id)
    return _user(row) if row else None


async def existing(db: Reader, user_ids: Collection[UserId]) -> set[UserId]:
    """Those of these that are accounts in use here."""
    return {UserId(row["user_id"]) for row in await db.fetch(_EXISTING, list(user_ids))}


async def page(db: Reader, after: str, limit: int) -> list[UserRow]:
    """Accounts in the order of their ids, those after `after`."""
    return [_user(row) for row in await db.fetch(_LIST, after, limit)]


async def set_password(tx: Tx, user_id: UserId, password_hash: str) -> bool:
    return (await tx.execute(_SET_PASSWORD, user_id, password_hash)) == "UPDATE 1"


async def deactivate(tx: Tx, user_id: UserId, erased_position: int | None) -> None:
    await tx.execute(_DEACTIVATE, user_id, erased_position)


async def end_being_guest(tx: Tx, user_id: UserId, password_hash: str) -> bool:
    return (await tx.execute(_END_BEING_GUEST, user_id, password_hash)) == "UPDATE 1"


async def set_suspended(tx: Tx, user_id: UserId, suspended: bool) -> None:
    await tx.execute(_SET_SUSPENDED, user_id, suspended)


async def set_locked(tx: Tx, user_id: UserId, locked: bool) -> None:
    await tx.execute(_SET_LOCKED, user_id, locked)


async def reactivate(tx: Tx, user_id: UserId) -> None:
    """Lets an account that was deactivated be used again; what it kept is gone."""
    await tx.execute(_REACTIVATE, user_id)


async def set_type(tx: Tx, user_id: UserId, user_type: str | None) -> None:
    await tx.execute(_SET_TYPE, user_id, user_type)


async def erased(db: Reader) -> dict[UserId, int]:
    """All erased accounts, with the position at which each was erased."""
    return {UserId(row["user_id"]): row["erased_position"] for row in await db.fetch(_ERASED)}


def _user(row: Row) -> UserRow:
    return UserRow(
        user_id=UserId(row["user_id"]),
        password_hash=row["password_hash"],
        created_ts=row["created_ts"],
        user_type=row["user_type"],
        is_admin=row["is_admin"],
        is_guest=row["is_guest"],
        is_deactivated=row["is_deactivated"],
        is_locked=row["is_locked"],
        is_suspended=row["is_suspended"],
    )
