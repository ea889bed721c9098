"""Accounts as operators list and find them: read-only queries over the tables of accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    rooms: frozenset[str] | None = None  # who is or was in one of these

    @property
    def has_term(self) -> bool:
        """Whether something is looked for in ids or names."""
        return bool(self.user_id or self.name)


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
# What asks for something narrows the list; what asks for nothing isn't in the query. `{n}` is a value's number.
_HAS_ID = "strpos(lower(u.user_id), lower(${n})) > 0"
# One look through all names, not one for each account.
_HAS_NAME = """u.user_id IN (
    SELECT s.user_id FROM users s WHERE strpos(lower(split_part(s.user_id, ':', 1)), lower(${n})) > 0
    UNION SELECT p.user_id FROM profiles p
    WHERE p.field = 'displayname' AND strpos(lower(convert_from(p.value, 'UTF8')), lower(${n})) > 0)"""
# The same by the pairs of characters that names are indexed by. Of one character there is no pair.
_HAS_ID_BY_PAIRS = f"u.user_id IN (SELECT users_with_pairs(${{n}})) AND {_HAS_ID}"
_HAS_NAME_BY_PAIRS = """u.user_id IN (
    SELECT s.user_id FROM users_with_pairs(${n}) AS s(user_id)
    WHERE strpos(lower(split_part(s.user_id, ':', 1)), lower(${n})) > 0
    UNION SELECT p.user_id FROM profiles p
    WHERE p.user_id IN (SELECT profiles_with_pairs(${n})) AND p.field = 'displayname'
        AND strpos(lower(convert_from(p.value, 'UTF8')), lower(${n})) > 0)"""
_NO_TYPE_OF = "coalesce(u.user_type, '') <> ALL(${n}::text[])"
# Of those who are bound to rooms: who has to do with these.
_IN_ROOMS = """u.user_id IN (
    SELECT m.user_id FROM memberships m JOIN rooms w USING (room_nid) WHERE w.room_id = ANY(${n}::text[]))"""
_IS_IN_ROOMS = """
    SELECT EXISTS (
        SELECT FROM memberships m JOIN rooms w USING (room_nid) WHERE m.user_id = $1 AND w.room_id = ANY($2::text[])
    )
"""
_USERS = "FROM users u"
_NAMED = "FROM profiles p JOIN users u USING (user_id)"
_NAMELESS = "NOT EXISTS (SELECT FROM profiles p WHERE p.user_id = u.user_id AND p.field = '{field}')"
_SEEN = "FROM devices d JOIN users u USING (user_id)"
_SEEN_LAST = """d.last_seen_ts IS NOT NULL AND NOT EXISTS (
    SELECT FROM devices o WHERE o.user_id = d.user_id
        AND (coalesce(o.last_seen_ts, 0), o.device_id) > (d.last_seen_ts, d.device_id))"""
_UNSEEN = "NOT EXISTS (SELECT FROM devices d WHERE d.user_id = u.user_id AND d.last_seen_ts IS NOT NULL)"
_MARKS_OF = {
    "is_guest": "u.is_guest",
    "admin": "u.is_admin",
    "deactivated": "u.is_deactivated",
    "shadow_banned": "u.is_shadow_banned",
    "locked": "u.is_locked",
    "suspended": "u.is_suspended",
    "erased": "u.erased_position IS NOT NULL",
}
# Filled in from the pieces above alone; what is asked for is a value.
_SOME = "SELECT u.user_id {narrowed} ORDER BY {keys} LIMIT ${limit} OFFSET ${offset}"
_HOW_MANY = "SELECT count(*) {narrowed}"
# A term that many accounts have is found among the first ones of the order, which stops at the page's end; where it
# isn't, few accounts have it, and they are looked for by pairs. Statistics can't tell the two apart.
# So many accounts are looked through, for each that is wanted.
_LOOKED_THROUGH, _LOOKED_THROUGH_MIN = 20, 5_000
_AMONG_FIRST = """
    SELECT f.user_id FROM (
        SELECT u.user_id, row_number() OVER (ORDER BY {keys}) AS place {narrowed} ORDER BY {keys} LIMIT {looked_through}
    ) AS f WHERE {matches} ORDER BY f.place LIMIT ${limit} OFFSET ${offset}
"""
_MATCHES_ID = "strpos(lower(f.user_id), lower($1)) > 0"
_MATCHES_NAME = """(strpos(lower(split_part(f.user_id, ':', 1)), lower($1)) > 0 OR EXISTS (
    SELECT FROM profiles n WHERE n.user_id = f.user_id AND n.field = 'displayname'
        AND strpos(lower(convert_from(n.value, 'UTF8')), lower($1)) > 0))"""
# More than this beyond a page aren't counted, where a term is looked for.
COUNTED_MAX = 1_000
_COUNTED_THROUGH = 50  # for each that is counted
_COUNT_AMONG_FIRST = """
    SELECT count(*) FROM (
        SELECT FROM (SELECT u.user_id {narrowed} LIMIT {counted_through}) AS f WHERE {matches} LIMIT ${most}
    ) AS found
