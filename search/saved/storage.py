"""The tables `saved_searches` and `saved_search_matches`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSearch:
    """`since` is the position at which it was made: it tells of what came later."""

    search_id: str
    user_id: UserId
    name: str
    term: str
    is_paused: bool
    since: int
    created_ms: int


@dataclass(frozen=True, slots=True)
class Untold:
    """What somebody is to be told of, by the numbers of the events."""

    search_id: str
    user_id: UserId
    name: str
    event_nids: Sequence[int]


_COLUMNS = "search_id, user_id, name, term, is_paused, since, created_ms"
_ALL = f"SELECT {_COLUMNS} FROM saved_searches s JOIN users u USING (user_id) WHERE NOT (is_paused OR u.is_deactivated)"
_OF_USER = f"SELECT {_COLUMNS} FROM saved_searches WHERE user_id = $1 ORDER BY created_ms, search_id"
_LOCK = "SELECT FROM users WHERE user_id = $1 FOR UPDATE"
_COUNT = "SELECT count(*) FROM saved_searches WHERE user_id = $1"
_INSERT = f"INSERT INTO saved_searches ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)"
_UPDATE = """
    UPDATE saved_searches SET name = $3, term = $4, is_paused = $5, since = $6 WHERE search_id = $1 AND user_id = $2
"""
_DELETE = "DELETE FROM saved_searches WHERE search_id = $1 AND user_id = $2 RETURNING search_id"
# Where a user has to do with a room, and hasn't forgotten it, searches look into it.
_ROOMS = """
    SELECT user_id, room_nid FROM memberships
    WHERE user_id = ANY($1::text[]) AND room_nid = ANY($2::bigint[]) AND NOT is_forgotten
"""
_TAKE = """
    INSERT INTO saved_search_matches (search_id, event_nid, found_ms)
    SELECT w.search_id, w.event_nid, $3 FROM unnest($1::text[], $2::bigint[]) AS w(search_id, event_nid)
    JOIN saved_searches s USING (search_id)
    ON CONFLICT DO NOTHING
"""
# Each search's oldest, so that one that finds much doesn't hold up the others.
_UNTOLD = """
    SELECT s.search_id, s.user_id, s.name, m.event_nids FROM (
        SELECT search_id, (array_agg(event_nid ORDER BY event_nid))[:$1] AS event_nids
        FROM saved_search_matches WHERE NOT is_told GROUP BY search_id LIMIT $2
    ) m JOIN saved_searches s USING (search_id)
"""
_TOLD = "UPDATE saved_search_matches SET is_told = true WHERE search_id = $1 AND event_nid = ANY($2::bigint[])"
_MATCHES = """
    SELECT event_nid, found_ms FROM saved_search_matches
    WHERE search_id = $1 AND event_nid < $2 ORDER BY event_nid DESC LIMIT $3
"""
_TRIM = "DELETE FROM saved_search_matches WHERE found_ms < $1"


async def active(db: Reader) -> list[SavedSearch]:
    """All that tell somebody."""
    return [_saved(row) for row in await db.fetch(_ALL)]


async def of_user(db: Reader, user_id: UserId) -> list[SavedSearch]:
    return [_saved(row) for row in await db.fetch(_OF_USER, user_id)]


async def insert(tx: Tx, saved: SavedSearch, count_max: int) -> bool:
    """False, and nothing done, where the user has so many already."""
    await tx.execute(_LOCK, saved.user_id)
    if await tx.fetchval(_COUNT, saved.user_id) >= count_max:
        return False
    await tx.execute(
        _INSERT,
        saved.search_id,
        saved.user_id,
        saved.name,
        saved.term,
        saved.is_paused,
        saved.since,
        saved.created_ms,
    )
    return True


async def update(tx: Tx, saved: SavedSearch) -> None:
    await tx.execute(_UPDATE, saved.search_id, saved.user_id, saved.name, saved.term, saved.is_paused, saved.since)


async def delete(tx: Tx, user_id: UserId, search_id: str) -> bool:
    """Whether it was there and the user's."""
    return bool(await tx.fetch(_DELETE, search_id, user_id))


async def rooms_of(db: Reader, user_ids: Collection[UserId], room_nids: Collection[int]) -> set[tuple[UserId, int]]:
    """Which of these users search in which of these rooms. One query."""
    rows = await db.fetch(_ROOMS, list(user_ids), list(room_nids))
    return {(UserId(row["user_id"]), row["room_nid"]) for row in rows}


async def take(tx: Tx, matches: Sequence[tuple[str, int]], now_ms: int) -> None:
    """Notes (search id, event number) to be told. What was noted before stays as it is."""
    await tx.execute(_TAKE, [one for one, _ in matches], [nid for _, nid in matches], now_ms)


async def untold(db: Reader, events_max: int, searches_max: int) -> list[Untold]:
    """What is to be told: the oldest of each search."""
    return [
        Untold(row["search_id"], UserId(row["user_id"]), row["name"], row["event_nids"])
        for row in await db.fetch(_UNTOLD, events_max, searches_max)
    ]


async def told(tx: Tx, search_id: str, event_nids: Collection[int]) -> None:
    await tx.execute(_TOLD, search_id, list(event_nids))


async def matches(db: Reader, search_id: str, below: int, limit: int) -> list[tuple[int, int]]:
    """(event number, when it was found), the newest first."""
    return [(row["event_nid"], row["found_ms"]) for row in await db.fetch(_MATCHES, search_id, below, limit)]


async def trim(tx: Tx, before_ms: int) -> None:
    await tx.execute(_TRIM, before_ms)


def _saved(row: Row) -> SavedSearch:
    return SavedSearch(
        search_id=row["search_id"],
        user_id=UserId(row["user_id"]),
        name=row["name"],
        term=row["term"],
        is_paused=row["is_paused"],
        since=row["since"],
        created_ms=row["created_ms"],
    )
