"""The Parquet form of an export: plain columns for DuckDB, Spark or Trino."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from admin.exporting.forms import Line
from homeserver.core import canonical_json

ROWS_PER_GROUP = 20_000
SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("room_id", pa.string(), nullable=False),
        pa.field("room_version", pa.string(), nullable=False),
        pa.field("place", pa.int64()),
        pa.field("type", pa.string(), nullable=False),
        pa.field("state_key", pa.string()),
        pa.field("sender", pa.string(), nullable=False),
        pa.field("origin_server_ts", pa.int64(), nullable=False),
        pa.field("received_ts", pa.int64()),
        pa.field("redacted_by", pa.string()),
        pa.field("body", pa.string()),
        pa.field("pdu", pa.string(), nullable=False),
    ]
)


class Parquet:
    """One event a row; `pdu` is the event as servers exchange it, canonical JSON."""

    name = "events.parquet"

    def open(self, folder: Path, title: str) -> None:
        self._writer = pq.ParquetWriter(folder / self.name, SCHEMA, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, lines: Iterable[Line]) -> None:
        self._rows += [_row(line) for line in lines]
        if len(self._rows) >= ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
            self._rows = []


def _row(line: Line) -> dict[str, Any]:
    record, pdu = line.record, line.pdu
    body, state_key = pdu["content"].get("body"), pdu.get("state_key")
    return {
        "event_id": record["event_id"],
        "room_id": record["room_id"],
        "room_version": record["room_version"],
        "place": record["place"],
        "type": pdu["type"],
        "state_key": state_key if isinstance(state_key, str) else None,
        "sender": pdu["sender"],
        "origin_server_ts": pdu["origin_server_ts"],
        "received_ts": record["received_ts"],
        "redacted_by": record["redacted_by"],
        "body": body if isinstance(body, str) else None,
        "pdu": canonical_json.encode(dict(pdu)).decode(),
    }
