"""What the archive keeps of a message, as columns of Parquet: docs/operating/archive-format.md tells others of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from search.tiers import Document

# In every file: another number means another set of columns.
FORMAT_VERSION = 1
_ROOM, _USER = pa.string(), pa.string()
# Narrow columns first, which a search reads; those with texts last.
SCHEMA = pa.schema(
    [
        pa.field("event_nid", pa.int64(), nullable=False),
        pa.field("source_nid", pa.int64(), nullable=False),
        pa.field("room_nid", pa.int64(), nullable=False),
        pa.field("place", pa.int64(), nullable=False),
        pa.field("source_place", pa.int64(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("received_ms", pa.int64(), nullable=False),
        pa.field("origin_server_ts", pa.int64(), nullable=False),
        pa.field("time_ms", pa.int64(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("room_id", _ROOM, nullable=False),
        pa.field("sender", _USER, nullable=False),
        pa.field("has", pa.list_(pa.field("element", pa.string(), nullable=False)), nullable=False),
        pa.field("mentions", pa.list_(pa.field("element", pa.string(), nullable=False)), nullable=False),
        pa.field("thread_root", pa.string()),
        pa.field("body", pa.string(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("json", pa.binary(), nullable=False),
        pa.field("edit_id", pa.string()),
        pa.field("edit_json", pa.binary()),
    ]
)
COLUMNS = {name: at for at, name in enumerate(SCHEMA.names)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """The event that says what a message says now."""

    event_id: str
    json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A message. `body` is the text that `document` was analysed from; `json` the event, canonical, as signed."""

    document: Document
    body: str
    json: bytes
    edit: Edit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A row as it is read again, for those who export or rewrite. Times in milliseconds since the epoch."""

    event_nid: int
    source_nid: int
    room_nid: int
    place: int
    source_place: int
    version: int
    received_ms: int
    origin_server_ts: int
    time_ms: int
    rank: int
    type: str
    key: str
    room_id: str
    sender: str
    has: list[str]
    mentions: list[str]
    thread_root: str | None
    body: str
    event_id: str
    json: bytes
    edit_id: str | None
    edit_json: bytes | None


def place_of(document: Document) -> int:
    """The place of what says it."""
    return document.place if document.source_place is None else document.source_place


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Rows as a table of SCHEMA."""
    documents = [row.document for row in rows]
    edits = [row.edit for row in rows]
    columns: list[list[Any]] = [
        [one.event_nid for one in documents],
        [one.source_nid for one in documents],
        [one.room_nid for one in documents],
        [one.place for one in documents],
        [place_of(one) for one in documents],
        [one.version for one in documents],
        [one.received_ms for one in documents],
        [one.origin_server_ts for one in documents],
        [one.time_ms for one in documents],
        [one.rank for one in documents],
        [one.type for one in documents],
        [one.key for one in documents],
        [one.room_id for one in documents],
        [one.sender for one in documents],
        [sorted(one.has) for one in documents],
        [list(one.mentions) for one in documents],
        [one.thread_root for one in documents],
        [row.body for row in rows],
        [one.event_id for one in documents],
        [row.json for row in rows],
        [None if edit is None else edit.event_id for edit in edits],
        [None if edit is None else edit.json for edit in edits],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def kept_of(table: pa.Table) -> list[Kept]:
    """The rows of a table of SCHEMA."""
    return [Kept(**row) for row in table.to_pylist()]
