"""The index of a file's words: term → Roaring bitmap of row numbers, laid out so that a query reads little.

    bitmaps | blocks | head | tail

A block is a run of terms in order, each with its rows: a few are in the block itself, more are a bitmap before. Of a
term there is what differs from the one before it; of rows the distances, where a Roaring bitmap is larger. The head has
the first term of each block, the rooms with their rows, and the checksums of the Parquet file's chunks; the tail says
where the head is. Every part has a checksum: what is damaged is never taken for an answer.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard
from pyroaring import BitMap

from search.analyser import VERSION
from search.archive.postings import Numbers, Packer, unpacked, unpacked_at, unpacked_lists
from search.archive.spelling import Spelling

FORMAT_VERSION = 2
BLOCK_TERMS = 128
# So few rows of a term stand in its block.
INLINE_ROWS = 64
TAIL_BYTES = 24
# What isn't a word begins with a control character, which no word has.
KEY, SENDER, TYPE, HAS, MENTION, HOST = "\x01k", "\x01s", "\x01t", "\x01h", "\x01m", "\x01o"
_WORDS = "\x02"
_MAGIC = b"HNSATRM1"
_LEVEL = 12
_SHARED_MAX = 255
_NONE = np.empty(0, np.uint32)
# How the bitmap of a term is written: as Roaring has it, or as the distances between the rows, compressed.
_ROARING, _DISTANCES = b"R", b"D"

Fetch = Callable[[int, int], bytes]


class Damaged(Exception):
    """A part of a file isn't what was written."""


class Room(msgspec.Struct, frozen=True, array_like=True):
    """A room's rows: `count` from `first_row` on."""

    room_nid: int
    room_id: str
    first_row: int
    count: int


class Block(msgspec.Struct, frozen=True, array_like=True):
    """Where a run of terms is."""

    first_term: str
    start: int
    end: int
    crc: int


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What is read of an index before anything else. `chunks` has the CRC-32 of each column chunk of each row group."""

    format: int
    analyser: int
    rows: int
    rooms: list[Room]
    blocks: list[Block]
    chunks: list[list[int]]


class _Terms(msgspec.Struct, frozen=True, array_like=True):
    """A block. `shared`: of each term how many characters are those of the one before; `rests`: what follows them.

    `rows` has the rows of terms that have few, one after the other. Of others the bitmaps lie from `bitmaps` on, with
    these sizes and CRC-32s.
    """

    shared: bytes
    rests: list[str]
    counts: list[int]
    rows: bytes
    bitmaps: int
    sizes: list[int]
    crcs: list[int]


@dataclass(frozen=True, slots=True)
class Entry:
    """A term's rows: listed, or a bitmap at [start, end) with a CRC-32."""

    term: str
    rows: list[int]
    start: int = 0
    end: int = 0
    crc: int = 0


_blocks = msgspec.msgpack.Decoder(_Terms)
_heads = msgspec.msgpack.Decoder(Head)