"""
_COUNT_UPTO = "SELECT count(*) FROM (SELECT {narrowed} LIMIT ${most}) AS found"
_BY_IDS = f"SELECT {_COLUMNS} {_FROM} WHERE u.user_id = ANY($1::text[])"
_ONE = f"SELECT {_COLUMNS} {_FROM} WHERE u.user_id = $1"
_BY_TERM = f"""
    SELECT {_COLUMNS} {_FROM} WHERE u.is_deactivated = false AND {{narrowed}} ORDER BY u.user_id LIMIT $2
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


@dataclass(frozen=True, slots=True)
class _Part:
    """One after the other, an order's parts are the whole list: each goes along an index."""

    source: str
    condition: str
    keys: str


def _parts(order: str, backwards: bool) -> list[_Part]:
    way = "DESC" if backwards else "ASC"
    if order == "name":
        return [_Part(_USERS, "true", f"u.user_id {way}")]
    if order == "creation_ts":
        return [_Part(_USERS, "true", f"u.created_ts {way}, u.user_id")]
    if order in _MARKS_OF:
        mark = _MARKS_OF[order]
        marked, plain = _Part(_USERS, mark, "u.user_id"), _Part(_USERS, f"NOT ({mark})", "u.user_id")
        return [marked, plain] if backwards else [plain, marked]
    if order == "user_type":
        typed = _Part(_USERS, "u.user_type IS NOT NULL", f"u.user_type {way}, u.user_id")
        plain = _Part(_USERS, "u.user_type IS NULL", "u.user_id")
        return [typed, plain] if backwards else [plain, typed]
    if order == "last_seen_ts":
        return [
            _Part(_SEEN, _SEEN_LAST, f"d.last_seen_ts {way}, d.user_id"),
            _Part(_USERS, _UNSEEN, "u.user_id"),
        ]
    # What has none comes last: to find the first of those is to look at all.
    return [
        _Part(_NAMED, f"p.field = '{order}'", f"substring(p.value, 1, 200) {way}, p.user_id"),
        _Part(_USERS, _NAMELESS.format(field=order), "u.user_id"),
    ]


def _conditions(wanted: AccountFilter, before: Sequence[Any] = ()) -> tuple[list[str], list[Any]]:
    """What narrows the list, and the values in it, after those that stand `before` it."""
    found, values = list[str](), list[Any](before)
    has_id, has_name = _has_id(wanted.user_id), _HAS_NAME_BY_PAIRS if _has_pairs(wanted.name) else _HAS_NAME
    for piece, value in ((has_id, wanted.user_id), (has_name, wanted.name), (_NO_TYPE_OF, list(wanted.not_types))):
        if value:
            values.append(value)
            found.append(piece.format(n=len(values)))
    if wanted.rooms is not None:
        values.append(sorted(wanted.rooms))
        found.append(_IN_ROOMS.format(n=len(values)))
    if not wanted.with_guests:
        found.append("NOT u.is_guest")
    if not wanted.with_locked:
        found.append("NOT u.is_locked")
    for mark, wish in (("u.is_admin", wanted.is_admin), ("u.is_deactivated", wanted.is_deactivated)):
        if wish is not None:
            found.append(mark if wish else f"NOT {mark}")
    return found, values


def _has_pairs(term: str | None) -> bool:
    return term is not None and len(term) > 1


def _has_id(term: str | None) -> str:
    return _HAS_ID_BY_PAIRS if _has_pairs(term) else _HAS_ID


async def count(db: Reader, wanted: AccountFilter) -> int:
    """How many accounts there are of these. Looks at each."""
    conditions, values = _conditions(wanted)
    narrowed = f"{_USERS} WHERE {_all_of(conditions)}"
    return int(await db.fetchval(_HOW_MANY.format(narrowed=narrowed), *values))


async def found(
    db: Reader, wanted: AccountFilter, *, order: str, backwards: bool, limit: int, offset: int
) -> tuple[list[AccountRow], int]:
    """A page of the accounts with a term, and how many there are; of many, `COUNTED_MAX` beyond the page."""
    most, first = offset + limit + COUNTED_MAX, _parts(order, backwards)[0]
    few = await _among_first(db, wanted, first, limit, offset)
    if len(few) < limit:
        rows = await page(db, wanted, order=order, backwards=backwards, limit=limit, offset=offset)
        return rows, await _count_upto(db, wanted, most)
    total = await _count_among_first(db, wanted, most)
    rows = await _in_order(db, [UserId(row["user_id"]) for row in few])
    return rows, total if total == most else await _count_upto(db, wanted, most)


