"""Reports as operators work through them: the table `reports`."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """`target` is the id of what is reported; `json` the reported event's, where it is here."""

    report_id: int
    kind: str
    target: str
    room_id: str | None
    sender: str | None
    reporter: str
    reason: str
    received_ts: int
    name: str | None
    canonical_alias: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFilter:
    """Which reports are asked for. None asks for all."""

    kind: str
    reporter: str | None = None
    room_id: str | None = None
    sender: str | None = None
    backwards: bool = True
    rooms: frozenset[str] | None = None  # those in these alone


_COLUMNS = """
    r.report_id, r.kind, r.target, r.room_id, r.sender, r.reporter, r.reason, r.received_ts, o.name, o.canonical_alias
    FROM reports r LEFT JOIN room_overviews o ON o.room_id = r.room_id
"""
_MATCHES = """
    WHERE r.kind = $1 AND ($2::text IS NULL OR strpos(r.reporter, $2) > 0)
        AND ($3::text IS NULL OR strpos(r.room_id, $3) > 0) AND ($4::text IS NULL OR strpos(r.sender, $4) > 0)
        AND ($5::text[] IS NULL OR r.room_id = ANY($5))
"""
_NEWEST_FIRST = f"SELECT {_COLUMNS} {_MATCHES} ORDER BY r.received_ts DESC, r.report_id DESC LIMIT $6 OFFSET $7"
_OLDEST_FIRST = f"SELECT {_COLUMNS} {_MATCHES} ORDER BY r.received_ts, r.report_id LIMIT $6 OFFSET $7"
_COUNT = f"SELECT count(*) FROM reports r {_MATCHES}"
_ONE = f"SELECT {_COLUMNS} WHERE r.report_id = $1 AND r.kind = $2"
_DELETE = """
    DELETE FROM reports WHERE report_id = $1 AND kind = $2 AND ($3::text[] IS NULL OR room_id = ANY($3))
    RETURNING target
"""


async def page(db: Reader, wanted: ReportFilter, limit: int, offset: int) -> tuple[list[ReportRow], int]:
    """One page, and how many match in all."""
    rooms = list(wanted.rooms) if wanted.rooms is not None else None
    arguments = [wanted.kind, wanted.reporter, wanted.room_id, wanted.sender, rooms]
    sql = _NEWEST_FIRST if wanted.backwards else _OLDEST_FIRST
    rows = await db.fetch(sql, *arguments, limit, offset)
    return [_report(row) for row in rows], int(await db.fetchval(_COUNT, *arguments))


async def one(db: Reader, report_id: int, kind: str) -> ReportRow | None:
    row = await db.fetchrow(_ONE, report_id, kind)
    return _report(row) if row is not None else None


async def delete(tx: Tx, report_id: int, kind: str, rooms: frozenset[str] | None) -> str | None:
    """What the report was about; None where there is none, or none in these rooms."""
    target: str | None = await tx.fetchval(_DELETE, report_id, kind, list(rooms) if rooms is not None else None)
    return target


def _report(row: Row) -> ReportRow:
    return ReportRow(**row)
