"""Makes the two files of a month and bucket in a folder of this machine: rows as Parquet, an index of their words."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from search.archive.rows import COLUMNS, FORMAT_VERSION, SCHEMA, Row, table_of
from search.archive.terms import TermWriter

# A row group is what is read of a column at once: so many rows.
GROUP_ROWS = 16_384
_LEVEL = 6
_DICTIONARIES = ["type", "key", "room_id", "sender", "has.list.element", "mentions.list.element"]
_NUMBERS = [field.name for field in SCHEMA if pa.types.is_integer(field.type)]
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A file that was written: how long it is, and its SHA-256. `index_start` is where its own table of contents begins
    (Parquet's footer, the head of the index of words), `index_crc` that part's CRC-32."""

    size_bytes: int
    digest: str
    index_start: int
    index_end: int
    index_crc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Both files, and what is in them. `digest` is over the rows' events, in order (see `rows_digest`)."""

    rows: int
    first_nid: int
    last_nid: int
    digest: str
    parquet: Made
    terms: Made


class Builder:
    """Takes rows sorted by room number and place; `finish` ends it. Never on the event loop."""

    def __init__(self, folder: Path) -> None:
        self.parquet_path = folder / "rows.parquet"
        self.terms_path = folder / "rows.terms"
        self._writer = pq.ParquetWriter(
            self.parquet_path,
            SCHEMA.with_metadata({"hansa.format": str(FORMAT_VERSION)}),
            version="2.6",
            compression="zstd",
            compression_level=_LEVEL,
            use_dictionary=_DICTIONARIES,
            column_encoding=dict.fromkeys(_NUMBERS, "DELTA_BINARY_PACKED"),
            write_page_checksum=True,
            write_page_index=True,
            sorting_columns=[pq.SortingColumn(COLUMNS["room_nid"]), pq.SortingColumn(COLUMNS["place"])],
        )
        self._terms = TermWriter()
        self._waiting: list[Row] = []
        self._rows = 0
        self._last = (-1, 0)
        self._nids: tuple[int, int] | None = None
        self._digest = hashlib.sha256()

    def add(self, rows: Sequence[Row]) -> None:
        """Raises ValueError for rows out of order."""
        for row in rows:
            one = row.document
            if (one.room_nid, one.place) <= self._last:
                raise ValueError("rows come by room and place")
            self._last = (one.room_nid, one.place)
            first, last = self._nids or (one.event_nid, one.event_nid)
            self._nids = (min(first, one.event_nid), max(last, one.event_nid))
            self._digest.update(_said(one.event_id, one.source_nid))
            self._terms.add(one)
        self._waiting += rows
        self._rows += len(rows)
        while len(self._waiting) >= GROUP_ROWS:
            self._write(GROUP_ROWS)

    def finish(self) -> Built:
        """Both files, whole."""
        while self._waiting:
            self._write(GROUP_ROWS)
        self._writer.close()
        metadata = pq.read_metadata(self.parquet_path)
        size = self.parquet_path.stat().st_size
        with self.parquet_path.open("rb") as file:
            chunks = []
            for group in range(metadata.num_row_groups):
                crcs = []
                for column in range(metadata.num_columns):
                    start, end = chunk_span(metadata, group, column)
                    file.seek(start)
                    crcs.append(zlib.crc32(file.read(end - start)))
                chunks.append(crcs)
            file.seek(size - 8)
            footer = size - 8 - int.from_bytes(file.read(4), "little")
            file.seek(footer)
            crc = zlib.crc32(file.read())
        with self.terms_path.open("wb") as terms:
            head, length = self._terms.write(terms, chunks)
        first, last = self._nids or (0, 0)
        return Built(
            rows=self._rows,
            first_nid=first,
            last_nid=last,
            digest=self._digest.hexdigest(),
            parquet=_made(self.parquet_path, footer, size, crc),
            terms=_made(self.terms_path, head, head + length, None),
        )

    def abandon(self) -> None:
        """Lets go of the files, which whoever owns the folder deletes."""
        self._writer.close()

    def _write(self, count: int) -> None:
        rows, self._waiting = self._waiting[:count], self._waiting[count:]
        self._writer.write_table(table_of(rows), row_group_size=GROUP_ROWS)


def chunk_span(metadata: pq.FileMetaData, group: int, column: int) -> tuple[int, int]:
    """Where a column of a row group lies."""
    chunk = metadata.row_group(group).column(column)
    start = chunk.data_page_offset
    if chunk.dictionary_page_offset is not None:
        start = min(start, chunk.dictionary_page_offset)
    return start, start + chunk.total_compressed_size


def rows_digest(path: Path) -> str:
    """The digest of a file's rows, by reading it whole: events and what says them, in order.

    Raises ValueError, OSError.
    """
    digest = hashlib.sha256()
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(batch_size=GROUP_ROWS, columns=["event_id", "source_nid"]):
            columns = batch.to_pydict()
            for event_id, source in zip(columns["event_id"], columns["source_nid"], strict=True):
                digest.update(_said(event_id, source))
    return digest.hexdigest()


def _said(event_id: str, source_nid: int) -> bytes:
    return f"{event_id} {source_nid}\n".encode("utf-8", "replace")


def _made(path: Path, index_start: int, index_end: int, crc: int | None) -> Made:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
            size += len(piece)
        if crc is None:
            file.seek(index_start)
            crc = zlib.crc32(file.read(index_end - index_start))
    return Made(size_bytes=size, digest=digest.hexdigest(), index_start=index_start, index_end=index_end, index_crc=crc)
