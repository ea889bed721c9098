"""Objects as files in a folder. File work is done in threads, so that a slow disk holds up nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from homeserver.objects.store import NoSuchObject
from homeserver.runtime.ids import Randomness

T = TypeVar("T")

PIECE_BYTES = 256 * 1024
_NAME = re.compile(r"[0-9A-Za-z_-]+(?:[./][0-9A-Za-z_-]+)*", re.ASCII)


class LocalObjects:
    """An object store in a folder of its own (0700)."""

    def __init__(self, folder: Path, randomness: Randomness) -> None:
        self._folder = folder
        self._randomness = randomness

    async def put(self, name: str, pieces: AsyncIterator[bytes]) -> None:
        part = _Part(self._folder / "parts" / self._randomness.token(12))
        target = self._path(name)
        try:
            await _to_end(part.open)
            async for piece in pieces:
                await _to_end(part.write, piece)
            await _to_end(part.finish, target)
        finally:
            await _to_end(part.drop)

    async def get(self, name: str) -> AsyncIterator[bytes]:
        try:
            file = await _to_end(_open_to_read, self._path(name))
        except FileNotFoundError:
            raise NoSuchObject(name) from None
        try:
            while piece := await _to_end(file.read, PIECE_BYTES):
                yield piece
        finally:
            await _to_end(file.close)

    async def size(self, name: str) -> int | None:
        try:
            return (await asyncio.to_thread(self._path(name).stat)).st_size
        except FileNotFoundError:
            return None

    async def rename(self, name: str, new_name: str) -> None:
        await asyncio.to_thread(_rename, self._path(name), self._path(new_name))

    async def delete(self, name: str) -> None:
        await asyncio.to_thread(self._path(name).unlink, missing_ok=True)

    def _path(self, name: str) -> Path:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"not a name of an object: {name!r}")
        return self._folder / name


def _open_to_read(path: Path) -> BinaryIO:
    return path.open("rb")


async def _to_end(work: Callable[..., T], *arguments: object) -> T:
    """Runs work in a thread. A caller that is cancelled still waits for it: no file is closed while it is written."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


class _Part:
    """A file that is being written; it alone owns the descriptor. Not for two threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(made, "wb")

    def write(self, piece: bytes) -> None:
        assert self._file is not None
        self._file.write(piece)

    def finish(self, target: Path) -> None:
        """The bytes, then the name, are on disk before anybody is told."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        _rename(self._path, target)

    def drop(self) -> None:
        """Lets go of what is left: nothing, after `finish`."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        self._path.unlink(missing_ok=True)


def _rename(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
