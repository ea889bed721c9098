"""The table `search_messages`: what messages say, as words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.storage.database import Reader, Tx

CONSUMER = "search"

_AFTER = """
    SELECT event_nid FROM events
    WHERE event_nid > $1 AND event_nid <= $2 AND ordering IS NOT NULL AND flags = 0 ORDER BY event_nid LIMIT $3
"""
_DELETE = "DELETE FROM search_messages WHERE event_nid = ANY($1::bigint[])"
_UPSERT = """
    INSERT INTO search_messages (event_nid, room_nid, source_nid, key, tokens) VALUES ($1, $2, $3, $4, $5::text[])
    ON CONFLICT (event_nid) DO UPDATE SET source_nid = excluded.source_nid, key = excluded.key, tokens = excluded.tokens
"""
# The rooms stand among the words, so that one index answers for both.
_FIND = """
    SELECT event_nid, source_nid, 1.0 / (1.0 + ln(cardinality(tokens)::double precision)) AS rank FROM search_messages
    WHERE tokens @> $1::text[] AND tokens && $2::text[] AND key = ANY($3::text[]) AND event_nid <= $4
"""
_BY_TIME = " ORDER BY event_nid DESC LIMIT $5"
_BY_RANK = " ORDER BY rank DESC, event_nid DESC LIMIT $5"


@dataclass(frozen=True, slots=True)
class Document:
    """What is found of one event. `source_nid` says it."""

    event_nid: int
    room_nid: int
    source_nid: int
    key: str
    tokens: Sequence[str]


async def after(db: Reader, position: int, upto: int, limit: int) -> list[int]:
    """The numbers of timeline events with position < number <= upto, in order: for catching up."""
    return [row["event_nid"] for row in await db.fetch(_AFTER, position, upto, limit)]


async def replace(tx: Tx, documents: Sequence[Document], gone: Collection[int]) -> None:
    """Sets what is found of these events, and that nothing is of those that are `gone`."""
    if gone:
        await tx.execute(_DELETE, list(gone))
    rows = [
        (one.event_nid, one.room_nid, one.source_nid, one.key, [*one.tokens, _room(one.room_nid)]) for one in documents
    ]
    if rows:
        await tx.executemany(_UPSERT, rows)


async def find(
    db: Reader,
    terms: Sequence[str],
    room_nids: Collection[int],
    keys: Collection[str],
    upto: int,
    limit: int,
    *,
    by_rank: bool,
) -> list[tuple[int, int, float]]:
    """(event, the event that says it, rank) of what has all terms, best or newest first."""
    rows = await db.fetch(
        _FIND + (_BY_RANK if by_rank else _BY_TIME),
        list(terms),
        [_room(nid) for nid in room_nids],
        list(keys),
        upto,
        limit,
    )
    return [(row["event_nid"], row["source_nid"], row["rank"]) for row in rows]


def _room(room_nid: int) -> str:
    return f"!{room_nid}"
