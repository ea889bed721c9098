"""Objects as files in a folder. File work is done in threads, so that a slow disk holds up nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

from homeserver.objects.store import NoSuchObject
from homeserver.runtime.ids import Randomness

PIECE_BYTES = 256 * 1024
_NAME = re.compile(r"[0-9A-Za-z_-]+(?:[./][0-9A-Za-z_-]+)*", re.ASCII)


class LocalObjects:
    """An object store in a folder of its own (0700)."""

    def __init__(self, folder: Path, randomness: Randomness) -> None:
        self._folder = folder
        self._randomness = randomness

    async def put(self, name: str, pieces: AsyncIterator[bytes]) -> None:
        target = self._path(name)
        part = self._folder / "parts" / self._randomness.token(12)
        file = await asyncio.to_thread(_open_new, part, target)
        try:
            async for piece in pieces:
                await asyncio.to_thread(_write_all, file, piece)
            await asyncio.to_thread(_finish, file, part, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(file)
            part.unlink(missing_ok=True)
            raise

    async def get(self, name: str) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(os.open, self._path(name), os.O_RDONLY)
        except FileNotFoundError:
            raise NoSuchObject(name) from None
        try:
            while piece := await asyncio.to_thread(os.read, file, PIECE_BYTES):
                yield piece
        finally:
            os.close(file)

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


def _open_new(part: Path, target: Path) -> int:
    part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def _write_all(file: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(file, view) :]


def _finish(file: int, part: Path, target: Path) -> None:
    """The bytes, then the name, are on disk before anybody is told."""
    os.fsync(file)
    os.close(file)
    _rename(part, target)


def _rename(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
