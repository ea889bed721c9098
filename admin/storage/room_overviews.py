"""The table `room_overviews`: what lists of all rooms are sorted and filtered by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

from homeserver.core.identifiers import RoomId
from homeserver.storage.database import Reader, Row, Tx

CONSUMER = "room_overviews"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """One room as lists show it. `encryption` is the algorithm, None for a room in the clear."""

    room_nid: int
    room_id: RoomId
    name: str | None
    topic: str | None
    avatar: str | None
    canonical_alias: str | None
    room_type: str | None
    creator: str
    version: str
    encryption: str | None
    join_rules: str | None
    guest_access: str | None
    history_visibility: str | None
    federatable: bool
    tombstoned: bool
    joined_members: int
    joined_local_members: int
    invited_members: int
    state_events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomFilter:
    """Which rooms are asked for; None asks for all. `term` is looked for in names and aliases, or is an id."""

    term: str | None = None
    is_public: bool | None = None
    is_empty: bool | None = None
    order_by: str = "name"
    backwards: bool = False
    rooms: frozenset[str] | None = None  # these alone


_NAMES = [field.name for field in fields(Overview)]
# Locked, the rooms can't be deleted between the look at them and the row that is written of them.
_INSERT = """
    INSERT INTO room_overviews (
        room_nid, room_id, name, topic, avatar, canonical_alias, room_type, creator, version, encryption, join_rules,
        guest_access, history_visibility, federatable, tombstoned, joined_members, joined_local_members,
        invited_members, state_events
    )
    SELECT new.* FROM unnest(
        $1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::text[], $13::text[], $14::boolean[], $15::boolean[], $16::integer[],
        $17::integer[], $18::integer[], $19::integer[]
    ) AS new(room_nid) JOIN rooms r ON r.room_nid = new.room_nid ORDER BY r.room_nid FOR KEY SHARE OF r
    ON CONFLICT (room_nid) DO UPDATE SET
        room_id = excluded.room_id, name = excluded.name, topic = excluded.topic, avatar = excluded.avatar,
        canonical_alias = excluded.canonical_alias, room_type = excluded.room_type, creator = excluded.creator,
        version = excluded.version, encryption = excluded.encryption, join_rules = excluded.join_rules,
        guest_access = excluded.guest_access, history_visibility = excluded.history_visibility,
        federatable = excluded.federatable, tombstoned = excluded.tombstoned,
        joined_members = excluded.joined_members, joined_local_members = excluded.joined_local_members,
        invited_members = excluded.invited_members, state_events = excluded.state_events
"""
# A name of a column can't be a parameter: only these are ever put in.
ORDERS: Mapping[str, str] = {
    "name": "lower(coalesce(o.name, o.canonical_alias, o.room_id))",
    "alphabetical": "lower(coalesce(o.name, o.canonical_alias, o.room_id))",
    "canonical_alias": "o.canonical_alias",
    "joined_members": "o.joined_members",
    "size": "o.joined_members",
    "joined_local_members": "o.joined_local_members",
    "version": "o.version",
    "creator": "o.creator",
    "encryption": "o.encryption",
    "federatable": "o.federatable",
    "public": "r.is_published",
    "join_rules": "o.join_rules",
    "guest_access": "o.guest_access",
    "history_visibility": "o.history_visibility",
    "state_events": "o.state_events",
}
LARGEST_FIRST = frozenset({"joined_members", "size", "joined_local_members", "version", "state_events"})
# Looked for first: few rooms are left to be sorted.
_TERM = """o.room_nid IN (
    SELECT t.room_nid FROM room_overviews t
    WHERE t.room_id = $2 OR strpos(lower(t.name), $1) > 0 OR strpos(lower(t.canonical_alias), $1) > 0 OFFSET 0)"""
# The same by the pairs of characters that names are indexed by. Of one character there is no pair.
_TERM_BY_PAIRS = """o.room_nid IN (
    SELECT t.room_nid FROM room_overviews t WHERE t.room_id = $2
    UNION ALL SELECT t.room_nid FROM room_overviews t
    WHERE t.room_nid IN (SELECT rooms_with_pairs($1))
        AND (strpos(lower(t.name), $1) > 0 OR strpos(lower(t.canonical_alias), $1) > 0) OFFSET 0)"""
_PUBLISHED = "o.room_nid IN (SELECT p.room_nid FROM rooms p WHERE p.is_published OFFSET 0)"
_OVERVIEWS = "FROM room_overviews o JOIN rooms r USING (room_nid)"
# Filled in from the pieces above alone; what is asked for is a value.
_PAGE = """
    SELECT o.*, r.is_published FROM room_overviews o JOIN rooms r USING (room_nid) WHERE {where}
    ORDER BY {key} {way}, {side}.room_id {way} LIMIT ${limit} OFFSET ${offset}
