"""Moves one month and bucket from the hot index into a file, or back. A crash at any point leaves the old or the new.

A file counts from one transaction on, after both objects were read back from the store and found whole. Until the hot
index has let go of an event, the file's own is passed over: it is found once, at every moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from pyroaring import BitMap64

from homeserver.core.identifiers import EventId
from homeserver.journal.journal import Journal
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.runtime.progress import Progress
from search.archive import catalog, source
from search.archive.bodies import ArchivedBodies, NotHere
from search.archive.catalog import PARQUET, TERMS, File
from search.archive.files import PARQUET_NAME, TERMS_NAME, Built, Made
from search.archive.making import Makers
from search.archive.shelf import Shelf, month_span
from search.archive.source import Choice
from search.archive.terms import Damaged
from search.archive.tiers import HotTiers
from search.reading import read_events
from search.tiers import Gone

if TYPE_CHECKING:
    from search.archive.reading import ArchiveFile

log = structlog.get_logger()

PIECE_BYTES = 1024 * 1024
# So many events leave the hot index at once, or come back to it.
STEP = 4_000
# Objects of work that never ended are deleted after a day; those replaced when nobody reads them any more.
UNFINISHED_MS = 24 * 3600 * 1000
REPLACED_MS = 10 * 60 * 1000


class NotWhole(Exception):
    """What the store gives back isn't what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a file is to hold: the rooms chosen, and the digest of the rule that chose them."""

    month: str
    bucket: int
    buckets: int
    rule: str
    without: frozenset[int] = frozenset()
    only: frozenset[int] | None = None

    @property
    def key(self) -> tuple[str, int]:
        return self.month, self.bucket

    @property
    def choice(self) -> Choice:
        return Choice(
            month_span=month_span(self.month),
            buckets=self.buckets,
            bucket=self.bucket,
            without=self.without,
            only=self.only,
        )


