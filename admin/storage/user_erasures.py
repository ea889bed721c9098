"""The table `user_erasures`, and what erasing a user does to events, invites and files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.storage.bodies import whole
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureRow:
    """One wish. `options` and `receipt` are JSON objects; times in milliseconds."""

    erasure_id: str
    user_id: UserId
    options: str
    asked_by: UserId
    asked_ts: int
    reason: str
    state: str  # waiting (for a hold's end), begun or done
    job_id: str | None
    receipt: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An event of the user, or about their membership. `type` is None for what is no state."""

    event_nid: int
    event_id: EventId
    room_id: RoomId
    version: str
    type: str | None
    json: bytes


_COLUMNS = "erasure_id, user_id, options, asked_by, asked_ts, reason, state, job_id, receipt"
_INSERT = """
    INSERT INTO user_erasures (erasure_id, user_id, options, asked_by, asked_ts, reason, state)
    VALUES ($1, $2, $3, $4, $5, $6, 'waiting') ON CONFLICT DO NOTHING
"""
_ONE = f"SELECT {_COLUMNS} FROM user_erasures WHERE erasure_id = $1"
_PAGE = f"""
    SELECT {_COLUMNS} FROM user_erasures WHERE ($1::text IS NULL OR user_id = $1)
    ORDER BY asked_ts DESC, erasure_id DESC LIMIT $2
"""
# What is said in a held room stays, so whoever was in one waits as a whole.
_READY = f"""
    SELECT {_COLUMNS} FROM user_erasures e WHERE state = 'waiting'
        AND NOT EXISTS (SELECT FROM held_users h WHERE h.user_id = e.user_id)
        AND NOT EXISTS (
            SELECT FROM held_rooms JOIN rooms USING (room_id) JOIN memberships m USING (room_nid)
            WHERE m.user_id = e.user_id
        )
    ORDER BY asked_ts LIMIT $1
"""
_BEGIN = "UPDATE user_erasures SET state = 'begun', job_id = $2 WHERE erasure_id = $1 AND state = 'waiting'"
_BACK = """
    UPDATE user_erasures SET state = 'waiting', job_id = NULL
    WHERE user_id = $1 AND state = 'begun' AND NOT EXISTS (
        SELECT FROM admin_jobs j WHERE j.kind = $2 AND j.target = $1 AND j.state IN ('scheduled', 'active')
    )
    RETURNING erasure_id
"""
_END = "UPDATE user_erasures SET state = 'done', receipt = $2 WHERE erasure_id = $1"

_UPTO = """
    SELECT max(event_nid) FROM (SELECT event_nid FROM events WHERE event_nid > $1 ORDER BY event_nid LIMIT $2) AS page
"""
_LAST = "SELECT coalesce(max(event_nid), 0) FROM events"
_SAID = """
    SELECT e.event_nid, e.event_id, r.room_id, r.version, k.type, e.json
    FROM events e JOIN rooms r USING (room_nid) LEFT JOIN state_keys k USING (key_nid)
    WHERE e.event_nid > $1 AND e.event_nid <= $2
        AND (e.sender = $3 OR e.key_nid = (
            SELECT key_nid FROM state_keys WHERE type = 'm.room.member' AND state_key = $3
        ))
    ORDER BY e.event_nid
"""
# A device's name for its transactions is the user's own as well.
_ERASE = """
    UPDATE events SET json = erased.json, device_id = NULL, txn_id = NULL
    FROM unnest($1::bigint[], $2::bytea[]) AS erased(event_nid, json) WHERE events.event_nid = erased.event_nid
"""
_ERASE_HANGING = (
    "DELETE FROM event_relations WHERE event_nid = ANY($1::bigint[])",
    "DELETE FROM media_links WHERE event_nid = ANY($1::bigint[])",
    "DELETE FROM event_erasures WHERE event_nid = ANY($1::bigint[])",
)
_STRIPPED = """
    SELECT event_nid, events FROM stripped_states WHERE position(convert_to($1, 'UTF8') IN events) > 0
"""
_PUT_STRIPPED = """
    UPDATE stripped_states SET events = new.events FROM unnest($1::bigint[], $2::bytea[]) AS new(event_nid, events)
    WHERE stripped_states.event_nid = new.event_nid
"""
_MEDIA = (
    "SELECT media_id, coalesce(size_bytes, 0) AS size_bytes FROM media WHERE user_id = $1 ORDER BY media_id LIMIT $2"
)
_OVERVIEWS = """
    UPDATE room_overviews SET name = CASE WHEN 'm.room.name' = ANY($2::text[]) THEN NULL ELSE name END,
        topic = CASE WHEN 'm.room.topic' = ANY($2::text[]) THEN NULL ELSE topic END,
        avatar = CASE WHEN 'm.room.avatar' = ANY($2::text[]) THEN NULL ELSE avatar END
    WHERE room_id = $1
"""


