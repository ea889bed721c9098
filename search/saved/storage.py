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
    webhook_url: str | None = None
    webhook_secret: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a webhook is to be told next. `pending` is set where this was sent before, and not acknowledged."""

    search_id: str
    user_id: UserId
    name: str
    url: str
    secret: str
    delivery: int
    event_nids: Sequence[int]
    is_pending: bool
    failures: int
    failing_since_ms: int | None


@dataclass(frozen=True, slots=True)
class Untold:
    """What somebody is to be told of, by the numbers of the events."""

    search_id: str
    user_id: UserId
    name: str
    event_nids: Sequence[int]


_COLUMNS = "search_id, user_id, name, term, is_paused, since, created_ms, webhook_url, webhook_secret"
_ALL = f"SELECT {_COLUMNS} FROM saved_searches s JOIN users u USING (user_id) WHERE NOT (is_paused OR u.is_deactivated)"
_OF_USER = f"SELECT {_COLUMNS} FROM saved_searches WHERE user_id = $1 ORDER BY created_ms, search_id"
_LOCK = "SELECT FROM users WHERE user_id = $1 FOR UPDATE"
_COUNT = "SELECT count(*) FROM saved_searches WHERE user_id = $1"
_INSERT = f"INSERT INTO saved_searches ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_UPDATE = """
    UPDATE saved_searches SET name = $3, term = $4, is_paused = $5, since = $6, webhook_url = $7, webhook_secret = $8,
        failures = 0, failing_since_ms = NULL, retry_ms = 0,
        pending = CASE WHEN webhook_url = $7 THEN pending END
    WHERE search_id = $1 AND user_id = $2
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
        FROM saved_search_matches JOIN saved_searches USING (search_id)
        WHERE NOT is_told AND webhook_url IS NULL GROUP BY search_id LIMIT $2
    ) m JOIN saved_searches s USING (search_id)
"""
# The same for webhooks, of those that may be tried now. What was sent and isn't acknowledged is sent again as it was.
_CALLS = """
    SELECT s.search_id, s.user_id, s.name, s.webhook_url, s.webhook_secret, s.delivery, s.pending, s.failures,
        s.failing_since_ms, coalesce(s.pending, m.event_nids) AS event_nids
    FROM (
        SELECT search_id, (array_agg(event_nid ORDER BY event_nid))[:$1] AS event_nids
        FROM saved_search_matches JOIN saved_searches USING (search_id)
        WHERE NOT is_told AND webhook_url IS NOT NULL AND retry_ms <= $3 AND NOT search_id = ANY($4::text[])
        GROUP BY search_id LIMIT $2
    ) m JOIN saved_searches s USING (search_id)
"""
_ARE_CALLS_LEFT = """
    SELECT EXISTS (
        SELECT FROM saved_search_matches JOIN saved_searches USING (search_id)
        WHERE NOT is_told AND webhook_url IS NOT NULL
    )
"""
# Of another URL, or none, nothing is known: its owner has changed it meanwhile.
_BEGUN = "UPDATE saved_searches SET delivery = $3, pending = $4 WHERE search_id = $1 AND webhook_url = $2"
_ACKNOWLEDGED = """
    UPDATE saved_searches SET pending = NULL, failures = 0, failing_since_ms = NULL, retry_ms = 0
    WHERE search_id = $1 AND webhook_url = $2
"""
_FAILED = """
    UPDATE saved_searches SET failures = $3, failing_since_ms = $4, retry_ms = $5
    WHERE search_id = $1 AND webhook_url = $2
"""
_GIVEN_UP = """
    UPDATE saved_searches SET webhook_url = NULL, webhook_secret = NULL, pending = NULL
    WHERE search_id = $1 AND webhook_url = $2 RETURNING search_id
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
        saved.webhook_url,
        saved.webhook_secret,
    )
    return True


async def update(tx: Tx, saved: SavedSearch) -> None:
    await tx.execute(
        _UPDATE,
        saved.search_id,
        saved.user_id,
        saved.name,
        saved.term,
        saved.is_paused,
        saved.since,
        saved.webhook_url,
        saved.webhook_secret,
    )


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


async def calls(db: Reader, events_max: int, searches_max: int, now_ms: int, besides: Collection[str]) -> list[Call]:
    """What webhooks are to be told now, of searches besides these."""
    return [
        Call(
            search_id=row["search_id"],
            user_id=UserId(row["user_id"]),
            name=row["name"],
            url=row["webhook_url"],
            secret=row["webhook_secret"],
            delivery=row["delivery"],
            event_nids=row["event_nids"],
            is_pending=row["pending"] is not None,
            failures=row["failures"],
            failing_since_ms=row["failing_since_ms"],
        )
        for row in await db.fetch(_CALLS, events_max, searches_max, now_ms, list(besides))
    ]


async def are_calls_left(db: Reader) -> bool:
    """Whether any webhook hasn't been told all, whenever it is tried again."""
    return bool(await db.fetchval(_ARE_CALLS_LEFT))


async def begun(tx: Tx, call: Call) -> None:
    """Before it is sent: so it has the same number and the same events after a crash."""
    await tx.execute(_BEGUN, call.search_id, call.url, call.delivery, list(call.event_nids))


async def acknowledged(tx: Tx, call: Call) -> None:
    await tx.execute(_TOLD, call.search_id, list(call.event_nids))
    await tx.execute(_ACKNOWLEDGED, call.search_id, call.url)


async def failed(tx: Tx, call: Call, retry_ms: int) -> None:
    await tx.execute(_FAILED, call.search_id, call.url, call.failures, call.failing_since_ms, retry_ms)


async def given_up(tx: Tx, call: Call) -> bool:
    """Its owner is told by notices from now on, also of what it wasn't told. Whether it was still so."""
    return bool(await tx.fetch(_GIVEN_UP, call.search_id, call.url))


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
        webhook_url=row["webhook_url"],
        webhook_secret=row["webhook_secret"],
    )