async def _count_among_first(db: Reader, wanted: AccountFilter, most: int) -> int:
    """How many accounts with the term there are among some; fewer than `most` say nothing."""
    matches, conditions, values = _apart(wanted)
    sql = _COUNT_AMONG_FIRST.format(
        narrowed=f"{_USERS} WHERE {_all_of(conditions)}",
        matches=matches,
        counted_through=_COUNTED_THROUGH * most,
        most=len(values) + 1,
    )
    return int(await db.fetchval(sql, *values, most))


async def _count_upto(db: Reader, wanted: AccountFilter, most: int) -> int:
    """How many accounts have the term; `most` where there are more."""
    conditions, values = _conditions(wanted)
    sql = _COUNT_UPTO.format(narrowed=f"{_USERS} WHERE {_all_of(conditions)}", most=len(values) + 1)
    return int(await db.fetchval(sql, *values, most))


def _apart(wanted: AccountFilter) -> tuple[str, list[str], list[Any]]:
    """What the term asks, and what else does: the term is the first of the values."""
    matches, term = (_MATCHES_ID, wanted.user_id) if wanted.user_id else (_MATCHES_NAME, wanted.name)
    return matches, *_conditions(replace(wanted, user_id=None, name=None), [term])


async def page(
    db: Reader, wanted: AccountFilter, *, order: str, backwards: bool, limit: int, offset: int
) -> list[AccountRow]:
    """Accounts from `offset` on: index scans, as far as the page, unless the filter looks into names."""
    conditions, values = _conditions(wanted)
    ids, skip = list[UserId](), offset
    for part in _parts(order, backwards):
        if len(ids) >= limit:
            break
        narrowed = f"{part.source} WHERE {_all_of([part.condition, *conditions])}"
        sql = _SOME.format(narrowed=narrowed, keys=part.keys, limit=len(values) + 1, offset=len(values) + 2)
        some = await db.fetch(sql, *values, limit - len(ids), skip)
        ids += [UserId(row["user_id"]) for row in some]
        if some:
            skip = 0
        elif skip:
            skip = max(0, skip - int(await db.fetchval(_HOW_MANY.format(narrowed=narrowed), *values)))
    return await _in_order(db, ids)


async def _in_order(db: Reader, ids: Sequence[UserId]) -> list[AccountRow]:
    rows = {row["user_id"]: _account(row) for row in await db.fetch(_BY_IDS, list(ids))} if ids else {}
    return [rows[user_id] for user_id in ids if user_id in rows]


async def _among_first(db: Reader, wanted: AccountFilter, part: _Part, limit: int, offset: int) -> list[Row]:
    """The page, where it is full of accounts among the first ones of a part; fewer say nothing."""
    matches, conditions, values = _apart(wanted)
    sql = _AMONG_FIRST.format(
        keys=part.keys,
        narrowed=f"{part.source} WHERE {_all_of([part.condition, *conditions])}",
        matches=matches,
        looked_through=_LOOKED_THROUGH_MIN + _LOOKED_THROUGH * (limit + offset),
        limit=len(values) + 1,
        offset=len(values) + 2,
    )
    return await db.fetch(sql, *values, limit, offset)


def _all_of(conditions: Sequence[str]) -> str:
    return " AND ".join(conditions) or "true"


async def one(db: Reader, user_id: UserId) -> AccountRow | None:
    row = await db.fetchrow(_ONE, user_id)
    return _account(row) if row else None


async def marks(tx: Tx, user_id: UserId) -> dict[str, bool]:
    """locked, suspended, shadow_banned. Until the transaction ends nobody else changes them."""
    return dict(row) if (row := await tx.fetchrow(_MARKS, user_id)) is not None else {}


async def is_in_rooms(db: Reader, user_id: UserId, rooms: frozenset[str] | None) -> bool:
    """Whether somebody is or was in one of these rooms. None: all that there are, and beyond."""
    return rooms is None or bool(await db.fetchval(_IS_IN_ROOMS, user_id, list(rooms)))


async def by_term(db: Reader, term: str, limit: int, rooms: frozenset[str] | None = None) -> list[AccountRow]:
    """Accounts in use whose id holds this text."""
    narrowed, values = _has_id(term).format(n=1), list[Any]([term, limit])
    if rooms is not None:
        narrowed, values = f"{narrowed} AND {_IN_ROOMS.format(n=3)}", [*values, sorted(rooms)]
    return [_account(row) for row in await db.fetch(_BY_TERM.format(narrowed=narrowed), *values)]


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
