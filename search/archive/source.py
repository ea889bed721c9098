"""Reads what is archived from the database: messages as they are now, by room and place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from homeserver.storage import events, relations
from homeserver.storage.database import Database, Reader
from homeserver.storage.events import StoredEvent
from search import storage
from search.archive.rows import Edit, Row
from search.documents import document_of, is_edit, key_of, searched_text
from search.hot.months import BOUNDS_S
from search.reading import latest_edit

PAGE = 1_000

_COUNTS = """
    SELECT to_char(
        to_timestamp(least(greatest(coalesce(received_ms, origin_server_ts) / 1000, $1), $2)) AT TIME ZONE 'UTC',
        'YYYY-MM'
    ) AS month, count(*) AS events
    FROM events WHERE ordering IS NOT NULL AND flags = 0 GROUP BY 1 ORDER BY 1
"""
_NIDS = """
    SELECT room_nid, array_agg(event_nid ORDER BY ordering) AS nids FROM events
    WHERE coalesce(received_ms, origin_server_ts) >= $1 AND coalesce(received_ms, origin_server_ts) < $2
      AND room_nid % $3 = $4 AND room_nid <> ALL($5::bigint[]) AND ($6::bigint[] IS NULL OR room_nid = ANY($6))
      AND ordering IS NOT NULL AND flags = 0 AND redacted_by IS NULL
    GROUP BY room_nid ORDER BY room_nid
"""
_JSON = "SELECT event_nid, json FROM events WHERE event_nid = ANY($1::bigint[])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which rooms of a month and bucket: all but some, or (where `only` is given) those alone."""

    month_span: tuple[int, int]
    buckets: int
    bucket: int
    without: frozenset[int] = frozenset()
    only: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A message with its latest edit, and the bytes of both, before they are analysed."""

    stored: StoredEvent
    edit: StoredEvent | None
    json: bytes
    edit_json: bytes | None
    received_ms: int


async def counts(db: Database) -> dict[str, int]:
    """How many events of timelines each month has. Goes through all events."""
    async with db.unhurried() as tx:
        return {row["month"]: row["events"] for row in await tx.fetch(_COUNTS, *BOUNDS_S)}


async def chosen(db: Database, choice: Choice) -> list[int]:
    """The numbers of events that may be messages, by room and place."""
    only = None if choice.only is None else list(choice.only)
    async with db.unhurried() as tx:
        rows = await tx.fetch(_NIDS, *choice.month_span, choice.buckets, choice.bucket, list(choice.without), only)
    return [nid for row in rows for nid in row["nids"]]


async def pages(db: Reader, nids: Sequence[int]) -> AsyncIterator[list[Said]]:
    """What these events say now, in their order: those of them that are found by searching. Four queries a page."""
    for at in range(0, len(nids), PAGE):
        yield await _page(db, nids[at : at + PAGE])


async def _page(db: Reader, nids: Sequence[int]) -> list[Said]:
    # The bytes first: what is redacted in between is left out by what is read next.
    raw = await _json(db, nids)
    found = {one.nid: one for one in await events.by_nids(db, nids)}
    shown = [
        one
        for nid in nids
        if (one := found.get(nid)) is not None
        and one.is_shown
        and one.redacted_by is None
        and key_of(one.event) is not None
        and not is_edit(one.event)
    ]
    if not shown:
        return []
    children = await relations.children(db, [(one.room_nid, one.event) for one in shown])
    wanted = {
        nid for ones in children.values() for child in ones if child.rel_type == "m.replace" for nid in child.nids
    }
    raw_edits = await _json(db, list(wanted)) if wanted else {}
    edits = {one.nid: one for one in await events.by_nids(db, wanted)} if wanted else {}
    received = await storage.received(db, [one.nid for one in shown])
    said = []
    for one in shown:
        edit = latest_edit(one, children[one.event.event_id], edits)
        edit_json = raw_edits[edit.nid] if edit is not None else None
        said.append(Said(one, edit, raw[one.nid], edit_json, received.get(one.nid, 0)))
    return said


async def _json(db: Reader, nids: Sequence[int]) -> Mapping[int, bytes]:
    return {row["event_nid"]: row["json"] for row in await db.fetch(_JSON, list(nids))}


def rows_of(said: Sequence[Said], version: int) -> list[Row]:
    """Analysed. Those that can't be read, or say nothing that is found, are left out."""
    rows = []
    for one in said:
        try:
            document = document_of(one.stored, one.edit, version=version, received_ms=one.received_ms)
            body = searched_text(one.stored, one.edit)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            continue
        if document is not None:
            edit = None
            if one.edit is not None and one.edit_json is not None:
                edit = Edit(event_id=one.edit.event.event_id, json=one.edit_json)
            rows.append(Row(document=document, body=body, json=one.json, edit=edit))
    return rows
