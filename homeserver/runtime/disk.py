"""Room on the disk, as a parameter, and the guard that stops writes before there is none.

A database that finds no room for its log stops for good; so people's writes are refused while some is left, and what
the server must still note for itself has a reserve.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import structlog

from homeserver.core.errors import Unavailable
from homeserver.runtime.clock import Clock

log = structlog.get_logger()

LOOK_EVERY_S = 2.0
# Once refused, writes are taken again when there is so much more than the least: no flicker at the edge.
RECOVERED = 1.1


class Disk(Protocol):
    """Where files lie."""

    def free_bytes(self, folder: Path) -> int:
        """What the file system of this folder, or of the nearest one above that exists, has left for us."""
        ...


class SystemDisk:
    """The machine's own."""

    def free_bytes(self, folder: Path) -> int:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return shutil.disk_usage(folder).free


class DiskGuard:
    """Knows whether there is room for what people write. `watch` keeps it up to date."""

    def __init__(self, disk: Disk, clock: Clock, folders: Sequence[Path], *, free_bytes_min: int) -> None:
        self._disk = disk
        self._clock = clock
        self._folders = tuple(folders)
        self._free_bytes_min = free_bytes_min
        self.is_low = False
        self.free_bytes = 0

    def check(self) -> None:
        """Raises Unavailable while the disk is nearly full."""
        if self.is_low:
            raise Unavailable("the server's disk is nearly full: it only reads until there is room again")

    async def look(self) -> None:
        self.free_bytes = await asyncio.to_thread(self._least_free)
        least = self._free_bytes_min * (RECOVERED if self.is_low else 1)
        was_low, self.is_low = self.is_low, self.free_bytes < least
        if self.is_low and not was_low:
            log.error("disk_nearly_full", free_bytes=self.free_bytes, free_disk_bytes_min=self._free_bytes_min)
        elif was_low and not self.is_low:
            log.warning("disk_has_room_again", free_bytes=self.free_bytes)

    async def watch(self) -> None:
        """Runs as a task."""
        await self.look()
        await self._clock.sleep(LOOK_EVERY_S)

    def _least_free(self) -> int:
        return min(self._disk.free_bytes(folder) for folder in self._folders)
