"""The tables `sliding_connections` and `sliding_states`: what was sent on each sliding sync connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import DeviceId, UserId
from homeserver.storage.database import Database, Reader, Tx


@dataclass(frozen=True, slots=True)
class StateRow:
    """One state: a change of its parent, or all there is where that is None."""

    number: int
    parent: int | None
    data: bytes


_OPEN = """
    WITH kept AS (
        INSERT INTO sliding_connections (user_id, device_id, conn_id, used_ts) VALUES ($1, $2, $3, $4)
        ON CONFLICT (user_id, device_id, conn_id) DO UPDATE SET used_ts = excluded.used_ts
        RETURNING connection_nid
    ), dropped AS (
        DELETE FROM sliding_connections WHERE connection_nid IN (
            SELECT old.connection_nid FROM sliding_connections old
            WHERE old.user_id = $1 AND old.device_id = $2 AND old.conn_id <> $3 ORDER BY old.used_ts DESC OFFSET $5
        )
    )
    SELECT connection_nid FROM kept
"""
_FIND = """
    UPDATE sliding_connections SET used_ts = $4 WHERE user_id = $1 AND device_id = $2 AND conn_id = $3
    RETURNING connection_nid
"""
_STATES = "SELECT number, parent, data FROM sliding_states WHERE connection_nid = $1"
# A connection that was dropped meanwhile takes nothing more.
_INSERT = """
    INSERT INTO sliding_states (connection_nid, number, parent, data)
    SELECT connection_nid, $2, $3, $4 FROM sliding_connections WHERE connection_nid = $1 FOR KEY SHARE
    ON CONFLICT DO NOTHING
"""
_DELETE_STATES = "DELETE FROM sliding_states WHERE connection_nid = $1 AND number < $2"
_DELETE_DEVICES = "DELETE FROM sliding_connections WHERE user_id = $1 AND device_id = ANY($2::text[])"
_DELETE_UNUSED = "DELETE FROM sliding_connections WHERE used_ts < $1"


async def open_connection(
    db: Database, user_id: UserId, device_id: str, conn_id: str, now_ms: int, others_max: int
) -> int:
    """The connection's number; of the device's other ones only the `others_max` that were used last are kept."""
    nid: int = await db.fetchval(_OPEN, user_id, device_id, conn_id, now_ms, others_max)
    return nid


async def find(db: Database, user_id: UserId, device_id: str, conn_id: str, now_ms: int) -> int | None:
    nid: int | None = await db.fetchval(_FIND, user_id, device_id, conn_id, now_ms)
    return nid


async def states(db: Reader, connection_nid: int) -> list[StateRow]:
    return [StateRow(row["number"], row["parent"], row["data"]) for row in await db.fetch(_STATES, connection_nid)]


async def insert_state(db: Database, connection_nid: int, row: StateRow) -> None:
    await db.execute(_INSERT, connection_nid, row.number, row.parent, row.data)


async def delete_states_before(db: Database, connection_nid: int, number: int) -> None:
    await db.execute(_DELETE_STATES, connection_nid, number)


async def delete_of_devices(tx: Tx, user_id: UserId, device_ids: Sequence[DeviceId]) -> None:
    await tx.execute(_DELETE_DEVICES, user_id, list(device_ids))


async def delete_unused(tx: Tx, before_ms: int) -> None:
    """Drops the connections that nobody has used since."""
    await tx.execute(_DELETE_UNUSED, before_ms)
