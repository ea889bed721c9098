"""Lists of row numbers in as few bytes as they need: the distances between them, seven bits a byte. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

# So many bits does a distance take at most, seven a byte.
_STEPS = (1 << 7, 1 << 14, 1 << 21, 1 << 28)


class Packer:
    """Many lists at once: rising row numbers, one list after the other, each beginning at one of `starts`."""

    def __init__(self, rows: Numbers, starts: Numbers) -> None:
        distances = np.diff(rows, prepend=0)
        distances[starts] = rows[starts]
        sizes = np.ones(len(rows), np.uint8)
        for step in _STEPS:
            sizes += distances >= step
        ends = np.cumsum(sizes, dtype=np.int64)
        packed = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
        begins, has_more = ends - sizes, sizes > 1
        packed[begins] = (distances & 0x7F).astype(np.uint8) | has_more.astype(np.uint8) << 7
        # Most take one byte: what follows is of few.
        longer, at = np.flatnonzero(has_more), 1
        while len(longer):
            more = sizes[longer] > at + 1
            packed[begins[longer] + at] = ((distances[longer] >> (7 * at)) & 0x7F) | (more << 7)
            longer, at = longer[more], at + 1
        self._bytes = packed.tobytes()
        self._ends: list[int] = np.concatenate(([0], ends)).tolist()

    def packed(self, first: int, last: int) -> bytes:
        """A list, or several one after the other: from a place to before another."""
        return self._bytes[self._ends[first] : self._ends[last]]


def unpacked(data: bytes) -> Numbers:
    """The row numbers of one list. Raises ValueError for what isn't one."""
    return np.cumsum(_distances(data))


def unpacked_lists(data: bytes, counts: Sequence[int]) -> list[list[int]]:
    """The row numbers of lists that lie one after the other. Raises ValueError."""
    sizes = np.array(counts, np.int64)
    distances, ends = _distances(data), np.cumsum(sizes)
    if len(distances) != (int(ends[-1]) if counts else 0):
        raise ValueError("other lists than were written")
    sums = np.concatenate(([0], np.cumsum(distances)))
    firsts = ends - sizes
    rows: list[int] = (sums[1:] - np.repeat(sums[firsts], sizes)).tolist()
    return [rows[first:end] for first, end in zip(firsts.tolist(), ends.tolist(), strict=True)]


def unpacked_at(data: bytes, first: int, count: int) -> list[int]:
    """A list of so many rows, of which so many numbers lie in others before it. Raises ValueError."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) < 0x80)
    if first + count > len(ends):
        raise ValueError("a list of rows is cut short")
    begin = int(ends[first - 1]) + 1 if first else 0
    rows: list[int] = np.cumsum(_distances(data[begin : int(ends[first + count - 1]) + 1])).tolist() if count else []
    return rows


def _distances(data: bytes) -> Numbers:
    parts = np.frombuffer(data, np.uint8)
    if not len(parts):
        return np.empty(0, np.int64)
    if parts[-1] & 0x80:
        raise ValueError("a list of rows is cut short")
    begins = np.concatenate(([True], (parts[:-1] & 0x80) == 0))
    firsts = np.flatnonzero(begins)
    places = np.arange(len(parts)) - firsts[np.cumsum(begins) - 1]
    if places.max() > len(_STEPS):
        raise ValueError("a row number is too large")
    return np.add.reduceat((parts & 0x7F).astype(np.int64) << (7 * places), firsts)
