"""Objects as files in a folder. File work is done in threads, so that a slow disk holds up nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import BinaryIO, TypeVar

from homeserver.objects.store import NoSuchObject, Written
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness

T = TypeVar("T")

READ_BYTES = 512 * 1024
# Small pieces are written together: a thread's turn costs more than what it writes.
WRITE_BYTES = 1024 * 1024
# A part that nobody has written to for so long belongs to no upload: those that are so slow are cut off.
PART_IDLE_MS = 15 * 60 * 1000
PARTS = "parts"
_NAME = re.compile(r"[0-9A-Za-z_-]+(?:[./][0-9A-Za-z_-]+)*", re.ASCII)


class LocalObjects:
    """An object store in a folder of its own (0700)."""

    def __init__(self, folder: Path, randomness: Randomness, clock: Clock) -> None:
        self._folder = folder
        self._randomness = randomness
        self._clock = clock

    async def put(self, name: str, pieces: AsyncIterator[bytes]) -> Written:
        part = _Part(self._folder / PARTS / self._randomness.token(12))
        target = self._path(name)
        writing: asyncio.Future[None] | None = None
        try:
            await to_end(part.open)
            # While one piece is written and hashed, the next one arrives.
            async for piece in _gathered(pieces):
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(to_end(part.write, piece))
            if writing is not None:
                await writing
            return await to_end(part.finish, target)
        finally:
            if writing is not None and not writing.done():
                await asyncio.wait([writing])
            await to_end(part.drop)

    async def get(self, name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        try:
            file = await to_end(_open_to_read, self._path(name), start)
        except FileNotFoundError:
            raise NoSuchObject(name) from None
        left = end - start if end is not None else None
        try:
            while piece := await to_end(file.read, READ_BYTES if left is None else min(left, READ_BYTES)):
                if left is not None:
                    left -= len(piece)
                yield piece
        finally:
            await to_end(file.close)

    def read(self, name: str, start: int, end: int) -> bytes:
        """A part of an object, or less where it ends before. From a thread, for those who read many small ones:
        it costs far less than the turns of `get`. Raises NoSuchObject, OSError.
        """
        try:
            file = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NoSuchObject(name) from None
        try:
            pieces: list[bytes] = []
            while start < end and (piece := os.pread(file, end - start, start)):
                pieces.append(piece)
                start += len(piece)
            return b"".join(pieces)
        finally:
            os.close(file)

    async def size(self, name: str) -> int | None:
        try:
            return (await asyncio.to_thread(self._path(name).stat)).st_size
        except FileNotFoundError:
            return None

    async def delete(self, name: str) -> None:
        await asyncio.to_thread(self._path(name).unlink, missing_ok=True)

    async def sweep(self) -> int:
        return await to_end(_sweep, self._folder / PARTS, self._clock.now_ms() - PART_IDLE_MS)

    def link(self, name: str, headers: Mapping[str, str]) -> str | None:
        return None

    def _path(self, name: str) -> Path:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"not a name of an object: {name!r}")
        return self._folder / name


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of at least WRITE_BYTES, but for the last one."""
    held: list[bytes] = []
    size = 0
    async for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= WRITE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _open_to_read(path: Path, start: int) -> BinaryIO:
    file = path.open("rb")
    file.seek(start)
    return file


def _sweep(folder: Path, before_ms: int) -> int:
    swept = 0
    for part in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # it was finished in the meantime
            if part.stat().st_mtime_ns // 1_000_000 < before_ms:
                part.unlink()
                swept += 1
    return swept


async def to_end(work: Callable[..., T], *arguments: object) -> T:
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
        self._hash = hashlib.sha256()
        self._size = 0

    def open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(made, "wb", buffering=0)

    def write(self, piece: bytes) -> None:
        assert self._file is not None
        left = memoryview(piece)
        while left:
            left = left[self._file.write(left) :]
        self._hash.update(piece)
        self._size += len(piece)

    def finish(self, target: Path) -> Written:
        """The bytes, then the name, are on disk before anybody is told."""
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._file.close()
        _rename(self._path, target)
        return Written(self._size, self._hash.hexdigest())

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
