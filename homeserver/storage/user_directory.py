"""The tables `directory_users`, `directory_words` and `directory_open_rooms`: who can be found, and by which words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Row, Tx

CONSUMER = "user_directory"
# Above every word that begins with a term: the last code point sorts behind all that may follow it.
_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Found:
    """A user as the directory shows them."""

    user_id: UserId
    display_name: str | None = None
    avatar_url: str | None = None


_CONCERNING = """
    SELECT e.event_nid FROM events e JOIN state_keys k USING (key_nid)
    WHERE e.event_nid > $1 AND e.event_nid <= $2 AND e.ordering IS NOT NULL AND e.flags = 0 AND k.type = ANY($3::text[])
    ORDER BY e.event_nid LIMIT $4
"""
_BY_IDS = "SELECT user_id, display_name, avatar_url FROM directory_users WHERE user_id = ANY($1::text[])"
_UPSERT = """
    INSERT INTO directory_users (user_id, display_name, avatar_url)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
    ON CONFLICT (user_id) DO UPDATE SET display_name = excluded.display_name, avatar_url = excluded.avatar_url
"""
_DELETE = "DELETE FROM directory_users WHERE user_id = ANY($1::text[])"
_DELETE_WORDS = "DELETE FROM directory_words WHERE user_id = ANY($1::text[])"
_INSERT_WORDS = """
    INSERT INTO directory_words (user_id, word) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING
"""
_OPEN = """
    INSERT INTO directory_open_rooms (room_nid)
    SELECT room_nid FROM rooms WHERE room_nid = ANY($1::bigint[]) ORDER BY room_nid FOR KEY SHARE
    ON CONFLICT DO NOTHING RETURNING room_nid
"""
_CLOSE = "DELETE FROM directory_open_rooms WHERE room_nid = ANY($1::bigint[])"
_ARE_OPEN = "SELECT room_nid FROM directory_open_rooms WHERE room_nid = ANY($1::bigint[])"
_SEARCH = """
    WITH matching AS (
        SELECT w.user_id, count(DISTINCT w.word) FILTER (WHERE w.word = t.term) AS exact
        FROM unnest($2::text[], $3::text[]) AS t(term, upto)
        JOIN directory_words w ON w.word >= t.term AND w.word < t.upto
        GROUP BY w.user_id HAVING count(DISTINCT t.term) = cardinality($2::text[])
    )
    SELECT d.user_id, d.display_name, d.avatar_url
    FROM matching m JOIN directory_users d USING (user_id) LEFT JOIN users u USING (user_id)
    WHERE (u.user_id IS NULL OR NOT (u.is_deactivated OR u.is_locked OR u.is_guest))
        AND EXISTS (
            SELECT FROM memberships theirs
            WHERE theirs.user_id = d.user_id AND theirs.membership = 'join' AND (
                EXISTS (SELECT FROM directory_open_rooms o WHERE o.room_nid = theirs.room_nid)
                OR EXISTS (
                    SELECT FROM memberships mine
                    WHERE mine.room_nid = theirs.room_nid AND mine.user_id = $1 AND mine.membership = 'join'
                        AND d.user_id <> $1
                )
            )
        )
    ORDER BY m.exact DESC, d.display_name IS NULL, d.user_id LIMIT $4
"""


async def concerning(db: Reader, after: int, upto: int, types: Collection[str], limit: int) -> list[int]:
    """State events of these types with after < position <= upto, in order: for catching up."""
    return [row["event_nid"] for row in await db.fetch(_CONCERNING, after, upto, list(types), limit)]


async def by_ids(db: Reader, user_ids: Collection[UserId]) -> dict[UserId, Found]:
    return {found.user_id: found for row in await db.fetch(_BY_IDS, list(user_ids)) for found in [_found(row)]}


async def replace(tx: Tx, users: Sequence[Found], words: Mapping[UserId, Collection[str]]) -> None:
    """Sets what is shown of these users, and all words that find them."""
    await tx.execute(
        _UPSERT,
        [user.user_id for user in users],
        [user.display_name for user in users],
        [user.avatar_url for user in users],
    )
    await tx.execute(_DELETE_WORDS, list(words))
    pairs = [(user_id, word) for user_id, found in words.items() for word in found]
    await tx.execute(_INSERT_WORDS, [pair[0] for pair in pairs], [pair[1] for pair in pairs])


async def delete(tx: Tx, user_ids: Collection[UserId]) -> None:
    await tx.execute(_DELETE, list(user_ids))
    await tx.execute(_DELETE_WORDS, list(user_ids))


async def set_open(tx: Tx, opened: Collection[int], closed: Collection[int]) -> set[int]:
    """Takes in which rooms are open now. Those among them that weren't before."""
    if closed:
        await tx.execute(_CLOSE, list(closed))
    return {row["room_nid"] for row in await tx.fetch(_OPEN, list(opened))} if opened else set()


async def open_rooms(db: Reader, room_nids: Collection[int]) -> set[int]:
    """Those of these rooms that are open."""
    return {row["room_nid"] for row in await db.fetch(_ARE_OPEN, list(room_nids))}


async def search(db: Reader, viewer: UserId, terms: Sequence[str], limit: int) -> list[Found]:
    """Whom the viewer may see and each term begins a word of, best first. One range of the index a term."""
    rows = await db.fetch(_SEARCH, viewer, list(terms), [term + _LAST for term in terms], limit)
    return [_found(row) for row in rows]


def _found(row: Row) -> Found:
    return Found(UserId(row["user_id"]), row["display_name"], row["avatar_url"])
