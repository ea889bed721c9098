"""Files that grow piece by piece until they are whole: what has come of an upload stays when its sender goes away."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

from homeserver.objects.local import READ_BYTES, to_end

_NAME = re.compile(r"[0-9A-Za-z_-]{1,255}", re.ASCII)


class Spool:
    """A folder of its own (0700). Not for two writers of one name at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def size(self, name: str) -> int:
        """How much has come; 0 for what hasn't begun."""
        return await to_end(_size, self._path(name))

    async def append(self, name: str, pieces: AsyncIterator[bytes]) -> None:
        """Adds to the end. What was written before `pieces` raised stays, and is on disk when this ends."""
        file = await to_end(_open_to_append, self._path(name))
        try:
            async for piece in pieces:
                await to_end(_write, file, piece)
        finally:
            await to_end(_close, file)

    async def cut(self, name: str, size: int) -> None:
        """Takes back what was added past a size."""
        await to_end(_cut, self._path(name), size)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Nothing of what hasn't begun."""
        offset = 0
        while piece := await to_end(_read, self._path(name), offset):
            offset += len(piece)
            yield piece

    async def delete(self, name: str) -> None:
        """Deletes it, if it is there."""
        await to_end(_delete, self._path(name))

    def _path(self, name: str) -> Path:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"not a name of an upload: {name!r}")
        return self._folder / name


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _open_to_append(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _write(file: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(file, left) :]


def _close(file: int) -> None:
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _cut(path: Path, size: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.truncate(path, size)


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(READ_BYTES)
    except FileNotFoundError:
        return b""


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)
