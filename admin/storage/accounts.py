"""Accounts as operators list and find them: read-only queries over the tables of accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """One account with what its profile shows. Times in milliseconds."""

    user_id: UserId
    user_type: str | None
    is_guest: bool
    is_admin: bool
    is_deactivated: bool
    is_locked: bool
    is_suspended: bool
    is_shadow_banned: bool
    is_erased: bool
    created_ts: int
    displayname: str | None
    avatar_url: str | None
    last_seen_ts: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFilter:
    """Which accounts are listed; None asks for all. `not_types` holds '' for accounts without a type."""

    user_id: str | None = None
    name: str | None = None
    with_guests: bool = True
    is_admin: bool | None = None
    is_deactivated: bool | None = None
    with_locked: bool = False
    not_types: Sequence[str] = ()


ORDERS = frozenset(
    "name is_guest admin user_type deactivated shadow_banned displayname avatar_url creation_ts last_seen_ts locked"
    " suspended erased".split()
)

_COLUMNS = """
    u.user_id, u.user_type, u.is_guest, u.is_admin, u.is_deactivated, u.is_locked, u.is_suspended,
    u.is_shadow_banned, u.erased_position IS NOT NULL AS is_erased, u.created_ts,
    n.value AS displayname, a.value AS avatar_url,
    (SELECT max(d.last_seen_ts) FROM devices d WHERE d.user_id = u.user_id) AS last_seen_ts
"""
_FROM = """
    FROM users u
    LEFT JOIN profiles n ON n.user_id = u.user_id AND n.field = 'displayname'
    LEFT JOIN profiles a ON a.user_id = u.user_id AND a.field = 'avatar_url'
"""
_WHERE = """
    WHERE ($1::text IS NULL OR strpos(lower(u.user_id), lower($1)) > 0)
        AND ($2::text IS NULL OR strpos(lower(split_part(u.user_id, ':', 1)), lower($2)) > 0
            OR strpos(lower(convert_from(n.value, 'UTF8')), lower($2)) > 0)
        AND ($3::boolean OR NOT u.is_guest)
        AND ($4::boolean IS NULL OR u.is_admin = $4)
        AND ($5::boolean IS NULL OR u.is_deactivated = $5)
        AND ($6::boolean OR NOT u.is_locked)
        AND (cardinality($7::text[]) = 0 OR coalesce(u.user_type, '') <> ALL($7::text[]))
"""
_TEXT_KEY = """
    CASE $10 WHEN 'displayname' THEN convert_from(n.value, 'UTF8') WHEN 'avatar_url' THEN convert_from(a.value, 'UTF8')
        WHEN 'user_type' THEN u.user_type END
"""
_NUMBER_KEY = """
    CASE $10 WHEN 'is_guest' THEN u.is_guest::int WHEN 'admin' THEN u.is_admin::int
        WHEN 'deactivated' THEN u.is_deactivated::int WHEN 'shadow_banned' THEN u.is_shadow_banned::int
        WHEN 'locked' THEN u.is_locked::int WHEN 'suspended' THEN u.is_suspended::int
        WHEN 'erased' THEN (u.erased_position IS NOT NULL)::int WHEN 'creation_ts' THEN u.created_ts
        WHEN 'last_seen_ts' THEN (SELECT max(d.last_seen_ts) FROM devices d WHERE d.user_id = u.user_id) END
"""
_COUNT = f"SELECT count(*) {_FROM} {_WHERE}"
_BY_NAME = f"SELECT {_COLUMNS} {_FROM} {_WHERE} ORDER BY u.user_id LIMIT $8 OFFSET $9"
_BY_NAME_BACK = f"SELECT {_COLUMNS} {_FROM} {_WHERE} ORDER BY u.user_id DESC LIMIT $8 OFFSET $9"
_SORTED = f"""
    SELECT {_COLUMNS} {_FROM} {_WHERE}
    ORDER BY {_TEXT_KEY} ASC NULLS FIRST, {_NUMBER_KEY} ASC NULLS FIRST, u.user_id LIMIT $8 OFFSET $9
"""
_SORTED_BACK = f"""
    SELECT {_COLUMNS} {_FROM} {_WHERE}
    ORDER BY {_TEXT_KEY} DESC NULLS LAST, {_NUMBER_KEY} DESC NULLS LAST, u.user_id LIMIT $8 OFFSET $9
