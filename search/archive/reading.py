"""Reads a file of the archive part by part: whatever is read is checked, and counted."""

from __future__ import annotations

import io
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyroaring import BitMap

from search.archive.building import chunk_span
from search.archive.columns import COLUMNS, SCHEMA, kept_of
from search.archive.files import Built
from search.archive.rows import Kept
from search.archive.terms import Damaged, Head, Room, TermReader, read_head

# Columns that aren't in the file, from two that are.
_TIMES = ("origin_server_ts", "delay_ms")
_Numbers = npt.NDArray[np.int64]
_WORKED_OUT: dict[str, Callable[[_Numbers, _Numbers], _Numbers]] = {
    "received_ms": lambda said_ms, delay_ms: said_ms + delay_ms,
    "time_ms": lambda said_ms, delay_ms: said_ms + np.minimum(0, delay_ms),
}


class Source(Protocol):
    """Where the bytes come from: called in threads. Raises Damaged where an object is missing or cut short."""

    def parquet(self, start: int, end: int) -> bytes: ...

    def terms(self, start: int, end: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Contents:
    """The tables of contents of both files, which are kept in memory between queries."""

    head: Head
    metadata: pq.FileMetaData
    size_bytes: int
    # What questions need of every file, once it was looked at: rows by key, bounds by row group and column.
    room_nids: _Numbers
    keys: dict[str, BitMap] = field(default_factory=dict)
    bounds: dict[tuple[int, str], tuple[int, int]] = field(default_factory=dict)


def read_contents(source: Source, built: Built) -> Contents:
    """Raises Damaged."""
    terms, parquet = built.terms, built.parquet
    head_data = source.terms(terms.index_start, terms.index_end)
    footer = source.parquet(parquet.index_start, parquet.index_end)
    head = read_head(head_data, terms.index_crc)
    if zlib.crc32(footer) != parquet.index_crc:
        raise Damaged("the footer of the file is damaged")
    metadata = pq.read_metadata(pa.BufferReader(footer))
    if metadata.num_rows != built.rows or head.rows != built.rows:
        raise Damaged("the file has other rows than it should")
    rooms = np.array([room.room_nid for room in head.rooms], np.int64)
    return Contents(head, metadata, 8 * (len(head_data) + len(footer)), rooms)


class ArchiveFile:
    """One month and bucket. Not for two threads at once."""

    def __init__(self, contents: Contents, source: Source) -> None:
        self.head = contents.head
        self.terms = TermReader(contents.head, source.terms)
        self.room_nids = contents.room_nids
        self.keys = contents.keys
        self._bounds = contents.bounds
        self._metadata = contents.metadata
        self._source = source
        self._starts = [0]
        for group in range(contents.metadata.num_row_groups):
            self._starts.append(self._starts[-1] + contents.metadata.row_group(group).num_rows)
        self._read: dict[tuple[int, str], pa.ChunkedArray] = {}
        self._columns: dict[tuple[int, str], list[Any]] = {}

    @property
    def rooms(self) -> Sequence[Room]:
        return self.head.rooms

    @property
    def groups(self) -> int:
        return len(self._starts) - 1

    def group_of(self, row: int) -> int:
        """The row group that a row is in."""
        return bisect_right(self._starts, row) - 1

    def span(self, group: int) -> tuple[int, int]:
        """The rows of a group: from one to before another."""
        return self._starts[group], self._starts[group + 1]

    def bounds(self, group: int, column: str) -> tuple[int, int]:
        """Between which a column of numbers is in a row group: its least and greatest value, of `time_ms` about."""
        if column == "time_ms":
            (least, most), (soonest, latest) = self.bounds(group, "origin_server_ts"), self.bounds(group, "delay_ms")
            return least + min(0, soonest), most + min(0, latest)
        found = self._bounds.get((group, column))
        if found is None:
            statistics = self._metadata.row_group(group).column(COLUMNS[column]).statistics
            found = self._bounds[group, column] = statistics.min, statistics.max
        return found

    def column(self, group: int, name: str) -> list[Any]:
        """The values of a column in a row group, also of those that are worked out. Raises Damaged."""
        found = self._columns.get((group, name))
        if found is None:
            if name in _WORKED_OUT or pa.types.is_integer(SCHEMA.field(name).type):
                found = self.numbers(group, name).tolist()
            else:
                self.load(group, [name])
                found = self._read[group, name].to_pylist()
            self._columns[group, name] = found
        return found

    def numbers(self, group: int, name: str) -> _Numbers:
        """The same of a column of numbers. Raises Damaged."""
        self.load(group, [name])
        if name in _WORKED_OUT:
            said, delays = (self._read[group, one].to_numpy() for one in _TIMES)
            return _WORKED_OUT[name](said, delays)
        numbers: _Numbers = self._read[group, name].to_numpy()
        return numbers

    def load(self, group: int, names: Sequence[str]) -> None:
        """Reads columns of a row group, those next to each other at once. Raises Damaged."""
        wanted = dict.fromkeys(one for name in names for one in (_TIMES if name in _WORKED_OUT else (name,)))
        missing = [name for name in wanted if (group, name) not in self._read]
        if missing:
            table = self.table(group, missing)
            for name in missing:
                self._read[group, name] = table.column(name)

    def let_go(self) -> None:
        """Forgets the columns that were read."""
        self._columns.clear()
        self._read.clear()

    def rows(self, first: int, last: int) -> Iterator[Kept]:
        """The rows from one to before another, row group by row group. Raises Damaged."""
        for group in range(self.groups):
            begin, end = self.span(group)
            if begin < last and first < end:
                table = self.table(group, list(COLUMNS))
                yield from kept_of(table.slice(max(0, first - begin), min(end, last) - max(begin, first)))

    def table(self, group: int, names: Sequence[str]) -> pa.Table:
        """Columns of a row group, which aren't remembered. Raises Damaged."""
        spans = sorted((chunk_span(self._metadata, group, COLUMNS[name]), COLUMNS[name]) for name in names)
        parts: list[tuple[int, bytes]] = []
        run: list[tuple[int, int, int]] = []
        for (start, end), column in [*spans, ((-1, -1), -1)]:
            if run and start != run[-1][1]:
                parts.append((run[0][0], self._chunks(group, run)))
                run = []
            run.append((start, end, column))
        try:
            with pq.ParquetFile(
                pa.PythonFile(_Parts(parts), mode="r"), metadata=self._metadata, pre_buffer=False
            ) as file:
                return file.read_row_group(group, columns=list(names), use_threads=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Damaged("a part of the file can't be read") from error

    def _chunks(self, group: int, run: Sequence[tuple[int, int, int]]) -> bytes:
        begin = run[0][0]
        data = self._source.parquet(begin, run[-1][1])
        for start, end, column in run:
            if zlib.crc32(data[start - begin : end - begin]) != self.head.chunks[group][column]:
                raise Damaged("a part of the file is damaged")
        return data


class _Parts(io.RawIOBase):
    """A file of which a few parts are here."""

    def __init__(self, parts: Sequence[tuple[int, bytes]]) -> None:
        super().__init__()
        self._parts = parts
        self._end = max((start + len(data) for start, data in parts), default=0)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            offset += self._at if whence == io.SEEK_CUR else self._end
        self._at = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        """What isn't here reads as zeros: parts near each other are read at once, with what is between."""
        end = self._end if size < 0 else min(self._end, self._at + size)
        found = bytearray(max(0, end - self._at))
        for start, data in self._parts:
            first, last = max(start, self._at), min(start + len(data), end)
            if first < last:
                found[first - self._at : last - self._at] = data[first - start : last - start]
        self._at += len(found)
        return bytes(found)
