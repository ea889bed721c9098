"""The object store's interface."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol


class NoSuchObject(Exception):
    """There is no object of that name."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: how much, and its SHA-256 in hexadecimal."""

    size_bytes: int
    digest: str


class ObjectStore(Protocol):
    """Blobs by name. Names are ours: letters, digits, `-`, `_`, `.` and `/`."""

    async def put(self, name: str, pieces: AsyncIterator[bytes]) -> Written:
        """Writes an object as a whole or not at all; durable when it returns. An existing one is replaced.

        Holds no more than a few pieces in memory. What `pieces` raises is raised.
        """
        ...

    def get(self, name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The object's bytes from `start` to before `end`, in pieces. Raises NoSuchObject at the first one."""
        ...

    async def size(self, name: str) -> int | None:
        """Its size in bytes, or None if it isn't there."""
        ...

    async def delete(self, name: str) -> None:
        """Deletes it, if it is there."""
        ...

    async def sweep(self) -> int:
        """Deletes what writes that never ended have left; how many."""
        ...

    def link(self, name: str, headers: Mapping[str, str]) -> str | None:
        """A URL under which anybody can fetch the object for a short time, with these headers in the answer.

        None where clients can't reach the store.
        """
        ...
