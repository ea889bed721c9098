"""The tables `appservice_queues` and `appservice_rooms`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import DeviceId, RoomId, UserId
from homeserver.storage.database import Database, Reader, Row, Tx


@dataclass(frozen=True, slots=True)
class Pending:
    """A transaction that wasn't acknowledged yet."""

    number: int
    body: bytes
    upto: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message for a device of a service's user. `message` is JSON."""

    user_id: UserId
    device_id: DeviceId
    position: int
    number: int
    message: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """How far one application service has come."""

    position: int
    number: int = 0
    pending: Pending | None = None
    failures: int = 0
    retry_ts: int = 0


_GET = """
    SELECT position, number, pending, pending_upto, failures, retry_ts FROM appservice_queues WHERE appservice_id = $1
"""
_NAMING = """
    SELECT appservice_id, position, number, pending, pending_upto, failures, retry_ts FROM appservice_queues
    WHERE pending IS NOT NULL AND position(convert_to($1, 'UTF8') IN pending) > 0
"""
_PUT = """
    INSERT INTO appservice_queues (appservice_id, position, number, pending, pending_upto, failures, retry_ts)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (appservice_id) DO UPDATE SET
        position = excluded.position, number = excluded.number, pending = excluded.pending,
        pending_upto = excluded.pending_upto, failures = excluded.failures, retry_ts = excluded.retry_ts
"""
_LIST = """
    INSERT INTO appservice_rooms (appservice_id, network_id, room_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
"""
_UNLIST = "DELETE FROM appservice_rooms WHERE appservice_id = $1 AND network_id = $2 AND room_id = $3"
_LISTED = """
    SELECT DISTINCT room_id FROM appservice_rooms
    WHERE ($1::text IS NULL OR network_id = $1) AND ($2::text IS NULL OR appservice_id = $2)
"""
_COUNT = "SELECT count(*) FROM appservice_rooms WHERE appservice_id = $1"
_TO_DEVICE = """
    SELECT user_id, device_id, position, number, message FROM to_device_messages
    WHERE user_id = ANY($1::text[]) AND position <= $2 ORDER BY position, number LIMIT $3
"""
_TAKE = """
    DELETE FROM to_device_messages m USING unnest($1::text[], $2::text[], $3::bigint[], $4::integer[])
        AS taken(user_id, device_id, position, number)
    WHERE (m.user_id, m.device_id, m.position, m.number)
        = (taken.user_id, taken.device_id, taken.position, taken.number)
"""
_JOINED = """
    SELECT m.user_id, r.room_id FROM memberships m JOIN rooms r USING (room_nid)
    WHERE m.user_id = ANY($1::text[]) AND m.membership = 'join'
"""
_MEMBER_EVENTS = """
    SELECT e.ordering, e.replaces, k.state_key, r.room_id
    FROM events e JOIN state_keys k USING (key_nid) JOIN rooms r USING (room_nid)
    WHERE e.event_nid > $1 AND e.ordering > $1 AND e.flags = 0 AND k.type = 'm.room.member'
        AND right(k.state_key, length($2)) = $2
    ORDER BY e.event_nid LIMIT $3
"""
# In rooms that this server isn't in: they have no place in a timeline. Of each user and room the newest.
_OUTSIDE_MEMBERS = """
    SELECT e.event_nid, m.user_id
    FROM events e JOIN state_keys k USING (key_nid)
    JOIN memberships m ON m.room_nid = e.room_nid AND m.user_id = k.state_key AND m.event_nid = e.event_nid
    WHERE e.event_nid > $1 AND e.ordering IS NULL AND k.type = 'm.room.member'
        AND right(k.state_key, length($2)) = $2
    ORDER BY e.event_nid LIMIT $3
"""
_WAITING_USERS = "SELECT DISTINCT user_id FROM to_device_messages"


async def queue(db: Reader, appservice_id: str) -> QueueRow | None:
    """None for one that was never sent anything."""
    row = await db.fetchrow(_GET, appservice_id)
    return _queue(row) if row is not None else None


