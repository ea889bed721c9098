"""Rewriting the database's files, so that no byte is left of what was deleted from them.

PostgreSQL marks what is deleted, and writes over it some day. `VACUUM FULL` writes a table's files anew, one table at a
time, which nobody can read or write meanwhile; what the write-ahead log holds goes with a checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

from admin.storage.personal import OWN
from homeserver.storage.database import Database, Reader

# Whatever people say or show passes through these, beside those that have rows of their own of a user: clients name
# devices, keys and transactions as they like. The statistics hold samples of values.
_OTHERS: Sequence[str] = (
    "events",
    "event_relations",
    "stripped_states",
    "room_overviews",
    "room_aliases",
    "media",
    "url_previews",
    "appservice_queues",
    "sliding_states",
    "spam_held",
    "state_keys",
    "webhook_alerts",
)
TABLES: Sequence[str] = (*_OTHERS, *sorted(OWN))
_SIZE = "SELECT coalesce(pg_total_relation_size(to_regclass($1)), 0)"
_MAY_LOG = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
# Files of the log that are kept to be written over, with what they held before.
_OLD_LOG = (
    "SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name > pg_walfile_name(pg_current_wal_lsn())"
)
_LOG_TURNS_MAX = 200


async def size(db: Reader, table: str) -> int:
    """Bytes of the table with its indexes; 0 for one that isn't there."""
    return int(await db.fetchval(_SIZE, table))


async def rewrite(db: Database, table: str) -> None:
    """Writes the table's files anew. Nobody can use it meanwhile. `table` is one of ours."""
    await db.maintain(f"VACUUM (FULL, ANALYZE) {table}")


async def may_clear_log(db: Reader) -> bool:
    """Whether the database lets us: in Hansa's own it does."""
    may: bool | None = await db.fetchval(_MAY_LOG)
    return bool(may)


async def clear_log(db: Database) -> None:
    """Has the write-ahead log's old files deleted rather than kept for later, and those kept earlier written over."""
    await db.maintain("VACUUM FULL pg_catalog.pg_statistic")
    await db.execute("ALTER SYSTEM SET wal_recycle = off")
    await db.execute("SELECT pg_reload_conf()")
    try:
        for _ in range(_LOG_TURNS_MAX):
            await db.maintain("CHECKPOINT")
            # The last of the kept files is written over too: its end would stay as it was while it is in use.
            is_last = not await db.fetchval(_OLD_LOG)
            await db.fetchval("SELECT pg_switch_wal()::text")
            await db.execute("SELECT pg_logical_emit_message(false, 'hansa', 'scrubbed')")
            if is_last:
                break
        await db.maintain("CHECKPOINT")
    finally:
        await db.execute("ALTER SYSTEM RESET wal_recycle")
        await db.execute("SELECT pg_reload_conf()")