class TermWriter:
    """Gathers the terms of a file's rows, in the order of the rows. Terms go by numbers that it gives them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._numbered: list[Numbers] = []
        self._of_rows: list[Numbers] = []
        self._rows = 0
        self._rooms: list[Room] = []

    def number(self, term: str) -> int:
        """By what number `add` takes a term."""
        return self._numbers.setdefault(term, len(self._numbers))

    def add(self, numbers: Numbers, rows: Numbers, count: int) -> None:
        """The next so many rows: numbers of terms, each with the row (from 0) that has it, in any order."""
        self._numbered.append(numbers.astype(np.uint32))
        self._of_rows.append((rows + self._rows).astype(np.uint32))
        self._rows += count

    def room(self, room_nid: int, room_id: str, count: int) -> None:
        """The next so many rows are of this room."""
        last = self._rooms[-1] if self._rooms else Room(-1, "", 0, 0)
        if last.room_nid == room_nid:
            self._rooms[-1] = Room(last.room_nid, last.room_id, last.first_row, last.count + count)
        else:
            self._rooms.append(Room(room_nid, room_id, last.first_row + last.count, count))

    def write(self, file: BinaryIO, chunks: list[list[int]]) -> tuple[int, int]:
        """Writes the index; where its head begins, and how long it is."""
        names = sorted(self._numbers)
        places = np.empty(len(names), np.int64)
        places[np.fromiter(map(self._numbers.__getitem__, names), np.int64, len(names))] = np.arange(len(names))
        # One number a row of a term, so that sorting is a matter of numbers alone.
        postings = places[np.concatenate([_NONE, *self._numbered])] << 32 | np.concatenate([_NONE, *self._of_rows])
        postings.sort()
        postings = postings[np.diff(postings, prepend=-1) != 0]
        ends = np.searchsorted(postings, np.arange(1, len(names) + 1) << 32)
        lists = _Postings(postings & 0xFFFFFFFF, [0, *ends.tolist()], names)
        blocks, at = [], 0
        for first in range(0, len(names), BLOCK_TERMS):
            some = names[first : first + BLOCK_TERMS]
            bitmaps, data = lists.block(some, first, at)
            file.write(bitmaps + data)
            at += len(bitmaps)
            blocks.append(Block(some[0], at, at + len(data), zlib.crc32(data)))
            at += len(data)
        head = Head(FORMAT_VERSION, VERSION, self._rows, self._rooms, blocks, chunks)
        data = lists.packer.compress(msgspec.msgpack.encode(head))
        file.write(data)
        tail = at.to_bytes(8, "little") + len(data).to_bytes(4, "little") + zlib.crc32(data).to_bytes(4, "little")
        file.write(tail + _MAGIC)
        return at, len(data)


class _Postings:
    """All terms' rows, one after the other in the order of the terms."""

    def __init__(self, rows: Numbers, places: list[int], terms: Sequence[str]) -> None:
        self.packer = zstandard.ZstdCompressor(level=_LEVEL)
        self._rows = rows
        self._places = places
        starts = np.array(places[:-1], np.int64)
        self._lists = Packer(rows, starts)
        self._counts = np.diff(np.array(places, np.int64))
        self._shared = _shared(terms)

    def block(self, terms: Sequence[str], first: int, at: int) -> tuple[bytes, bytes]:
        """The bitmaps of these terms, which begin at `at`, and their block."""
        last, places = first + len(terms), self._places
        shared = self._shared[first:last]
        rests = [term[same:] for term, same in zip(terms, shared.tolist(), strict=True)]
        counts = self._counts[first:last]
        listed, bitmaps, begin = list[bytes](), list[bytes](), first
        for number in (np.flatnonzero(counts > INLINE_ROWS) + first).tolist():
            listed.append(self._lists.packed(places[begin], places[number]))
            bitmaps.append(self._bitmap(places[number], places[number + 1]))
            begin = number + 1
        listed.append(self._lists.packed(places[begin], places[last]))
        sizes, crcs = [len(bitmap) for bitmap in bitmaps], [zlib.crc32(bitmap) for bitmap in bitmaps]
        block = _Terms(shared.tobytes(), rests, counts.tolist(), b"".join(listed), at, sizes, crcs)
        return b"".join(bitmaps), self.packer.compress(msgspec.msgpack.encode(block))

    def _bitmap(self, begin: int, end: int) -> bytes:
        distances = _DISTANCES + self.packer.compress(self._lists.packed(begin, end))
        bitmap = BitMap(self._rows[begin:end])
        bitmap.run_optimize()
        roaring = _ROARING + bitmap.serialize()
        return roaring if len(roaring) <= len(distances) else distances


def head_span(tail: bytes) -> tuple[int, int, int]:
    """Where the head is and its checksum, from the last TAIL_BYTES of an index. Raises Damaged."""
    if len(tail) != TAIL_BYTES or tail[16:] != _MAGIC:
        raise Damaged("the index of words has no end")
    start = int.from_bytes(tail[:8], "little")
    return start, start + int.from_bytes(tail[8:12], "little"), int.from_bytes(tail[12:16], "little")


def read_head(data: bytes, crc: int) -> Head:
    """Raises Damaged."""
    if zlib.crc32(data) != crc:
        raise Damaged("the head of the index of words is damaged")
    head = _heads.decode(zstandard.decompress(data))
    if head.format != FORMAT_VERSION or head.analyser != VERSION:
        raise Damaged("the index of words is of another version")
    return head