async def insert(tx: Tx, row: ErasureRow) -> bool:
    """False where one of this user is open already."""
    done = await tx.execute(_INSERT, row.erasure_id, row.user_id, row.options, row.asked_by, row.asked_ts, row.reason)
    return done == "INSERT 0 1"


async def one(db: Reader, erasure_id: str) -> ErasureRow | None:
    row = await db.fetchrow(_ONE, erasure_id)
    return _erasure(row) if row is not None else None


async def page(db: Reader, user_id: str | None, limit: int) -> list[ErasureRow]:
    """The newest first."""
    return [_erasure(row) for row in await db.fetch(_PAGE, user_id, limit)]


async def ready(db: Reader, limit: int) -> list[ErasureRow]:
    """Those that wait and that no legal hold keeps, the oldest first."""
    return [_erasure(row) for row in await db.fetch(_READY, limit)]


async def begin(tx: Tx, erasure_id: str, job_id: str) -> None:
    await tx.execute(_BEGIN, erasure_id, job_id)


async def back(tx: Tx, user_id: UserId, job_kind: str) -> str | None:
    """One whose job has ended, and not well, waits again: which."""
    erasure_id: str | None = await tx.fetchval(_BACK, user_id, job_kind)
    return erasure_id


async def end(tx: Tx, erasure_id: str, receipt: str) -> None:
    await tx.execute(_END, erasure_id, receipt)


async def last_event(db: Reader) -> int:
    return int(await db.fetchval(_LAST))


async def page_end(db: Reader, after: int, rows: int) -> int | None:
    """The number of the last of the next so many events; None: there are no more."""
    upto: int | None = await db.fetchval(_UPTO, after, rows)
    return upto


async def said(db: Reader, user_id: UserId, after: int, rows: int) -> tuple[list[Said], int | None, int]:
    """What of the next so many events is the user's, up to where they reach (None: there are no more), and how many
    more of the user's have bodies that can't be read now.
    """
    upto = await page_end(db, after, rows)
    if upto is None:
        return [], None, 0
    read = await db.fetch(_SAID, after, upto, user_id)
    found = [Said(**row) for row in await whole(db, read)]
    return found, upto, len(read) - len(found)


async def erase(tx: Tx, left: Mapping[int, bytes]) -> None:
    """Puts what is left of these events (number → canonical JSON) in the place of what they said."""
    await tx.execute(_ERASE, list(left), list(left.values()))
    for sql in _ERASE_HANGING:
        await tx.execute(sql, list(left))


async def stripped_naming(db: Reader, user_id: UserId) -> list[tuple[int, bytes]]:
    """(number, events) of what came with invites, where it names the user."""
    return [(row["event_nid"], row["events"]) for row in await db.fetch(_STRIPPED, user_id)]


async def put_stripped(tx: Tx, rows: Sequence[tuple[int, bytes]]) -> None:
    await tx.execute(_PUT_STRIPPED, [nid for nid, _ in rows], [events for _, events in rows])


async def media_of(db: Reader, user_id: UserId, limit: int) -> dict[str, int]:
    """Ids of what the user has uploaded → bytes; waiting ones too."""
    return {row["media_id"]: row["size_bytes"] for row in await db.fetch(_MEDIA, user_id, limit)}


async def empty_overview(tx: Tx, room_id: RoomId, types: Collection[str]) -> None:
    """Takes what these kinds of state said out of the overview of a room."""
    await tx.execute(_OVERVIEWS, room_id, list(types))


def _erasure(row: Row) -> ErasureRow:
    return ErasureRow(**row)
