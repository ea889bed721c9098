"""The object store's interface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class NoSuchObject(Exception):
    """There is no object of that name."""


class ObjectStore(Protocol):
    """Blobs by name. Names are ours: letters, digits, `-`, `_`, `.` and `/`."""

    async def put(self, name: str, pieces: AsyncIterator[bytes]) -> None:
        """Writes an object as a whole or not at all; durable when it returns. An existing one is replaced."""
        ...

    def get(self, name: str) -> AsyncIterator[bytes]:
        """The object's bytes in pieces. Raises NoSuchObject at the first one."""
        ...

    async def size(self, name: str) -> int | None:
        """Its size in bytes, or None if it isn't there."""
        ...

    async def rename(self, name: str, new_name: str) -> None:
        """Gives it another name; what had that name is replaced."""
        ...

    async def delete(self, name: str) -> None:
        """Deletes it, if it is there."""
        ...
