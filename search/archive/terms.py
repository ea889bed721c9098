"""The index of a file's words: term → Roaring bitmap of row numbers, laid out so that a query reads little.

    bitmaps | blocks | head | tail

A block is a run of terms in order, each with its rows: a few are in the block itself, more are a bitmap before. The
head has the first term of each block, the rooms with their rows, and the checksums of the Parquet file's chunks; the
tail says where the head is. Every part has a checksum: what is damaged is never taken for an answer.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

import msgspec
import zstandard
from pyroaring import BitMap

from search.analyser import VERSION
from search.archive.spelling import Spelling
from search.tiers import Document

FORMAT_VERSION = 1
BLOCK_TERMS = 128
# So few rows of a term stand in its block.
INLINE_ROWS = 8
TAIL_BYTES = 24
# What isn't a word begins with a control character, which no word has.
KEY, SENDER, TYPE, HAS, MENTION = "\x01k", "\x01s", "\x01t", "\x01h", "\x01m"
_WORDS = "\x02"
_MAGIC = b"HNSATRM1"
_LEVEL = 6

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


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A term's rows: listed, or a bitmap at [start, end) with a CRC-32."""

    term: str
    rows: list[int]
    start: int = 0
    end: int = 0
    crc: int = 0


_blocks = msgspec.msgpack.Decoder(list[Entry])
_heads = msgspec.msgpack.Decoder(Head)


def terms_of(document: Document) -> set[str]:
    """All that a document is found by, but for its place and time."""
    terms = {*document.tokens, *document.extras}
    terms.update((KEY + document.key, SENDER + document.sender, TYPE + document.type))
    terms.update(HAS + kind for kind in document.has)
    terms.update(MENTION + user_id for user_id in document.mentions)
    if document.thread_root is not None:
        terms.add(HAS + "thread")
    return terms


class TermWriter:
    """Gathers the terms of a file's rows, in the order of the rows."""

    def __init__(self) -> None:
        self._rows: dict[str, array[int]] = {}
        self._rooms: list[Room] = []
        self._count = 0

    def add(self, document: Document) -> None:
        """The next row."""
        row, rows = self._count, self._rows
        for term in terms_of(document):
            found = rows.get(term)
            if found is None:
                rows[term] = array("I", (row,))
            else:
                found.append(row)
        last = self._rooms[-1] if self._rooms else None
        if last is not None and last.room_nid == document.room_nid:
            self._rooms[-1] = Room(last.room_nid, last.room_id, last.first_row, last.count + 1)
        else:
            self._rooms.append(Room(document.room_nid, document.room_id, row, 1))
        self._count += 1

    def write(self, file: BinaryIO, chunks: list[list[int]]) -> tuple[int, int]:
        """Writes the index; where its head begins, and how long it is."""
        at = 0
        packer = zstandard.ZstdCompressor(level=_LEVEL)
        entries: list[Entry] = []
        for term in sorted(self._rows):
            rows = self._rows[term]
            if len(rows) <= INLINE_ROWS:
                entries.append(Entry(term, rows.tolist()))
                continue
            bitmap = BitMap(rows)
            bitmap.run_optimize()
            data = bitmap.serialize()
            file.write(data)
            entries.append(Entry(term, [], at, at + len(data), zlib.crc32(data)))
            at += len(data)
        blocks: list[Block] = []
        for first in range(0, len(entries), BLOCK_TERMS):
            some = entries[first : first + BLOCK_TERMS]
            data = packer.compress(msgspec.msgpack.encode(some))
            file.write(data)
            blocks.append(Block(some[0].term, at, at + len(data), zlib.crc32(data)))
            at += len(data)
        head = Head(FORMAT_VERSION, VERSION, self._count, self._rooms, blocks, chunks)
        data = packer.compress(msgspec.msgpack.encode(head))
        file.write(data)
        tail = at.to_bytes(8, "little") + len(data).to_bytes(4, "little") + zlib.crc32(data).to_bytes(4, "little")
        file.write(tail + _MAGIC)
        return at, len(data)


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
        for entry in self._entries(at, at + 1) if at >= 0 else ():
            if entry.term == term:
                return self._bitmaps([entry])
        return BitMap()

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

    def _entries(self, first: int, last: int) -> Iterator[Entry]:
        blocks = self._head.blocks[first:last]
        if not blocks:
            return
        start = blocks[0].start
        data = self._fetch(start, blocks[-1].end)
        for block in blocks:
            part = _checked(data[block.start - start : block.end - start], block.crc)
            yield from _blocks.decode(zstandard.decompress(part))

    def _bitmaps(self, entries: Sequence[Entry]) -> BitMap:
        found = BitMap()
        listed = [row for entry in entries for row in entry.rows]
        if listed:
            found |= BitMap(listed)
        for start, end, some in _runs(entry for entry in entries if entry.end):
            data = self._fetch(start, end)
            for one in some:
                found |= BitMap.deserialize(_checked(data[one.start - start : one.end - start], one.crc))
        return found


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