"""
_COUNT = "SELECT count(*) {source} WHERE {where}"
# A term that many rooms have is found among the first ones of the order, which stops at the page's end; where it
# isn't, few rooms have it, and they are looked for by pairs. Statistics can't tell the two apart.
# So many rooms are looked through, for each that is wanted.
_LOOKED_THROUGH, _LOOKED_THROUGH_MIN = 20, 5_000
_MATCHES = "(o.room_id = $2 OR strpos(lower(o.name), $1) > 0 OR strpos(lower(o.canonical_alias), $1) > 0)"
_PAGE_AMONG_FIRST = """
    SELECT found.*, r.is_published FROM (
        SELECT o.* FROM (
            SELECT o.*, {key} AS sorted_by {source} WHERE {where}
            ORDER BY {key} {way}, {side}.room_id {way} LIMIT {looked_through}
        ) AS o WHERE {matches} ORDER BY o.sorted_by {way}, o.room_id {way} LIMIT ${limit} OFFSET ${offset}
    ) AS found JOIN rooms r USING (room_nid) ORDER BY found.sorted_by {way}, found.room_id {way}
"""
# More than this beyond a page aren't counted, where a term is looked for.
COUNTED_MAX = 1_000
_COUNTED_THROUGH = 50  # for each that is counted
_COUNT_AMONG_FIRST = """
    SELECT count(*) FROM (
        SELECT FROM (SELECT o.* FROM room_overviews o WHERE {where} LIMIT {counted_through}) AS o
        WHERE {matches} LIMIT ${most}
    ) AS found
