"""Positions, visible in order.

A writer opens positions, commits what they stand for to the database, then closes them with the entries that
the consumers in this process get. Entries are handed on strictly by position, and never past one that is still open:
so whoever has seen position n has been given all entries up to n. (A bare cursor over a database sequence skips what
commits late.) After a crash positions go on from a fresh block, so that none is ever used twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage.database import Database, Tx

log = structlog.get_logger()

BLOCK = 10_000
# Events that are no more: `rooms.purging.Purged`.
PURGED = "purged"
_NEXT_BLOCK = "SELECT nextval('journal_blocks')"


@dataclass(frozen=True, slots=True)
class Entry:
    """Something durable that others must hear of.

    `kind` is one of: event, receipt, account_data, to_device, device_list, one_time_keys, presence, pushers, rooms,
    redacted, purged (events that are gone), room_purged (a room that is).
    `room_id` where it happened in a room, `user_ids` whose clients it concerns (beyond the room's members).
    `payload` is what the kind's own module put there: consumers that know the kind need no query.
    """

    position: int
    kind: str
    room_id: RoomId | None = None
    user_ids: Sequence[UserId] = ()
    payload: Any = None


Listener = Callable[[Sequence[Entry]], None]


@dataclass(slots=True)
class _Opened:
    first: int
    last: int
    entries: Sequence[Entry] | None = None  # None while open


@dataclass(slots=True)
class JournalWrite:
    """An open transaction with its positions."""

    tx: Tx
    first_position: int
    entries: list[Entry] = field(default_factory=list)

    @property
    def position(self) -> int:
        return self.first_position

    def publish(
        self,
        kind: str,
        *,
        room_id: RoomId | None = None,
        user_ids: Sequence[UserId] = (),
        payload: Any = None,
        position: int | None = None,
    ) -> None:
        """Tells the consumers, once this is committed."""
        self.entries.append(Entry(position or self.first_position, kind, room_id, tuple(user_ids), payload))


class Journal:
    """Hands out positions, and entries in order. One for each process that writes."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._next = 0
        self._end = 0
        self._open: dict[int, _Opened] = {}  # by first position, in order of opening
        self._visible = 0
        self._listeners: list[Listener] = []
        self._reserving: asyncio.Lock = asyncio.Lock()
        self._consumers: dict[str, Callable[[], int]] = {}

    async def start(self) -> None:
        """Reserves the first block. Everything below it was committed or will never be."""
        block = await self._db.fetchval(_NEXT_BLOCK)
        self._next = block * BLOCK + 1
        self._end = (block + 1) * BLOCK
        self._visible = self._next - 1

    @property
    def visible(self) -> int:
        """The position up to which all is committed and has been handed to the listeners."""
        return self._visible

    def listen(self, listener: Listener) -> None:
        """Calls `listener` with each batch of entries, in order. It must be quick and must not raise."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    def follow(self, consumer: str, seen: Callable[[], int]) -> None:
        """Makes a durable consumer known: `seen` says up to which position it has taken all in."""
        self._consumers[consumer] = seen

    def unfollow(self, consumer: str) -> None:
        self._consumers.pop(consumer, None)

    def lags(self) -> Mapping[str, float]:
        """How many positions each durable consumer is behind."""
        return {consumer: max(0, self._visible - seen()) for consumer, seen in self._consumers.items()}

    async def open(self, count: int = 1) -> int:
        """The first of `count` new positions. They hold up what comes after until closed: always close them."""
        while self._end - self._next + 1 < count:
            await self._reserve(count)
        first = self._next
        self._next += count
        self._open[first] = _Opened(first, first + count - 1)
        return first

    def close(self, first: int, entries: Sequence[Entry]) -> None:
        """Marks the positions opened as `first` committed (given up, with no entries), and hands on what is ready."""
        self._open[first].entries = entries
        ready: list[Entry] = []
        while self._open:
            oldest = next(iter(self._open.values()))
            if oldest.entries is None:
                break
            del self._open[oldest.first]
            ready.extend(oldest.entries)
            self._visible = oldest.last
        if ready:
            for listener in self._listeners:
                try:
                    listener(ready)
                except Exception:
                    log.exception("journal_listener_failed")

    @contextlib.asynccontextmanager
    async def write(self, count: int = 1) -> AsyncIterator[JournalWrite]:
        """A transaction with `count` positions; its entries are published when it has committed."""
        first = await self.open(count)
        entries: Sequence[Entry] = ()
        try:
            async with self._db.transaction() as tx:
                write = JournalWrite(tx, first)
                yield write
            entries = write.entries
        finally:
            self.close(first, entries)

    async def _reserve(self, count: int) -> None:
        async with self._reserving:
            if self._end - self._next + 1 >= count:
                return
            if count > BLOCK:
                raise ValueError(f"at most {BLOCK} positions at once")
            block = await self._db.fetchval(_NEXT_BLOCK)
            self._next = block * BLOCK + 1
            self._end = (block + 1) * BLOCK
