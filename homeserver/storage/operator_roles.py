"""The table `operator_roles`: who runs this server. Owners are the accounts with `is_admin`."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.core.operators import UNBOUND, Bounds, Permission, Role
from homeserver.storage.database import Reader, Row, Tx

_ALL = """
    SELECT u.user_id, CASE WHEN u.is_admin THEN 'owner' ELSE r.role END AS role, r.rooms, r.actions
    FROM users u LEFT JOIN operator_roles r ON r.user_id = u.user_id AND r.role <> 'owner'
    WHERE (u.is_admin OR r.role IS NOT NULL) AND NOT u.is_deactivated
    ORDER BY u.user_id
"""
_OF = """
    SELECT CASE WHEN u.is_admin THEN 'owner' ELSE r.role END AS role, r.rooms, r.actions
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
    INSERT INTO operator_roles (user_id, role, given_by, given_ts, rooms, actions) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (user_id) DO UPDATE SET role = excluded.role, given_by = excluded.given_by,
        given_ts = excluded.given_ts, rooms = excluded.rooms, actions = excluded.actions
"""
_DELETE = "DELETE FROM operator_roles WHERE user_id = $1"
_NOTE_BESIDE = "INSERT INTO roles_changed_beside (user_id) VALUES ($1) ON CONFLICT DO NOTHING"
_BESIDE = "SELECT user_id FROM roles_changed_beside ORDER BY user_id LIMIT 100"
_FORGET_BESIDE = "DELETE FROM roles_changed_beside WHERE user_id = $1"
_SET_ADMIN = "UPDATE users SET is_admin = $2 WHERE user_id = $1"


async def all_of_them(db: Reader) -> list[tuple[UserId, Role, Bounds]]:
    """Every operator with their role and what it is bound to, in the order of their ids."""
    return [(UserId(row["user_id"]), Role(row["role"]), bounds_of(row)) for row in await db.fetch(_ALL)]


async def of(db: Reader, user_id: UserId) -> Role | None:
    """The role of an account in use."""
    found = await with_bounds(db, user_id)
    return found[0] if found is not None else None


async def with_bounds(db: Reader, user_id: UserId) -> tuple[Role, Bounds] | None:
    """The role of an account in use, and what it is bound to."""
    row = await db.fetchrow(_OF, user_id)
    return (Role(row["role"]), bounds_of(row)) if row is not None and row["role"] is not None else None


def bounds_of(row: Row) -> Bounds:
    """From a row with `role`, `rooms` and `actions`; an action that there isn't any more is none.

    Of an administrator's account (`is_admin`) the role counts for nothing.
    """
    is_other = row["role"] != Role.MODERATOR or row.get("is_admin")
    if is_other or (row["rooms"] is None and row["actions"] is None):
        return UNBOUND
    rooms, actions = row["rooms"], row["actions"]
    return Bounds(
        rooms=frozenset(rooms) if rooms is not None else None,
        actions=frozenset(one for one in Permission if one.value in actions) if actions is not None else None,
    )


async def lock(tx: Tx) -> None:
    """Until the transaction ends, nobody else changes roles: what was read of them stays true."""
    await tx.execute(_LOCK)


async def has_other_owner(db: Reader, user_id: UserId) -> bool:
    """Whether somebody beside this user is an owner, and can act as one."""
    return bool(await db.fetchval(_OTHER_OWNERS, user_id))


async def set_role(
    tx: Tx, user_id: UserId, role: Role, given_by: UserId, now_ms: int, bounds: Bounds = UNBOUND
) -> None:
    rooms = sorted(bounds.rooms) if bounds.rooms is not None else None
    actions = sorted(bounds.actions) if bounds.actions is not None else None
    await tx.execute(_SET, user_id, role.value, given_by, now_ms, rooms, actions)


async def note_beside(tx: Tx, user_id: UserId) -> None:
    """For a server that runs beside whoever changes the role: it forgets what it remembers of the account."""
    await tx.execute(_NOTE_BESIDE, user_id)


async def changed_beside(db: Reader) -> list[UserId]:
    """Whose roles were changed so, some of them."""
    return [UserId(row["user_id"]) for row in await db.fetch(_BESIDE)]


async def forget_beside(tx: Tx, user_id: UserId) -> None:
    """It was heard of."""
    await tx.execute(_FORGET_BESIDE, user_id)


async def delete(tx: Tx, user_id: UserId) -> None:
    await tx.execute(_DELETE, user_id)


async def set_admin_flag(tx: Tx, user_id: UserId, is_admin: bool) -> None:
    """The account's own flag, which tools know."""
    await tx.execute(_SET_ADMIN, user_id, is_admin)