"""
_COUNT_UPTO = "SELECT count(*) FROM (SELECT {source} WHERE {where} LIMIT ${most}) AS found"
_ONE = "SELECT o.*, r.is_published FROM room_overviews o JOIN rooms r USING (room_nid) WHERE r.room_id = $1"
_AFTER = "SELECT room_nid, room_id FROM rooms WHERE room_nid > $1 ORDER BY room_nid LIMIT $2"


async def upsert(tx: Tx, overviews: Sequence[Overview]) -> None:
    """Rooms that are gone meanwhile stay gone."""
    columns: list[list[Any]] = [list(column) for column in zip(*map(astuple, overviews), strict=True)]
    await tx.execute(_INSERT, *columns)


async def page(db: Reader, wanted: RoomFilter, limit: int, offset: int) -> list[tuple[Overview, bool]]:
    """(room, whether it is in the directory) of one page: an index scan up to its end, unless names are searched."""
    where, values = _where(wanted)
    way, key = "DESC" if wanted.backwards else "ASC", ORDERS[wanted.order_by]
    # Both sides of the join have the id; the index is that of the side that is sorted by.
    side = "r" if key.startswith("r.") else "o"
    numbers = {"limit": len(values) + 1, "offset": len(values) + 2}
    sql = _PAGE.format(where=where, key=key, side=side, way=way, **numbers)
    return [_overview(row) for row in await db.fetch(sql, *values, limit, offset)]


async def found(db: Reader, wanted: RoomFilter, limit: int, offset: int) -> tuple[list[tuple[Overview, bool]], int]:
    """A page of the rooms with a term, and how many there are; of many, `COUNTED_MAX` beyond the page."""
    most = offset + limit + COUNTED_MAX
    few = await _page_among_first(db, wanted, limit, offset)
    if len(few) < limit:
        return await page(db, wanted, limit, offset), await _count_upto(db, wanted, most)
    total = await _count_among_first(db, wanted, most)
    return few, total if total == most else await _count_upto(db, wanted, most)


async def _page_among_first(db: Reader, wanted: RoomFilter, limit: int, offset: int) -> list[tuple[Overview, bool]]:
    """The page, where it is full of rooms among the first ones; fewer say nothing."""
    where, values = _where(replace(wanted, term=None), [wanted.term.lower(), wanted.term] if wanted.term else [])
    way, key = "DESC" if wanted.backwards else "ASC", ORDERS[wanted.order_by]
    is_of_rooms = key.startswith("r.")
    sql = _PAGE_AMONG_FIRST.format(
        where=where,
        key=key,
        side="r" if is_of_rooms else "o",
        way=way,
        source=_OVERVIEWS if is_of_rooms else "FROM room_overviews o",
        matches=_MATCHES,
        looked_through=_LOOKED_THROUGH_MIN + _LOOKED_THROUGH * (limit + offset),
        limit=len(values) + 1,
        offset=len(values) + 2,
    )
    return [_overview(row) for row in await db.fetch(sql, *values, limit, offset)]


async def _count_among_first(db: Reader, wanted: RoomFilter, most: int) -> int:
    """How many rooms with the term there are among some; fewer than `most` say nothing."""
    where, values = _where(replace(wanted, term=None), [wanted.term.lower(), wanted.term] if wanted.term else [])
    numbers = {"most": len(values) + 1, "counted_through": _COUNTED_THROUGH * most}
    sql = _COUNT_AMONG_FIRST.format(where=where, matches=_MATCHES, **numbers)
    return int(await db.fetchval(sql, *values, most))


async def _count_upto(db: Reader, wanted: RoomFilter, most: int) -> int:
    """How many rooms have the term; `most` where there are more."""
    where, values = _where(wanted)
    sql = _COUNT_UPTO.format(source="FROM room_overviews o", where=where, most=len(values) + 1)
    return int(await db.fetchval(sql, *values, most))


async def count(db: Reader, wanted: RoomFilter) -> int:
    """How many rooms there are of these. Looks at each."""
    where, values = _where(wanted)
    return int(await db.fetchval(_COUNT.format(source="FROM room_overviews o", where=where), *values))


async def one(db: Reader, room_id: RoomId) -> tuple[Overview, bool] | None:
    """The room, and whether it is in the directory."""
    row = await db.fetchrow(_ONE, room_id)
    return _overview(row) if row is not None else None


async def room_ids_after(db: Reader, room_nid: int, limit: int) -> list[tuple[int, RoomId]]:
    """All rooms by number, whether they have an overview or not."""
    return [(row["room_nid"], RoomId(row["room_id"])) for row in await db.fetch(_AFTER, room_nid, limit)]


def _where(wanted: RoomFilter, before: Sequence[Any] = ()) -> tuple[str, list[Any]]:
    """What narrows the list, and the values in it, after those that stand `before` it.

    What isn't asked for isn't in the query.
    """
    found, values = list[str](), list[Any](before)
    if wanted.term is not None:
        piece = _TERM_BY_PAIRS if len(wanted.term) > 1 else _TERM
        found, values = [piece], [wanted.term.lower(), wanted.term]
    if wanted.rooms is not None:
        values.append(sorted(wanted.rooms))
        found.append(f"o.room_id = ANY(${len(values)}::text[])")
    if wanted.is_public is not None:
        found.append(_PUBLISHED if wanted.is_public else f"NOT ({_PUBLISHED})")
    if wanted.is_empty is not None:
        found.append("o.joined_members = 0" if wanted.is_empty else "o.joined_members > 0")
    return " AND ".join(found) or "true", values


def _overview(row: Row) -> tuple[Overview, bool]:
    return Overview(**{name: row[name] for name in _NAMES}), row["is_published"]
