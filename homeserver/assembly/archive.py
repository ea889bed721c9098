"""The cold archive of messages: its store, the tier that asks it, and what keeps it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module

from homeserver.assembly.base import Base
from homeserver.assembly.object_stores import bucket_of, store_transport
from homeserver.config import Config
from homeserver.config.archive import Archive
from homeserver.journal.journal import Journal
from homeserver.objects.hdfs import HdfsFolder, HdfsObjects
from homeserver.objects.local import LocalObjects
from homeserver.objects.s3 import S3Objects
from homeserver.objects.store import ObjectStore
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness, SystemRandomness
from homeserver.runtime.metrics import Metrics
from homeserver.storage.database import Database
from homeserver.web.object_transport import ObjectTransport
from search.archive.bodies import ArchivedBodies
from search.archive.erasing import ArchiveEraser
from search.archive.jobs import Worker
from search.archive.keeping import Keeper, Policy
from search.archive.moving import Mover
from search.archive.shelf import Shelf
from search.archive.tier import ColdTier, Reading
from search.archive.tiers import HotAndCold, HotTiers
from search.indexer import Indexer
from search.upkeep.rebuilding import Engine

_CONNECTIONS_MAX = 32
# What one question read.
_BYTES = (0.0, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveParts:
    """What keeps it, and what asks it."""

    shelf: Shelf
    cold: ColdTier
    opened: HotTiers
    keeper: Keeper
    worker: Worker

    def beside(self, engine: Engine) -> Engine:
        """The same engine, whose indices are asked together with the archive and don't hold what that has."""

        def open_tier(number: int, is_live: bool) -> HotAndCold:
            return HotAndCold(engine.open(number, is_live), self.cold, self.shelf, self.opened)

        return Engine(engine.name, open_tier)

    def start(self, base: Base, indexer: Indexer) -> None:
        """Begins to keep it. Call it when the indexer has begun."""
        self.shelf.on_hot_fault = indexer.failed
        base.tasks.forever(self.worker.run, name="archive")
        base.keepers["archive"] = ArchiveEraser(self.keeper, indexer, base.world.clock)


async def open_archive(base: Base) -> None:
    """The archive's files. From here on events can be read whose bodies are in them: before whatever reads any."""
    world = base.world
    transport = store_transport(_CONNECTIONS_MAX)
    shelf = Shelf(world.db, store_of(base.config.archive, world.clock, world.randomness, transport))
    await shelf.load()
    if shelf.files or base.config.archive.after_days is not None:
        # It will be needed (see `search.archive.files`), and to load it holds up all threads for some 40 ms: now nobody
        # waits yet.
        import_module("search.archive.reading")
    world.db.elsewhere = ArchivedBodies(shelf)

    async def close() -> None:
        shelf.close()
        await transport.close()

    base.tasks.at_end(close)


def build_archive(base: Base, journal: Journal) -> ArchiveParts:
    """Call `open_archive` first."""
    world, chosen = base.world, base.config.archive
    assert isinstance(world.db.elsewhere, ArchivedBodies)
    shelf = world.db.elsewhere.shelf
    cold = ColdTier(shelf, world.clock, _count_reads(base.metrics))
    opened = HotTiers()
    mover = Mover(shelf, opened, journal, world.clock, world.randomness, base.config.data_dir / "archive-work")
    keeper = Keeper(
        shelf, mover, world.clock, Policy(after_days=chosen.after_days, bodies_after_days=chosen.bodies_after_days)
    )
    base.metrics.watch(
        "hansa_archive",
        "The cold archive: files, bytes, messages, those hidden until the next compaction, damaged files.",
        "figure",
        lambda: {
            "files": len(shelf.files),
            "bytes": sum(file.bytes for file in shelf.files),
            "messages": sum(file.built.rows for file in shelf.files),
            "hidden": sum(len(file.hidden) for file in shelf.files),
            "damaged_files": sum(file.damage is not None for file in shelf.files),
        },
    )
    worker = Worker(world.db, keeper, world.clock)
    return ArchiveParts(shelf=shelf, cold=cold, opened=opened, keeper=keeper, worker=worker)


@asynccontextmanager
async def archive_reader(config: Config, db: Database, clock: Clock) -> AsyncIterator[ColdTier]:
    """The archive as it is now, for those who look at it beside the server."""
    transport = store_transport(_CONNECTIONS_MAX)
    shelf = Shelf(db, store_of(config.archive, clock, SystemRandomness(), transport), writes=False)
    try:
        await shelf.load()
        yield ColdTier(shelf, clock, lambda reading: None)
    finally:
        shelf.close()
        await transport.close()


def store_of(chosen: Archive, clock: Clock, randomness: Randomness, transport: ObjectTransport) -> ObjectStore:
    """Where the archive is."""
    if chosen.store == "s3":
        return S3Objects(transport, bucket_of(chosen.s3), clock)
    if chosen.store == "hdfs":
        place = HdfsFolder(endpoint=chosen.hdfs.endpoint, folder=chosen.hdfs.folder, user=chosen.hdfs.user)
        return HdfsObjects(transport, place, clock, randomness)
    return LocalObjects(chosen.store_path, randomness, clock)


def _count_reads(metrics: Metrics) -> Callable[[Reading], None]:
    read = metrics.histogram("hansa_archive_query_bytes", "Bytes that a search read of the archive.", buckets=_BYTES)
    missed = metrics.counter("hansa_archive_files_missed_total", "Files that a search couldn't ask.")

    def count(reading: Reading) -> None:
        read.observe(reading.bytes)
        missed.inc(len(reading.missed))

    return count
