"""What an export reads: events in the order of their places, files, and the keys that signatures verify with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.storage.bodies import Line, whole
from homeserver.storage.database import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An event as it is stored. `at` is where the next page goes on; times in milliseconds."""

    at: int
    event_id: EventId
    room_id: RoomId
    version: str
    place: int | None
    received_ms: int | None
    redacted_by: EventId | None
    json: bytes


@dataclass(frozen=True, slots=True)
class File:
    """A file that a user uploaded."""

    media_id: str
    object: str
    file_name: str | None


_COLUMNS = """
    e.event_id, r.room_id, r.version, e.ordering AS place, e.received_ms, redaction.event_id AS redacted_by, e.json
"""
# By the sender's clock or by ours: whoever sends with a wrong time is in the export of either.
_WITHIN = """
    ($3::bigint IS NULL OR greatest(e.origin_server_ts, e.received_ms) >= $3)
        AND ($4::bigint IS NULL OR least(e.origin_server_ts, e.received_ms) < $4)
"""
_OF_ROOM = f"""
    SELECT e.ordering AS at, {_COLUMNS} FROM events e JOIN rooms r USING (room_nid)
    LEFT JOIN events redaction ON redaction.event_nid = e.redacted_by
    WHERE e.room_nid = (SELECT room_nid FROM rooms WHERE room_id = $1) AND e.ordering > $2 AND e.flags = 0
        AND {_WITHIN} AND ($5::bigint IS NULL OR e.ordering >= $5) AND ($6::bigint IS NULL OR e.ordering <= $6)
    ORDER BY e.ordering LIMIT $7
"""
# State that came with a join from elsewhere, outside of the timeline.
_STATE_OF_ROOM = f"""
    SELECT e.event_nid AS at, {_COLUMNS} FROM events e JOIN rooms r USING (room_nid)
    LEFT JOIN events redaction ON redaction.event_nid = e.redacted_by
    WHERE e.room_nid = (SELECT room_nid FROM rooms WHERE room_id = $1) AND e.event_nid > $2 AND e.ordering IS NULL
        AND e.key_nid IS NOT NULL AND e.flags = 0
    ORDER BY e.event_nid LIMIT $3
"""
_OF_USER = f"""
    SELECT e.event_nid AS at, {_COLUMNS} FROM events e JOIN rooms r USING (room_nid)
    LEFT JOIN events redaction ON redaction.event_nid = e.redacted_by
    WHERE e.event_nid > $2 AND e.event_nid <= $5 AND e.sender = $1 AND e.flags = 0 AND {_WITHIN}
    ORDER BY e.event_nid
"""
_PLACE = """
    SELECT ordering FROM events JOIN rooms USING (room_nid)
    WHERE event_id = $1 AND room_id = $2 AND ordering IS NOT NULL
"""
_COUNT = "SELECT count(*) FROM events WHERE room_nid = (SELECT room_nid FROM rooms WHERE room_id = $1)"
_OWN_KEYS = "SELECT key_id, verify_key, expired_ms FROM own_signing_keys"
_KEYS = """
    SELECT server_name, key_id, verify_key, valid_until_ms FROM server_keys WHERE server_name = ANY($1::text[])
"""
_FILES = """
    SELECT m.media_id, f.object, m.file_name FROM media m JOIN media_files f USING (digest)
    WHERE m.user_id = $1 AND m.media_id > $2 ORDER BY m.media_id LIMIT $3
"""


async def of_room(
    db: Reader,
    room_id: RoomId,
    after: int,
    *,
    since_ms: int | None,
    until_ms: int | None,
    first: int | None,
    last: int | None,
    limit: int,
) -> list[Exported]:
    """Events of a room's timeline in order, from after a place on; `first` and `last` are places as well."""
    return _exported(await whole(db, await db.fetch(_OF_ROOM, room_id, after, since_ms, until_ms, first, last, limit)))


async def state_of_room(db: Reader, room_id: RoomId, after: int, limit: int) -> list[Exported]:
    """State events outside of the timeline, by number."""
    return _exported(await db.fetch(_STATE_OF_ROOM, room_id, after, limit))


async def of_user(
    db: Reader, user_id: UserId, after: int, upto: int, *, since_ms: int | None, until_ms: int | None
) -> list[Exported]:
    """What a user sent, of the events with numbers after < number <= upto."""
    return _exported(await whole(db, await db.fetch(_OF_USER, user_id, after, since_ms, until_ms, upto)))


async def place_of(db: Reader, event_id: EventId, room_id: RoomId) -> int | None:
    """The place of an event in its room's timeline."""
    place: int | None = await db.fetchval(_PLACE, event_id, room_id)
    return place


async def count_of_room(db: Reader, room_id: RoomId) -> int:
    return int(await db.fetchval(_COUNT, room_id))


async def own_keys(db: Reader) -> list[tuple[str, bytes, int | None]]:
    """(key id, key, until when it signed) of this server's keys, also those in use no more."""
    return [(row["key_id"], row["verify_key"], row["expired_ms"]) for row in await db.fetch(_OWN_KEYS)]


async def keys_of(db: Reader, servers: Collection[str]) -> list[tuple[str, str, bytes, int]]:
    """(server, key id, key, until when it is believed) of what is known of these servers."""
    rows = await db.fetch(_KEYS, list(servers))
    return [(row["server_name"], row["key_id"], row["verify_key"], row["valid_until_ms"]) for row in rows]


async def files_of(db: Reader, user_id: UserId, after: str, limit: int) -> list[File]:
    """What a user uploaded, by id."""
    return [File(**row) for row in await db.fetch(_FILES, user_id, after, limit)]


def _exported(rows: Sequence[Line]) -> list[Exported]:
    return [Exported(**row) for row in rows]
