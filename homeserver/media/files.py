"""The bytes of media: each content is kept once, and is gone when nothing names it any more.

Invariant: an object in the store is named by a row of `media_files` or `media_thumbnails`, or by one of
`media_leftovers`. What is to be written is noted before, what is to be deleted in the transaction that lets go of it:
so a crash leaves nothing for ever.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass

import structlog

from homeserver.core.errors import NotFound
from homeserver.media.scanning import Scanner
from homeserver.objects.store import NoSuchObject, ObjectStore
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import media_files
from homeserver.storage.database import Database, Tx

log = structlog.get_logger()

AT_ONCE = 200
# How long a write may take before what it left is taken for a crash's. Uploads have a minimum speed.
WRITE_MS_MAX = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes in the store that nothing names yet: give them to `settle`, or let go of them by `drop`."""

    digest: str
    size_bytes: int
    object: str


class Files:
    """Writes, reads and deletes."""

    # Raises Unavailable while nothing can be kept. Asked here as well as at the door: who reads may make the server
    # fetch another's file, or make a picture smaller.
    check_room: Callable[[], None] = staticmethod(lambda: None)

    def __init__(
        self, db: Database, objects: ObjectStore, clock: Clock, randomness: Randomness, scanner: Scanner | None = None
    ) -> None:
        self._db = db
        self._clock = clock
        self._randomness = randomness
        self._scanner = scanner
        self.objects = objects

    async def keep(self, folder: str, pieces: AsyncIterator[bytes]) -> Kept:
        """Writes an object under a name of its own, and has it scanned where there is a scanner.

        Whatever `pieces` raises leaves nothing behind; nor does a file that is refused (Forbidden, Unavailable).
        """
        self.check_room()
        token = self._randomness.token(18)
        name = f"{folder}/{token[:2]}/{token}"
        async with self._db.transaction() as tx:
            await media_files.note(tx, [name], self._clock.now_ms() + WRITE_MS_MAX)
        try:
            written = await self.objects.put(name, pieces)
        except BaseException:
            async with self._db.transaction() as tx:
                await media_files.forget(tx, [name])
            raise
        kept = Kept(written.digest, written.size_bytes, name)
        if self._scanner is not None:
            try:
                await self._scanner.check(await self.read(name))
            except BaseException:
                await self.drop(kept)
                raise
        return kept

    async def settle(self, tx: Tx, kept: Kept) -> None:
        """In the transaction that names these bytes: they are a file now. `dropped` must follow it."""
        used = await media_files.add(tx, kept.digest, kept.object, kept.size_bytes)
        if used == kept.object:
            await media_files.forget(tx, [kept.object])
        else:
            await media_files.note(tx, [kept.object], 0)

    async def drop(self, kept: Kept) -> None:
        """Lets go of bytes that were refused after all."""
        async with self._db.transaction() as tx:
            await media_files.note(tx, [kept.object], 0)
        await self.delete_due()

    async def release(self, tx: Tx, digests: Collection[str]) -> None:
        """In the transaction that deleted names of these files: notes what nothing names any more."""
        objects = await media_files.delete_unused(tx, sorted(digests))
        if objects:
            await media_files.note(tx, objects, 0)

    async def delete_due(self) -> None:
        """Deletes the objects that are due: what was let go of, and what crashes have left."""
        while due := await media_files.due(self._db, self._clock.now_ms(), AT_ONCE):
            for name in due:
                await self.objects.delete(name)
            async with self._db.transaction() as tx:
                await media_files.forget(tx, due)
            if len(due) < AT_ONCE:
                return

    async def read(self, name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Raises NotFound, before it gives an iterator, where the object isn't there."""
        pieces = self.objects.get(name, start, end)
        try:
            first = await anext(pieces)
        except StopAsyncIteration:
            first = b""
        except NoSuchObject:
            log.warning("media_object_missing", object=name)
            raise NotFound("the file is gone") from None
        return _after(first, pieces)


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        if first:
            yield first
        async for piece in rest:
            yield piece
    finally:
        close = getattr(rest, "aclose", None)
        if close is not None:
            await close()