class Mover:
    """Never the same file twice at once: whoever calls sees to that. `folder` is for files that are being made."""

    def __init__(
        self, shelf: Shelf, hot: HotTiers, journal: Journal, clock: Clock, randomness: Randomness, folder: Path
    ) -> None:
        self._shelf = shelf
        self.bodies = ArchivedBodies(shelf)
        self._hot = hot
        self._journal = journal
        self._clock = clock
        self._randomness = randomness
        self._folder = folder

    async def archive(self, target: Target, makers: Makers, progress: Progress) -> int:
        """Makes the file of a month and bucket anew from the database; how many messages it has.

        Raises NotWhole, TierFault, Unavailable, OSError. Where bodies of the old file can't be read, that one stays.
        """
        old = self._shelf.file(target.key)
        try:
            if old is not None and old.bodies and old.damage is not None:
                await self.bodies.bring_back(old)
            return await self._archive(target, makers, progress)
        except NotHere as lost:
            raise NotWhole(str(lost)) from None
        except Damaged as damage:
            if old is not None:
                await self._shelf.damaged(old, str(damage))
            raise NotWhole(f"{target.month}, bucket {target.bucket}: {damage}") from None

    async def _archive(self, target: Target, makers: Makers, progress: Progress) -> int:
        async with self._shelf.changing:
            # From now on what changes goes to the hot index, whatever the file will say.
            self._shelf.touched[target.key] = BitMap64()
        try:
            upto = self._journal.visible
            made = await self._make(target, upto, makers, progress)
            if made is None:
                await self._leave_empty(target)
                return 0
            file = await self._commit(target, made, upto)
        finally:
            self._shelf.touched.pop(target.key, None)
        await self.let_go(file, progress)
        return file.built.rows

    async def let_go(self, file: File, progress: Progress) -> None:
        """Takes out of the hot index what a file has, step by step. Raises TierFault, Damaged, Unavailable."""
        if file.name not in self._shelf.still_hot:
            self._shelf.still_hot[file.name] = BitMap64((await self._shelf.events(file)).nids)
        left, total = self._shelf.still_hot[file.name], len(self._shelf.still_hot[file.name])
        (gone, _) = await self._shelf.reading(file, lambda one: _as_gone(one, left, file.upto))
        for at in range(0, len(gone), STEP):
            async with self._shelf.changing:
                hidden = self._file(file).hidden
                step = [one for one in gone[at : at + STEP] if one.event_nid not in hidden]
                with self._crossing():
                    await self._hot.let_go(step)
                    left -= BitMap64(one.event_nid for one in gone[at : at + STEP])
            progress(f"{file.month}: leaves the hot index", min(at + STEP, total), total)
        async with self._shelf.changing:
            with self._crossing():
                await self._hot.drop_if_empty(file.month)
            async with self._shelf.db.transaction() as tx:
                await catalog.set_cold(tx, file.name)
            self._shelf.put(replace(self._file(file), is_cold=True))
            self._shelf.still_hot.pop(file.name, None)

    async def restore(self, file: File, progress: Progress) -> int:
        """Gives the hot index back what a file has; how many messages. The file still counts, with nothing shown of it.

        Raises NotHere, TierFault, Unavailable.
        """
        if file.bodies:
            await self.bodies.bring_back(file)
        choice = Choice(
            month_span=month_span(file.month), buckets=self._shelf.buckets(file.month) or 1, bucket=file.bucket
        )
        nids = await source.chosen(self._shelf.db, choice)
        async with self._shelf.changing:
            # After a crash from here on it leaves the hot index once more.
            async with self._shelf.db.transaction() as tx:
                await catalog.put(tx, replace(self._file(file), is_cold=False))
            self._shelf.still_hot.setdefault(file.name, BitMap64())
            self._shelf.put(replace(self._file(file), is_cold=False))
        count = 0
        async for said in source.pages(self._shelf.db, nids):
            ids = dict.fromkeys(EventId(one[3]) for one in said)
            async with self._shelf.changing:
                documents = (await read_events(self._shelf.db, ids, self._journal.visible)).documents
                with self._crossing():
                    await self._hot.write(documents)
                    self._shelf.still_hot[file.name] |= BitMap64(one.event_nid for one in documents)
            count += len(documents)
            progress(f"{file.month}: back to the hot index", min(count, file.built.rows), file.built.rows)
        return count

    # --- making

    async def _make(self, target: Target, upto: int, makers: Makers, progress: Progress) -> tuple[str, Built] | None:
        """Writes both objects and reads them back: their name, and what is in them. None where there is nothing."""
        nids = await source.chosen(self._shelf.db, target.choice)
        name = f"{target.month}/{target.bucket:04}-{self._randomness.token(16)}"
        await asyncio.to_thread(self._folder.mkdir, 0o700, True, True)
        with tempfile.TemporaryDirectory(dir=self._folder) as temporary:
            folder = Path(temporary)
            async with makers.maker(folder, upto, len(nids)) as maker:
                done = 0
                async for said in source.pages(self._shelf.db, nids):
                    await maker.add(said)
                    done += source.PAGE
                    progress(f"{target.month}: written", min(done, len(nids)), len(nids))
                built = await maker.finish()
            if not built.rows:
                return None
            async with self._shelf.db.transaction() as tx:
                due_ms = self._clock.now_ms() + UNFINISHED_MS
                await catalog.leave(tx, [name + PARQUET, name + TERMS], due_ms)
            await self._put(name + PARQUET, folder / PARQUET_NAME, built.parquet)
            await self._put(name + TERMS, folder / TERMS_NAME, built.terms)
            await self._read_back(name + TERMS, folder / "again", built.terms)
            await self._read_back(name + PARQUET, folder / "again", built.parquet)
            if await asyncio.to_thread(_rows_digest, folder / "again") != built.digest:
                raise NotWhole("what was read back has other rows")
        return name, built

    async def _put(self, name: str, path: Path, made: Made) -> None:
        written = await self._shelf.store.put(name, _pieces(path))
        if (written.size_bytes, written.digest) != (made.size_bytes, made.digest):
            raise NotWhole("the store took something else than was written")

    async def _read_back(self, name: str, path: Path, made: Made) -> None:
        digest = hashlib.sha256()
        with await asyncio.to_thread(path.open, "wb") as file:
            async for piece in self._shelf.store.get(name):
                await asyncio.to_thread(digest.update, piece)
                await asyncio.to_thread(file.write, piece)
        if digest.hexdigest() != made.digest:
            raise NotWhole("what was read back isn't what was written")

    async def _commit(self, target: Target, made: tuple[str, Built], upto: int) -> File:
        name, built = made
        now_ms = self._clock.now_ms()
        async with self._shelf.changing:
            touched = self._shelf.touched[target.key]
            old = self._shelf.file(target.key)
            file = File(
                month=target.month,
                bucket=target.bucket,
                name=name,
                is_cold=False,
                upto=upto,
                made_ms=now_ms,
                rule=target.rule,
                built=built,
                hidden=BitMap64(touched),
                hidden_since_ms=now_ms if touched else None,
                bodies=min(old.bodies, built.rows) if old is not None else 0,
            )
            events = await self._shelf.events(file)
            if old is not None and old.bodies:
                await self.bodies.bring_back(old, without=events.nids)
            still_hot = BitMap64(events.nids)
            if old is not None and old.is_cold and old.damage is None:
                with contextlib.suppress(Damaged):
                    # The hot index has none of what the old file showed.
                    still_hot -= (await self._shelf.events(old)).nids - old.hidden
            async with self._shelf.db.transaction() as tx:
                await catalog.put(tx, file)
                if old is not None:
                    await catalog.leave(tx, [old.name + PARQUET, old.name + TERMS], now_ms + REPLACED_MS)
            with self._crossing():
                if old is not None:
                    self._shelf.drop(old)
                self._shelf.still_hot[name] = still_hot
                self._shelf.put(file)
        return file

    async def _leave_empty(self, target: Target) -> None:
        """Nothing is left of what was in it."""
        async with self._shelf.changing:
            old = self._shelf.file(target.key)
            if old is not None:
                if old.bodies:
                    await self.bodies.bring_back(old)
                async with self._shelf.db.transaction() as tx:
                    await catalog.drop_file(tx, old)
                    now_ms = self._clock.now_ms()
                    await catalog.leave(tx, [old.name + PARQUET, old.name + TERMS], now_ms + REPLACED_MS)
                with self._crossing():
                    self._shelf.drop(old)

    def _file(self, file: File) -> File:
        """As it is now: more of it may be hidden."""
        return self._shelf.file(file.key) or file

    @contextlib.contextmanager
    def _crossing(self) -> Iterator[None]:
        """Events go from one tier to the other: who asks meanwhile asks again."""
        self._shelf.epoch += 1
        try:
            yield
        finally:
            self._shelf.epoch += 1


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


def _rows_digest(path: Path) -> str:
    from search.archive.building import rows_digest

    return rows_digest(path)


def _as_gone(file: ArchiveFile, wanted: BitMap64, version: int) -> Sequence[Gone]:
    """What the hot index is told of these events."""
    gone: list[Gone] = []
    for group in range(file.groups):
        if wanted.range_cardinality(*_closed(file.bounds(group, "event_nid"))):
            names = ("event_nid", "room_nid", "received_ms", "event_id")
            file.load(group, names)
            nids, rooms, received, ids = (file.column(group, name) for name in names)
            for nid, room_nid, received_ms, event_id in zip(nids, rooms, received, ids, strict=True):
                if nid in wanted:
                    gone.append(Gone(nid, room_nid, version, event_id, received_ms))
            file.let_go()
    return gone


def _closed(bounds: tuple[int, int]) -> tuple[int, int]:
    return bounds[0], bounds[1] + 1
