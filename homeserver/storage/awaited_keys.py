"""The table `awaited_keys`: servers whose keys couldn't be had when the state before our join was checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, ServerName
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """`pdu` is the canonical JSON of an event that the server signed; `tries` says how often its key was looked for."""

    room_nid: int
    room_id: RoomId
    server_name: ServerName
    pdu: bytes
    tries: int


_PUT = """
    INSERT INTO awaited_keys (room_nid, server_name, pdu)
    SELECT $1, * FROM unnest($2::text[], $3::bytea[]) ON CONFLICT DO NOTHING
"""
_DUE = """
    SELECT a.room_nid, r.room_id, a.server_name, a.pdu, a.tries FROM awaited_keys a JOIN rooms r USING (room_nid)
    WHERE a.due_ms <= $1 OR a.due_ms > $3 ORDER BY a.due_ms LIMIT $2
"""
_PUT_OFF = """
    UPDATE awaited_keys SET tries = tries + 1, due_ms = later.due_ms
    FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS later(room_nid, server_name, due_ms)
    WHERE awaited_keys.room_nid = later.room_nid AND awaited_keys.server_name = later.server_name
"""
_HEARD = "UPDATE awaited_keys SET due_ms = 0 WHERE server_name = ANY($1::text[])"
_GIVE_UP = "DELETE FROM awaited_keys WHERE room_nid = $1 AND server_name = ANY($2::text[])"
_FORGET = "DELETE FROM awaited_keys WHERE room_nid = $1"
_LEFT = "SELECT count(*) FROM (SELECT FROM awaited_keys WHERE room_nid = $1 LIMIT 1) AS found"


async def put(tx: Tx, room_nid: int, pdus: Mapping[ServerName, bytes]) -> None:
    """These are to be tried at once."""
    await tx.execute(_PUT, room_nid, list(pdus), list(pdus.values()))


async def due(db: Reader, now_ms: int, limit: int, *, wait_ms_max: int) -> list[Awaited]:
    """Those that have waited long enough, the longest first.

    One that would wait for more than `wait_ms_max` was put off by a clock that has been put back since: it is due.
    """
    return [
        Awaited(
            room_nid=row["room_nid"],
            room_id=RoomId(row["room_id"]),
            server_name=ServerName(row["server_name"]),
            pdu=row["pdu"],
            tries=row["tries"],
        )
        for row in await db.fetch(_DUE, now_ms, limit, now_ms + wait_ms_max)
    ]


async def put_off(tx: Tx, rows: Sequence[Awaited], due_ms: Sequence[int]) -> None:
    """Has these tried again not before their times."""
    await tx.execute(_PUT_OFF, [row.room_nid for row in rows], [row.server_name for row in rows], list(due_ms))


async def heard(tx: Tx, servers: Collection[ServerName]) -> None:
    """These are up: they are to be tried now."""
    await tx.execute(_HEARD, list(servers))


async def give_up(tx: Tx, room_nid: int, servers: Collection[ServerName]) -> bool:
    """Waits for these no longer. Whether it waits for no other in this room either."""
    await tx.execute(_GIVE_UP, room_nid, list(servers))
    left: int = await tx.fetchval(_LEFT, room_nid)
    return left == 0


async def forget(tx: Tx, room_nid: int) -> None:
    await tx.execute(_FORGET, room_nid)
