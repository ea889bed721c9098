"""Makes the two files of a month and bucket in a folder of this machine: rows as Parquet, an index of their words."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from search.archive.columns import COLUMNS, SCHEMA, batch_of
from search.archive.files import PARQUET_NAME, TERMS_NAME, Built, Made
from search.archive.rows import FORMAT_VERSION, Row
from search.archive.terms import HAS, HOST, KEY, MENTION, SENDER, TYPE, TermWriter
from search.archive.words import Words
from search.tiers import hosts_of, rank_of

# A row group is what is read of a column at once: so many rows.
GROUP_ROWS = 16_384
# What nothing compresses isn't looked at for long. In a file of few rows little repeats, so that is looked for harder:
# a tenth more work, for 5 bytes a message.
_LEVELS = dict.fromkeys(SCHEMA.names, 3) | {"json": 6, "body": 6, "event_id": 1}
_LEVELS_OF_FEW = _LEVELS | {"json": 9, "body": 9, "edit_json": 9}
FEW_ROWS = 60_000
_DICTIONARIES = ["type", "key", "room_id", "sender", "has.list.element", "mentions.list.element"]
_NUMBERS = [field.name for field in SCHEMA if pa.types.is_integer(field.type)]
# Pages of texts are as long as may be: what repeats in them is found.
_PAGE_BYTES = 8 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_AT = {name: at for at, name in enumerate(Row._fields)}


class Builder:
    """Takes rows sorted by room number and place, about `events` of them; `finish` ends it. Never on the event loop."""

    def __init__(self, folder: Path, events: int) -> None:
        self.parquet_path = folder / PARQUET_NAME
        self.terms_path = folder / TERMS_NAME
        self._writer = pq.ParquetWriter(
            self.parquet_path,
            SCHEMA.with_metadata({"hansa.format": str(FORMAT_VERSION)}),
            version="2.6",
            compression="zstd",
            compression_level=_LEVELS_OF_FEW if events <= FEW_ROWS else _LEVELS,
            use_dictionary=_DICTIONARIES,
            column_encoding=dict.fromkeys(_NUMBERS, "DELTA_BINARY_PACKED"),
            write_page_checksum=True,
            write_page_index=True,
            write_statistics=_NUMBERS,
            data_page_size=_PAGE_BYTES,
            sorting_columns=[pq.SortingColumn(COLUMNS["room_nid"]), pq.SortingColumn(COLUMNS["place"])],
        )
        self._terms = TermWriter()
        self._words = Words(self._terms.number)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive-file")
        self._writing: Future[None] | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._rows = 0
        self._last = (-1, 0)
        self._nids: tuple[int, int] | None = None
        self._digest = hashlib.sha256()

    def add(self, rows: Sequence[Row]) -> None:
        """Raises ValueError for rows out of order."""
        if not rows:
            return
        columns = list(zip(*rows, strict=True))
        rooms, places, nids = (np.array(columns[_AT[name]], np.int64) for name in ("room_nid", "place", "event_nid"))
        later = (rooms[1:] > rooms[:-1]) | ((rooms[1:] == rooms[:-1]) & (places[1:] > places[:-1]))
        if not later.all() or self._last >= (rooms[0], places[0]):
            raise ValueError("rows come by room and place")
        self._last = int(rooms[-1]), int(places[-1])
        first, last = self._nids or (2**63, 0)
        self._nids = (min(first, int(nids.min())), max(last, int(nids.max())))
        self._digest.update(_said(columns[_AT["event_id"]], columns[_AT["source_nid"]]))
        self._waiting.append(batch_of(columns, self._index(rows, columns)))
        begins = [0, *(np.flatnonzero(np.diff(rooms)) + 1).tolist(), len(rows)]
        for begin, end in pairwise(begins):
            self._terms.room(rows[begin].room_nid, rows[begin].room_id, end - begin)
        self._waiting_rows += len(rows)
        self._rows += len(rows)
        while self._waiting_rows >= GROUP_ROWS:
            self._write(GROUP_ROWS)

    def finish(self) -> Built:
        """Both files, whole."""
        while self._waiting:
            self._write(GROUP_ROWS)
        self._written()
        self._thread.shutdown()
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

    def _index(self, rows: Sequence[Row], columns: Sequence[Sequence[Any]]) -> list[int]:
        """What rows are found by, but for place and time; their ranks."""
        number, found = self._terms.number, self._words.of(columns[_AT["body"]])
        tokens = found.tokens.tolist()
        ranks = {count: rank_of(count) for count in set(tokens)}
        numbers, of = list[int](), list[int]()
        for place, row in enumerate(rows):
            if row.has or row.mentions or row.hosts or row.thread_root is not None:
                more = [HAS + kind for kind in row.has]
                more += [MENTION + user_id for user_id in row.mentions]
                more += [HOST + host for host in hosts_of(row.hosts)]
                if row.thread_root is not None:
                    more.append(HAS + "thread")
                numbers += map(number, more)
                of += [place] * len(more)
        every = [np.array(numbers, np.int64), found.numbers]
        texts = [np.array(of, np.int64), found.texts]
        for name, prefix in (("sender", SENDER), ("type", TYPE), ("key", KEY)):
            known = {one: number(prefix + one) for one in set(columns[_AT[name]])}
            every.append(np.fromiter(map(known.__getitem__, columns[_AT[name]]), np.int64, len(rows)))
            texts.append(np.arange(len(rows)))
        self._terms.add(np.concatenate(every), np.concatenate(texts), len(rows))
        return [ranks[count] for count in tokens]

    def _write(self, count: int) -> None:
        waiting = pa.Table.from_batches(self._waiting, SCHEMA)
        table, rest = waiting.slice(0, count).combine_chunks(), waiting.slice(count)
        self._waiting, self._waiting_rows = rest.to_batches(), rest.num_rows
        self._written()
        self._writing = self._thread.submit(self._writer.write_table, table, row_group_size=GROUP_ROWS)

    def _written(self) -> None:
        """Waits for the row group that is being written: compressing it leaves the other cores alone."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()


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
            digest.update(_said(columns["event_id"], columns["source_nid"]))
    return digest.hexdigest()


def _said(event_ids: Sequence[str], source_nids: Sequence[int]) -> bytes:
    lines = [f"{event_id} {source}\n" for event_id, source in zip(event_ids, source_nids, strict=True)]
    return "".join(lines).encode("utf-8", "replace")


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
