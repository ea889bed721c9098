"""The table `operator_roles`: who runs this server. Owners are the accounts with `is_admin`."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.core.operators import Role
from homeserver.storage.database import Reader, Tx

_ALL = """
    SELECT u.user_id, CASE WHEN u.is_admin THEN 'owner' ELSE r.role END AS role
    FROM users u LEFT JOIN operator_roles r ON r.user_id = u.user_id AND r.role <> 'owner'
    WHERE (u.is_admin OR r.role IS NOT NULL) AND NOT u.is_deactivated
    ORDER BY u.user_id
"""
_OF = """
    SELECT CASE WHEN u.is_admin THEN 'owner' ELSE r.role END
    FROM users u LEFT JOIN operator_roles r ON r.user_id = u.user_id AND r.role <> 'owner'
    WHERE u.user_id = $1 AND NOT u.is_deactivated
"""
_LOCK = "LOCK TABLE operator_roles IN SHARE ROW EXCLUSIVE MODE"
_OTHER_OWNERS = """
    SELECT EXISTS (
        SELECT FROM users WHERE is_admin AND NOT is_deactivated AND NOT is_locked AND user_id <> $1
    )
"""
_SET = """
    INSERT INTO operator_roles (user_id, role, given_by, given_ts) VALUES ($1, $2, $3, $4)
    ON CONFLICT (user_id) DO UPDATE SET role = excluded.role, given_by = excluded.given_by, given_ts = excluded.given_ts
"""
_DELETE = "DELETE FROM operator_roles WHERE user_id = $1"
_SET_ADMIN = "UPDATE users SET is_admin = $2 WHERE user_id = $1"


async def all_of_them(db: Reader) -> list[tuple[UserId, Role]]:
    """Every operator with their role, in the order of their ids."""
    return [(UserId(row["user_id"]), Role(row["role"])) for row in await db.fetch(_ALL)]


async def of(db: Reader, user_id: UserId) -> Role | None:
    """The role of an account in use."""
    found = await db.fetchval(_OF, user_id)
    return Role(found) if found is not None else None


async def lock(tx: Tx) -> None:
    """Until the transaction ends, nobody else changes roles: what was read of them stays true."""
    await tx.execute(_LOCK)


async def has_other_owner(db: Reader, user_id: UserId) -> bool:
    """Whether somebody beside this user is an owner, and can act as one."""
    return bool(await db.fetchval(_OTHER_OWNERS, user_id))


async def set_role(tx: Tx, user_id: UserId, role: Role, given_by: UserId, now_ms: int) -> None:
    await tx.execute(_SET, user_id, role.value, given_by, now_ms)


async def delete(tx: Tx, user_id: UserId) -> None:
    await tx.execute(_DELETE, user_id)


async def set_admin_flag(tx: Tx, user_id: UserId, is_admin: bool) -> None:
    """The account's own flag, which tools know."""
    await tx.execute(_SET_ADMIN, user_id, is_admin)