async def pending_naming(db: Reader, user_id: UserId) -> list[tuple[str, QueueRow]]:
    """(service, its queue) of those whose waiting transaction names a user."""
    return [(row["appservice_id"], _queue(row)) for row in await db.fetch(_NAMING, user_id)]


def _queue(row: Row) -> QueueRow:
    pending = Pending(row["number"], row["pending"], row["pending_upto"]) if row["pending"] is not None else None
    return QueueRow(
        position=row["position"],
        number=row["number"],
        pending=pending,
        failures=row["failures"],
        retry_ts=row["retry_ts"],
    )


@dataclass(frozen=True, slots=True)
class Moved:
    """A member event of a user of this server. `replaces` is the number of their member event before."""

    room_id: RoomId
    user_id: UserId
    position: int
    replaces: int | None


async def member_events(db: Reader, after: int, server_name: str, limit: int) -> list[Moved]:
    """Those of this server's users after a position, oldest first."""
    return [
        Moved(RoomId(row["room_id"]), UserId(row["state_key"]), row["ordering"], row["replaces"])
        for row in await db.fetch(_MEMBER_EVENTS, after, ":" + server_name, limit)
    ]


async def outside_members(db: Reader, after: int, server_name: str, limit: int) -> list[tuple[int, UserId]]:
    """(event, user) of the memberships of this server's users in rooms elsewhere, after a position, oldest first."""
    rows = await db.fetch(_OUTSIDE_MEMBERS, after, ":" + server_name, limit)
    return [(row["event_nid"], UserId(row["user_id"])) for row in rows]


async def put_queue(db: Tx | Database, appservice_id: str, row: QueueRow) -> None:
    await db.execute(
        _PUT,
        appservice_id,
        row.position,
        row.number,
        row.pending.body if row.pending else None,
        row.pending.upto if row.pending else None,
        row.failures,
        row.retry_ts,
    )


async def list_room(tx: Tx, appservice_id: str, network_id: str, room_id: RoomId) -> None:
    await tx.execute(_LIST, appservice_id, network_id, room_id)


async def unlist_room(tx: Tx, appservice_id: str, network_id: str, room_id: RoomId) -> None:
    await tx.execute(_UNLIST, appservice_id, network_id, room_id)


async def count_listed(db: Reader, appservice_id: str) -> int:
    found: int = await db.fetchval(_COUNT, appservice_id)
    return found


async def listed(db: Reader, network_id: str | None, appservice_id: str | None) -> list[RoomId]:
    """The rooms that are listed for one network of one application service, or for any."""
    return [RoomId(row["room_id"]) for row in await db.fetch(_LISTED, network_id, appservice_id)]


async def waiting_users(db: Reader) -> list[str]:
    """Users for whose devices messages wait: one scan, for when the server starts."""
    return [row["user_id"] for row in await db.fetch(_WAITING_USERS)]


async def to_device(db: Reader, user_ids: Collection[UserId], upto: int, limit: int) -> list[Waiting]:
    """The oldest messages for the devices of these users. One query."""
    rows = await db.fetch(_TO_DEVICE, list(user_ids), upto, limit)
    return [
        Waiting(UserId(row["user_id"]), DeviceId(row["device_id"]), row["position"], row["number"], row["message"])
        for row in rows
    ]


async def take(tx: Tx, messages: Sequence[Waiting]) -> None:
    """Deletes messages that were put into a transaction, in the database transaction that keeps it."""
    await tx.execute(
        _TAKE,
        [message.user_id for message in messages],
        [message.device_id for message in messages],
        [message.position for message in messages],
        [message.number for message in messages],
    )


async def joined_rooms(db: Reader, user_ids: Collection[UserId]) -> dict[UserId, set[RoomId]]:
    """The rooms that each of these users is in. One query."""
    found: dict[UserId, set[RoomId]] = {}
    for row in await db.fetch(_JOINED, list(user_ids)):
        found.setdefault(UserId(row["user_id"]), set()).add(RoomId(row["room_id"]))
    return found