"""
_ONE = f"SELECT {_COLUMNS} {_FROM} WHERE u.user_id = $1"
_BY_TERM = f"""
    SELECT {_COLUMNS} {_FROM} WHERE u.is_deactivated = false AND strpos(lower(u.user_id), lower($1)) > 0
    ORDER BY u.user_id LIMIT $2
"""
_MARKS = """
    SELECT is_locked AS locked, is_suspended AS suspended, is_shadow_banned AS shadow_banned FROM users
    WHERE user_id = $1 FOR UPDATE
"""
_EXTERNAL_IDS = "SELECT provider, subject FROM external_ids WHERE user_id = $1 ORDER BY provider, subject"
_INVITES_SENT = """
    SELECT count(*) FROM memberships m
    JOIN events e ON e.room_nid = m.room_nid
    JOIN state_keys k ON k.key_nid = e.key_nid
    WHERE m.user_id = $1 AND e.sender = $1 AND k.type = 'm.room.member' AND k.state_key <> $1
        AND e.ordering IS NOT NULL AND e.flags = 0 AND e.origin_server_ts >= $2
        AND position('"membership":"invite"'::bytea IN e.json) > 0
"""
_ROOMS_JOINED = """
    SELECT count(DISTINCT e.room_nid) FROM memberships m
    JOIN state_keys k ON k.type = 'm.room.member' AND k.state_key = $1
    JOIN events e ON e.room_nid = m.room_nid AND e.key_nid = k.key_nid
    WHERE m.user_id = $1 AND e.ordering IS NOT NULL AND e.flags = 0 AND e.origin_server_ts >= $2
        AND position('"membership":"join"'::bytea IN e.json) > 0
"""
_DEVICES = """
    SELECT device_id, display_name, last_seen_ts, last_seen_ip, last_seen_user_agent FROM devices
    WHERE user_id = $1 ORDER BY device_id
"""


async def page(
    db: Reader, wanted: AccountFilter, *, order: str, backwards: bool, limit: int, offset: int
) -> tuple[list[AccountRow], int]:
    """Accounts from `offset` on, and how many there are in all. By name it is one index scan; else a sort of all."""
    values = (
        wanted.user_id,
        wanted.name,
        wanted.with_guests,
        wanted.is_admin,
        wanted.is_deactivated,
        wanted.with_locked,
        list(wanted.not_types),
    )
    total: int = await db.fetchval(_COUNT, *values)
    if order == "name":
        rows = await db.fetch(_BY_NAME_BACK if backwards else _BY_NAME, *values, limit, offset)
    else:
        rows = await db.fetch(_SORTED_BACK if backwards else _SORTED, *values, limit, offset, order)
    return [_account(row) for row in rows], total


async def one(db: Reader, user_id: UserId) -> AccountRow | None:
    row = await db.fetchrow(_ONE, user_id)
    return _account(row) if row else None


async def marks(tx: Tx, user_id: UserId) -> dict[str, bool]:
    """locked, suspended, shadow_banned. Until the transaction ends nobody else changes them."""
    return dict(row) if (row := await tx.fetchrow(_MARKS, user_id)) is not None else {}


async def by_term(db: Reader, term: str, limit: int) -> list[AccountRow]:
    """Accounts in use whose id holds this text."""
    return [_account(row) for row in await db.fetch(_BY_TERM, term, limit)]


async def external_ids(db: Reader, user_id: UserId) -> list[tuple[str, str]]:
    """(sign-in service, who they are there)."""
    return [(row["provider"], row["subject"]) for row in await db.fetch(_EXTERNAL_IDS, user_id)]


async def invites_sent(db: Reader, user_id: UserId, since_ms: int) -> int:
    """Invites that this user sent since then, in rooms that they are or were in."""
    return int(await db.fetchval(_INVITES_SENT, user_id, since_ms))


async def rooms_joined(db: Reader, user_id: UserId, since_ms: int) -> int:
    """Rooms that this user joined since then."""
    return int(await db.fetchval(_ROOMS_JOINED, user_id, since_ms))


async def devices_of(db: Reader, user_id: UserId) -> list[dict[str, Any]]:
    """All that is known of a user's devices."""
    return [dict(row) for row in await db.fetch(_DEVICES, user_id)]


def _account(row: Row) -> AccountRow:
    fields = dict(row)
    for name in ("displayname", "avatar_url"):
        value = orjson.loads(fields[name]) if fields[name] is not None else None
        fields[name] = value if isinstance(value, str) else None
    return AccountRow(**fields)
