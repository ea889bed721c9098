"""What the archive keeps of a message, as columns of Parquet: docs/operating/archive-format.md tells others of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from search.archive.rows import Kept

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