class TermReader:
    """Looks terms up. `fetch` gives the bytes of the index from a place to before another."""

    def __init__(self, head: Head, fetch: Fetch) -> None:
        self._head = head
        self._fetch = fetch
        self._firsts = [block.first_term for block in head.blocks]

    def rows(self, term: str) -> BitMap:
        """The rows that have a term. Raises Damaged."""
        at = bisect_right(self._firsts, term) - 1
        entry = _entry_of(self._block(at), term) if at >= 0 else None
        return self._bitmaps([entry]) if entry is not None else BitMap()

    def with_prefix(self, prefix: str) -> BitMap:
        """The rows that have a term that begins so. Raises Damaged."""
        first = max(0, bisect_right(self._firsts, prefix) - 1)
        last = first
        while last < len(self._firsts) and (last == first or self._firsts[last].startswith(prefix)):
            last += 1
        return self._bitmaps([one for one in self._entries(first, last) if one.term.startswith(prefix)])

    def alike(self, token: str, distance: int) -> BitMap:
        """The rows that have a word so few letters off. Reads all words. Raises Damaged."""
        is_alike = Spelling(token, distance).is_alike
        first = max(0, bisect_left(self._firsts, _WORDS) - 1)
        entries = self._entries(first, len(self._firsts))
        return self._bitmaps([one for one in entries if one.term >= _WORDS and is_alike(one.term)])

    def all(self) -> Iterator[tuple[str, BitMap]]:
        """Every term with its rows, in order. Raises Damaged."""
        for at in range(len(self._firsts)):
            for entry in self._entries(at, at + 1):
                yield entry.term, self._bitmaps([entry])

    def _block(self, at: int) -> _Terms:
        block = self._head.blocks[at]
        data = _checked(self._fetch(block.start, block.end), block.crc)
        return _blocks.decode(zstandard.decompress(data))

    def _entries(self, first: int, last: int) -> Iterator[Entry]:
        blocks = self._head.blocks[first:last]
        if not blocks:
            return
        start = blocks[0].start
        data = self._fetch(start, blocks[-1].end)
        for block in blocks:
            part = _checked(data[block.start - start : block.end - start], block.crc)
            yield from _entries_of(_blocks.decode(zstandard.decompress(part)))

    def _bitmaps(self, entries: Sequence[Entry]) -> BitMap:
        found = BitMap()
        listed = [row for entry in entries for row in entry.rows]
        if listed:
            found |= BitMap(listed)
        for start, end, some in _runs(entry for entry in entries if entry.end):
            data = self._fetch(start, end)
            for one in some:
                found |= _bitmap_of(_checked(data[one.start - start : one.end - start], one.crc))
        return found


def _shared(terms: Sequence[str]) -> npt.NDArray[np.uint8]:
    """How many characters each term begins with that the one before it in its block begins with too."""
    codes = np.frombuffer("".join(terms).encode("utf-32-le", "surrogatepass"), np.uint32)
    sizes = np.fromiter(map(len, terms), np.int64, len(terms))
    starts = np.cumsum(sizes) - sizes
    most = np.minimum(np.minimum(sizes, np.roll(sizes, 1)), _SHARED_MAX)
    most[::BLOCK_TERMS] = 0
    shared, alike, at = np.zeros(len(terms), np.uint8), np.arange(len(terms)), 0
    while len(alike := alike[most[alike] > at]):
        alike = alike[codes[starts[alike] + at] == codes[starts[alike - 1] + at]]
        shared[alike] += 1
        at += 1
    return shared


def _entries_of(block: _Terms) -> Iterator[Entry]:
    lists = iter(unpacked_lists(block.rows, [count for count in block.counts if count <= INLINE_ROWS]))
    term, at, bitmaps = "", block.bitmaps, iter(zip(block.sizes, block.crcs, strict=True))
    for same, rest, count in zip(block.shared, block.rests, block.counts, strict=True):
        term = term[:same] + rest
        if count <= INLINE_ROWS:
            yield Entry(term, next(lists))
        else:
            size, crc = next(bitmaps)
            yield Entry(term, [], at, at + size, crc)
            at += size


def _entry_of(block: _Terms, wanted: str) -> Entry | None:
    """One of them alone, without a look at what the others have."""
    term, number = "", -1
    for same, rest in zip(block.shared, block.rests, strict=True):
        term, number = term[:same] + rest, number + 1
        if term == wanted:
            break
    else:
        return None
    before, count = block.counts[:number], block.counts[number]
    if count <= INLINE_ROWS:
        return Entry(term, unpacked_at(block.rows, sum(one for one in before if one <= INLINE_ROWS), count))
    large = sum(one > INLINE_ROWS for one in before)
    begin = block.bitmaps + sum(block.sizes[:large])
    return Entry(term, [], begin, begin + block.sizes[large], block.crcs[large])


def _bitmap_of(data: bytes) -> BitMap:
    if data[:1] == _ROARING:
        return BitMap.deserialize(data[1:])
    return BitMap(unpacked(zstandard.decompress(data[1:])))


def _runs(entries: Iterable[Entry]) -> Iterator[tuple[int, int, list[Entry]]]:
    """Bitmaps that lie next to each other are read at once."""
    run: list[Entry] = []
    for entry in entries:
        if run and entry.start - run[-1].end > 4096:
            yield run[0].start, run[-1].end, run
            run = []
        run.append(entry)
    if run:
        yield run[0].start, run[-1].end, run


def _checked(data: bytes, crc: int) -> bytes:
    if zlib.crc32(data) != crc:
        raise Damaged("a part of the index of words is damaged")
    return data
