"""The tables `search_generations` and `search_repairs`, and what a comparison reads of the events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import EventId
from homeserver.storage.database import Reader, Tx
from search.tiers import Gone

_GENERATIONS = """
    SELECT generation, state, upto, changed_ms FROM search_generations WHERE engine = $1 ORDER BY generation
"""
_WANT = """
    INSERT INTO search_generations (engine, generation, state, changed_ms)
    SELECT $1, coalesce(max(generation), 0) + 1, 'wanted', $2 FROM search_generations WHERE engine = $1
    ON CONFLICT DO NOTHING
"""
_BUILD = """
    UPDATE search_generations SET state = 'building', upto = $3, changed_ms = $4
    WHERE engine = $1 AND generation = $2
"""
_RETIRE = "UPDATE search_generations SET state = 'old', changed_ms = $2 WHERE engine = $1 AND state = 'live'"
_RETIRE_FIRST = """
    INSERT INTO search_generations (engine, generation, state, changed_ms) VALUES ($1, 0, 'old', $2)
    ON CONFLICT DO NOTHING
"""
_ENLIVEN = """
    UPDATE search_generations SET state = 'live', changed_ms = $3 WHERE engine = $1 AND generation = $2
"""
_FORGET = "DELETE FROM search_generations WHERE engine = $1 AND generation = $2"
_FORGET_CURSOR = "DELETE FROM journal_cursors WHERE consumer = $1"
_FORGET_LETTERS = "DELETE FROM search_dead_letters WHERE consumer = $1"
_NOTE_REPAIR = """
    INSERT INTO search_repairs (engine, event_nid, room_nid, event_id, is_gone)
    SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::boolean[])
    ON CONFLICT (engine, event_nid) DO UPDATE SET is_gone = excluded.is_gone, event_id = excluded.event_id
"""
_REPAIRS = """
    SELECT event_nid, room_nid, event_id, is_gone FROM search_repairs WHERE engine = $1 ORDER BY event_nid LIMIT $2
"""
_IS_WANTED = """
    SELECT EXISTS (SELECT FROM search_repairs WHERE engine = $1)
        OR EXISTS (SELECT FROM search_generations WHERE engine = $1 AND state <> 'live')
"""
_REPAIRED = "DELETE FROM search_repairs WHERE engine = $1 AND event_nid = ANY($2::bigint[])"
_COUNT_REPAIRS = "SELECT count(*) FROM search_repairs WHERE engine = $1"
_OF_ROOM = """
    SELECT event_nid FROM events
    WHERE room_nid = $1 AND event_nid > $2 AND ordering IS NOT NULL AND flags = 0 ORDER BY event_nid LIMIT $3
"""
_ROOM_IDS = "SELECT room_nid, room_id FROM rooms WHERE room_nid = ANY($1::bigint[])"
_NEWEST = "SELECT coalesce(max(event_nid), 0) FROM events"
_BEHIND = "SELECT count(*) FROM events WHERE event_nid > $1 AND ordering IS NOT NULL AND flags = 0"


@dataclass(frozen=True, slots=True)
class Generation:
    """`state` is wanted, building, live or old."""

    number: int
    state: str
    upto: int
    changed_ms: int


@dataclass(frozen=True, slots=True)
class Repair:
    event_nid: int
    room_nid: int
    event_id: str
    is_gone: bool

    def as_gone(self, version: int) -> Gone:
        return Gone(self.event_nid, self.room_nid, version, self.event_id, None)


async def generations(db: Reader, engine: str) -> list[Generation]:
    """All that there are or may be left of, by number."""
    rows = await db.fetch(_GENERATIONS, engine)
    return [Generation(row["generation"], row["state"], row["upto"], row["changed_ms"]) for row in rows]


def live_number(known: Sequence[Generation]) -> int:
    """Which one answers."""
    return next((one.number for one in known if one.state == "live"), 0)


async def is_anything_wanted(db: Reader, engine: str) -> bool:
    """Whether there are repairs, or generations beside the live one: what is asked for, built or to be removed."""
    return bool(await db.fetchval(_IS_WANTED, engine))


async def want(tx: Tx, engine: str, now_ms: int) -> None:
    """Asks for the next generation, unless one is on its way."""
    await tx.execute(_WANT, engine, now_ms)


async def build(tx: Tx, engine: str, number: int, upto: int, now_ms: int) -> None:
    await tx.execute(_BUILD, engine, number, upto, now_ms)


async def enliven(tx: Tx, engine: str, number: int, now_ms: int) -> None:
    """This one answers; the one that did is old."""
    await tx.execute(_RETIRE, engine, now_ms)
    await tx.execute(_RETIRE_FIRST, engine, now_ms)
    await tx.execute(_ENLIVEN, engine, number, now_ms)


async def forget(tx: Tx, engine: str, number: int) -> None:
    await tx.execute(_FORGET, engine, number)


async def forget_cursor(tx: Tx, consumer: str) -> None:
    """And what its index wouldn't take."""
    await tx.execute(_FORGET_CURSOR, consumer)
    await tx.execute(_FORGET_LETTERS, consumer)


async def note_repairs(tx: Tx, engine: str, wanted: Sequence[Repair]) -> None:
    columns = zip(*((one.event_nid, one.room_nid, one.event_id, one.is_gone) for one in wanted), strict=True)
    if wanted:
        await tx.execute(_NOTE_REPAIR, engine, *(list(column) for column in columns))


async def repairs(db: Reader, engine: str, limit: int) -> list[Repair]:
    rows = await db.fetch(_REPAIRS, engine, limit)
    return [Repair(row["event_nid"], row["room_nid"], row["event_id"], row["is_gone"]) for row in rows]


async def repaired(tx: Tx, engine: str, nids: Collection[int]) -> None:
    await tx.execute(_REPAIRED, engine, list(nids))


async def count_repairs(db: Reader, engine: str) -> int:
    return int(await db.fetchval(_COUNT_REPAIRS, engine))


async def of_room(db: Reader, room_nid: int, after: int, limit: int) -> list[int]:
    """Numbers of the room's timeline events behind a number, in order."""
    return [row["event_nid"] for row in await db.fetch(_OF_ROOM, room_nid, after, limit)]


async def room_ids(db: Reader, nids: Collection[int]) -> dict[int, str]:
    return {row["room_nid"]: row["room_id"] for row in await db.fetch(_ROOM_IDS, list(nids))}


async def newest(db: Reader) -> int:
    """The highest number of an event."""
    return int(await db.fetchval(_NEWEST))


async def behind(db: Reader, position: int) -> int:
    """How many events of timelines came after a position."""
    return int(await db.fetchval(_BEHIND, position))


def ids_of(wanted: Sequence[Repair]) -> list[EventId]:
    """Those to be written again."""
    return [EventId(one.event_id) for one in wanted if not one.is_gone]
