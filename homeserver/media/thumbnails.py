"""Smaller pictures: made once for each file and size, in the sandbox, and kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from homeserver.core.errors import MatrixError, NotFound, TooLarge
from homeserver.media.files import Files
from homeserver.media.sandbox import Sandbox, SandboxFault
from homeserver.storage import media_files
from homeserver.storage.database import Database
from homeserver.storage.media_files import ThumbnailRow

SOURCE_BYTES_MAX = 50 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Size:
    """A size that thumbnails come in. `method` is crop (exactly this shape) or scale (at most this large)."""

    width: int
    height: int
    method: str

    @property
    def name(self) -> str:
        return f"{self.width}x{self.height}-{self.method}"


def choose(sizes: tuple[Size, ...], width: int, height: int, method: str) -> Size:
    """The smallest configured size that is at least what was asked for, or the largest one."""
    same = [size for size in sizes if size.method == method] or list(sizes)
    large = [size for size in same if size.width >= width and size.height >= height]
    if large:
        return min(large, key=lambda size: size.width * size.height)
    return max(same, key=lambda size: size.width * size.height)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file of which a thumbnail is wanted."""

    digest: str
    object: str
    size_bytes: int


class Thumbnails:
    """Finds thumbnails, or has them made."""

    def __init__(
        self, db: Database, files: Files, sandbox: Sandbox, *, sizes: tuple[Size, ...], pixels_max: int
    ) -> None:
        self._db = db
        self._files = files
        self._sandbox = sandbox
        self._sizes = sizes
        self._pixels_max = pixels_max
        self._making: dict[tuple[str, str], asyncio.Task[ThumbnailRow]] = {}

    async def get(
        self, source: Source, width: int, height: int, method: str, *, animated: bool
    ) -> tuple[ThumbnailRow, str]:
        """The thumbnail and the object that keeps it. Raises MatrixError where there is none, LimitExceeded."""
        size = choose(self._sizes, width, height, method)
        name = size.name + ("-animated" if animated else "")
        row = await media_files.thumbnail(self._db, source.digest, name)
        if row is None:
            row = await self._made_once(source, size, name, animated)
        if row.object is None:
            raise MatrixError("this is no picture that can be made smaller", errcode="M_UNKNOWN", status=400)
        return row, row.object

    async def _made_once(self, source: Source, size: Size, name: str, animated: bool) -> ThumbnailRow:
        """Who asks for one that is being made waits for it; a caller that goes away stops nobody else."""
        key = (source.digest, name)
        task = self._making.get(key)
        if task is None:
            task = asyncio.ensure_future(self._make(source, size, name, animated))
            self._making[key] = task
            task.add_done_callback(lambda _: self._making.pop(key, None))
        return await asyncio.shield(task)

    async def _make(self, source: Source, size: Size, name: str, animated: bool) -> ThumbnailRow:
        if source.size_bytes > SOURCE_BYTES_MAX:
            raise TooLarge("this picture is too large for a thumbnail")
        job = {
            "job": "thumbnail",
            "width": size.width,
            "height": size.height,
            "method": size.method,
            "animated": animated,
            "pixels_max": self._pixels_max,
        }
        try:
            answer, made = await self._sandbox.run(job, self._source(source), source.size_bytes)
        except SandboxFault as fault:
            if not fault.is_final:
                raise MatrixError(str(fault), errcode="M_UNKNOWN", status=400) from None
            row = ThumbnailRow(None, 0, "")
            async with self._db.transaction() as tx:
                await media_files.add_thumbnail(tx, source.digest, name, row)
            return row
        return await self._kept(source, name, str(answer["content_type"]), made)

    async def _kept(self, source: Source, name: str, content_type: str, made: bytes) -> ThumbnailRow:
        kept = await self._files.keep("thumbnails", _one(made))
        row = ThumbnailRow(kept.object, kept.size_bytes, content_type)
        async with self._db.transaction() as tx:
            is_kept = await media_files.add_thumbnail(tx, source.digest, name, row)
            if is_kept:
                await media_files.forget(tx, [kept.object])
        if is_kept:
            return row
        await self._files.drop(kept)
        found = await media_files.thumbnail(self._db, source.digest, name)
        if found is None:
            raise NotFound("the file is gone")
        return found

    async def _source(self, source: Source) -> AsyncIterator[bytes]:
        async for piece in await self._files.read(source.object):
            yield piece


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data
