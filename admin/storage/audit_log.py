"""The tables `audit_log` and `audit_head`: what operators did, in an unbroken order."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One entry as it is kept. `before` and `after` are canonical JSON; `ts` in milliseconds."""

    entry_nid: int
    ts: int
    actor: str
    action: str
    target: str
    reason: str | None
    before: str | None
    after: str | None
    address: str | None
    request_id: str | None
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries are asked for. None asks for all; times in milliseconds, `until_ts` not included."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    from_ts: int | None = None
    until_ts: int | None = None


_COLUMNS = "entry_nid, ts, actor, action, target, reason, before, after, address, request_id, previous, hash"
_HEAD_LOCKED = "SELECT entry_nid, hash FROM audit_head FOR UPDATE"
_HEAD = "SELECT entry_nid, hash FROM audit_head"
_SET_HEAD = "UPDATE audit_head SET entry_nid = $1, hash = $2"
_INSERT = f"INSERT INTO audit_log ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
_PAGE = f"""
    SELECT {_COLUMNS} FROM audit_log
    WHERE entry_nid < $1
        AND ($2::text IS NULL OR actor = $2) AND ($3::text IS NULL OR action = $3)
        AND ($4::text IS NULL OR target = $4)
        AND ($5::bigint IS NULL OR ts >= $5) AND ($6::bigint IS NULL OR ts < $6)
    ORDER BY entry_nid DESC LIMIT $7
"""
_AFTER = f"SELECT {_COLUMNS} FROM audit_log WHERE entry_nid > $1 ORDER BY entry_nid LIMIT $2"


async def lock_head(tx: Tx) -> tuple[int, bytes]:
    """Number and hash of the newest entry; nobody else adds one until the transaction ends."""
    row = await tx.fetchrow(_HEAD_LOCKED)
    assert row is not None
    return row["entry_nid"], row["hash"]


async def head(db: Reader) -> tuple[int, bytes]:
    """Number and hash of the newest entry."""
    row = await db.fetchrow(_HEAD)
    assert row is not None
    return row["entry_nid"], row["hash"]


async def append(tx: Tx, row: AuditRow) -> None:
    """Adds an entry; the head must be locked."""
    await tx.execute(
        _INSERT,
        row.entry_nid,
        row.ts,
        row.actor,
        row.action,
        row.target,
        row.reason,
        row.before,
        row.after,
        row.address,
        row.request_id,
        row.previous,
        row.hash,
    )
    await tx.execute(_SET_HEAD, row.entry_nid, row.hash)


async def page(db: Reader, wanted: AuditFilter, below: int, limit: int) -> list[AuditRow]:
    """Entries with a number below `below`, the newest first. One index scan."""
    rows = await db.fetch(
        _PAGE, below, wanted.actor, wanted.action, wanted.target, wanted.from_ts, wanted.until_ts, limit
    )
    return [_row(row) for row in rows]


async def after(db: Reader, entry_nid: int, limit: int) -> list[AuditRow]:
    """Entries after this one, the oldest first."""
    return [_row(row) for row in await db.fetch(_AFTER, entry_nid, limit)]


def _row(row: Row) -> AuditRow:
    return AuditRow(**row)
