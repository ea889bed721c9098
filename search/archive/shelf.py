"""Which files there are, in memory, and what is read of them: one for the process."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import structlog
from pyroaring import BitMap64

from homeserver.core.errors import Unavailable
from homeserver.objects.local import LocalObjects
from homeserver.objects.store import NoSuchObject, ObjectStore
from homeserver.storage.database import Database
from search.archive import catalog
from search.archive.catalog import PARQUET, TERMS, File
from search.archive.terms import Damaged
from search.hot.months import month_of
from search.tiers import TierFault

if TYPE_CHECKING:
    from search.archive.reading import ArchiveFile, Contents

log = structlog.get_logger()
T = TypeVar("T")

# Files read at once, each in a thread of its own; they wait for the store more than they count.
THREADS = 4
READ_S = 30.0
FIRST_MONTH, LAST_MONTH = month_of(-(2**62)), month_of(2**62)
CONTENTS_BYTES_MAX = 256 * 1024 * 1024
EVENTS_FILES_MAX = 64


@dataclass(frozen=True, slots=True)
class Events:
    """The events of a file: their numbers, and of those that another event says, which."""

    nids: BitMap64
    edited: Mapping[int, int]

    def says(self, event_nid: int, source_nid: int) -> bool:
        """Whether the file has this event as that one says it."""
        return event_nid in self.nids and self.edited.get(event_nid, event_nid) == source_nid


class ObjectParts:
    """Reads parts of one file's objects from a thread, and counts the bytes."""

    def __init__(self, store: ObjectStore, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._store = store
        self._loop = loop
        self._name = name
        self.bytes_read = 0

    def parquet(self, start: int, end: int) -> bytes:
        return self._part(self._name + PARQUET, start, end)

    def terms(self, start: int, end: int) -> bytes:
        return self._part(self._name + TERMS, start, end)

    def _part(self, name: str, start: int, end: int) -> bytes:
        if end <= start:
            return b""
        if isinstance(self._store, LocalObjects):
            data = _read_directly(self._store, name, start, end)
        else:
            data = self._waited_for(name, start, end)
        self.bytes_read += len(data)
        return data

    def _waited_for(self, name: str, start: int, end: int) -> bytes:
        waiting = asyncio.run_coroutine_threadsafe(read_part(self._store, name, start, end), self._loop)
        try:
            return waiting.result(READ_S + 5)
        except TimeoutError:
            waiting.cancel()
            raise TierFault("the archive's store doesn't answer") from None


def _read_directly(store: LocalObjects, name: str, start: int, end: int) -> bytes:
    """As `read_part`, without a turn of the event loop: a question reads many small parts."""
    try:
        data = store.read(name, start, end)
    except NoSuchObject:
        raise Damaged("an object is missing") from None
    except OSError as error:
        raise TierFault(f"the archive's store can't be read: {type(error).__name__}") from None
    if len(data) != end - start:
        raise Damaged("an object is cut short")
    return data


async def read_part(store: ObjectStore, name: str, start: int, end: int) -> bytes:
    """Raises Damaged where the object is missing or cut short, TierFault where the store can't be asked."""
    try:
        async with asyncio.timeout(READ_S):
            data = b"".join([piece async for piece in store.get(name, start, end)])
    except NoSuchObject:
        raise Damaged("an object is missing") from None
    except (Unavailable, OSError, TimeoutError) as error:
        raise TierFault(f"the archive's store can't be read: {type(error).__name__}") from None
    if len(data) != end - start:
        raise Damaged("an object is cut short")
    return data


class Shelf:
    """The files that count. What changes them is done by one at a time, who holds `changing`."""

    def __init__(self, db: Database, store: ObjectStore, *, writes: bool = True) -> None:
        self.db = db
        self.store = store
        self._writes = writes
        self.changing = asyncio.Lock()
        # Events that the hot index still has, or has again, by file: they aren't found here.
        self.still_hot: dict[str, BitMap64] = {}
        # Events that changed while a file was made, by month and bucket.
        self.touched: dict[tuple[str, int], BitMap64] = {}
        # Grows whenever events go from one tier to the other; odd while they do.
        self.epoch = 0
        self.stays_hot: frozenset[str] = frozenset()
        # Hears of faults of the hot tier, which an answer of the cold one survives.
        self.on_hot_fault: Callable[[TierFault], None] = lambda fault: None
        self._buckets: dict[str, int] = {}
        self._files: dict[tuple[str, int], File] = {}
        self._contents: OrderedDict[str, Contents] = OrderedDict()
        self._contents_bytes = 0
        self._events: OrderedDict[str, Events] = OrderedDict()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="archive")

    async def load(self) -> None:
        """What the catalog says. Raises Unavailable."""
        months = await catalog.months(self.db)
        self._buckets = {month: one.buckets for month, one in months.items()}
        self.stays_hot = frozenset(month for month, one in months.items() if one.stays_hot)
        self._files = {file.key: file for file in await catalog.files(self.db)}

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def files(self) -> Sequence[File]:
        return list(self._files.values())

    def buckets(self, month: str) -> int | None:
        """Into how many a month's rooms go; None for one that isn't archived."""
        return self._buckets.get(month)

    def set_month(self, month: str, buckets: int | None, *, stays_hot: bool = False) -> None:
        """As the catalog has it now; None for one that has no files any more."""
        self.stays_hot = self.stays_hot | {month} if stays_hot else self.stays_hot - {month}
        if buckets is None:
            self._buckets.pop(month, None)
        else:
            self._buckets[month] = buckets

    def key_of(self, received_ms: int, room_nid: int) -> tuple[str, int] | None:
        """The month and bucket that an event belongs to, if that month has files."""
        month = month_of(received_ms)
        buckets = self._buckets.get(month)
        return None if buckets is None else (month, room_nid % buckets)

    def file(self, key: tuple[str, int]) -> File | None:
        return self._files.get(key)

    def of_rooms(self, room_nids: Iterable[int]) -> list[File]:
        """The files that may have events of these rooms."""
        rooms = list(room_nids)
        found: list[File] = []
        for month, buckets in self._buckets.items():
            wanted = sorted({room_nid % buckets for room_nid in rooms})
            found += [file for bucket in wanted if (file := self._files.get((month, bucket))) is not None]
        return found

    def put(self, file: File) -> None:
        """This one counts now."""
        self._files[file.key] = file

    def put_bodies(self, file: File, count: int, *, is_done: bool = False) -> None:
        """So many more events have their bodies in this file alone."""
        found = self._files.get(file.key)
        if found is not None and found.name == file.name:
            self.put(replace(found, bodies=found.bodies + count, bodies_moved=is_done))

    def drop(self, file: File) -> None:
        """This one counts no more."""
        self._files.pop(file.key, None)
        self.still_hot.pop(file.name, None)
        self.forget(file.name)

    def forget(self, name: str) -> None:
        """What was read of it."""
        self._events.pop(name, None)
        if (contents := self._contents.pop(name, None)) is not None:
            self._contents_bytes -= contents.size_bytes

    async def hide(self, hidden: Mapping[tuple[str, int], Iterable[int]], now_ms: int) -> None:
        """Durable, and true for every later question, when it returns. Raises Unavailable."""
        changed = []
        for key, nids in hidden.items():
            file = self._files.get(key)
            if file is not None and (more := BitMap64(nids) - file.hidden):
                changed.append(replace(file, hidden=file.hidden | more, hidden_since_ms=file.hidden_since_ms or now_ms))
        if changed:
            async with self.db.transaction() as tx:
                await catalog.hide(tx, {file.name: file.hidden for file in changed}, now_ms)
            for file in changed:
                self.put(file)

    async def damaged(self, file: File, damage: str) -> None:
        """It isn't asked any more until it is made anew."""
        log.warning("archive_file_damaged", month=file.month, bucket=file.bucket, damage=damage)
        found = self._files.get(file.key)
        if found is not None and found.name == file.name and found.damage is None:
            self.put(replace(found, damage=damage))
            self.forget(file.name)
            if not self._writes:
                # Who only looks may look into another store than the server's.
                return
            async with self.db.transaction() as tx:
                await catalog.set_damage(tx, file.name, damage)

    async def events(self, file: File) -> Events:
        """Raises Damaged, TierFault."""
        known = self._events.get(file.name)
        if known is None:
            read, _ = await self.reading(file, read_events)
            known = self._events[file.name] = read
            while len(self._events) > EVENTS_FILES_MAX:
                self._events.popitem(last=False)
        return known

    async def reading(self, file: File, work: Callable[[ArchiveFile], T]) -> tuple[T, int]:
        """Does work on a file in a thread: what comes of it, and how many bytes it read. Raises Damaged, TierFault."""
        parts = ObjectParts(self.store, asyncio.get_running_loop(), file.name)
        kept = self._contents.get(file.name)

        def look() -> tuple[Contents, T]:
            from search.archive.reading import ArchiveFile, read_contents

            contents = kept or read_contents(parts, file.built)
            return contents, work(ArchiveFile(contents, parts))

        contents, result = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        if kept is None and file.name not in self._contents:
            self._contents[file.name] = contents
            self._contents_bytes += contents.size_bytes
            while self._contents_bytes > CONTENTS_BYTES_MAX and len(self._contents) > 1:
                self._contents_bytes -= self._contents.popitem(last=False)[1].size_bytes
        elif kept is not None and file.name in self._contents:
            self._contents.move_to_end(file.name)
        return result, parts.bytes_read


def read_events(file: ArchiveFile) -> Events:
    """Raises Damaged."""
    nids = BitMap64()
    edited: dict[int, int] = {}
    for group in range(file.groups):
        file.load(group, ("event_nid", "source_nid"))
        found, sources = file.column(group, "event_nid"), file.column(group, "source_nid")
        nids |= BitMap64(found)
        edited.update((nid, source) for nid, source in zip(found, sources, strict=True) if nid != source)
        file.let_go()
    return Events(nids, edited)


def month_span(month: str) -> tuple[int, int]:
    """From which millisecond on, and before which: as `month_of` counts, in milliseconds."""
    year, number = int(month[:4]), int(month[5:])
    after = (year + 1, 1) if number == 12 else (year, number + 1)
    begin, end = (int(datetime(*one, 1, tzinfo=UTC).timestamp()) * 1000 for one in ((year, number), after))
    return (-(2**62) if month == FIRST_MONTH else begin), (2**62 if month == LAST_MONTH else end)
