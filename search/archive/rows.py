"""What the archive keeps of a message, as columns of Parquet: docs/operating/archive-format.md tells others of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

# In every file: another number means another set of columns.
FORMAT_VERSION = 2
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
        pa.field("origin_server_ts", pa.int64(), nullable=False),
        pa.field("delay_ms", pa.int64(), nullable=False),
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


class Row(NamedTuple):
    """A message that is archived: the columns, in their order, but for the rank, which its words say; and behind them
    the hosts that it links to, which the index of words alone has.

    `body` is the text that it is found by; `json` the event, canonical, as signed.
    """

    event_nid: int
    source_nid: int
    room_nid: int
    place: int
    source_place: int
    version: int
    origin_server_ts: int
    delay_ms: int
    type: str
    key: str
    room_id: str
    sender: str
    has: Sequence[str]
    mentions: Sequence[str]
    thread_root: str | None
    body: str
    event_id: str
    json: bytes
    edit_id: str | None = None
    edit_json: bytes | None = None
    hosts: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A row as it is read again, for those who export or rewrite. Times in milliseconds since the epoch."""

    event_nid: int
    source_nid: int
    room_nid: int
    place: int
    source_place: int
    version: int
    origin_server_ts: int
    delay_ms: int
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

    @property
    def received_ms(self) -> int:
        return self.origin_server_ts + self.delay_ms

    @property
    def time_ms(self) -> int:
        """What `recent` orders by."""
        return self.origin_server_ts + min(0, self.delay_ms)


def batch_of(columns: Sequence[Sequence[Any]], ranks: Sequence[int]) -> pa.RecordBatch:
    """Rows, given as the columns of Row, as a part of a table of SCHEMA."""
    columns = list(columns[: len(SCHEMA) - 1])
    columns.insert(COLUMNS["rank"], ranks)
    return pa.RecordBatch.from_arrays(
        [_array(column, field) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def _array(column: Sequence[Any], field: pa.Field) -> pa.Array:
    """Most messages have no list and are no edit: columns of these take no look at each."""
    if field.nullable and not any(column):
        return pa.nulls(len(column), field.type)
    if pa.types.is_list(field.type) and not any(column):
        nothing = pa.array([], field.type.value_type)
        return pa.ListArray.from_arrays(pa.array([0] * (len(column) + 1), pa.int32()), nothing, type=field.type)
    return pa.array(column, field.type)


def kept_of(table: pa.Table) -> list[Kept]:
    """The rows of a table of SCHEMA."""
    return [Kept(**row) for row in table.to_pylist()]
