"""Where a file is made: a small one in a thread, a large one in a process, so that requests go on beside it."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import threading
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from search.archive.building import Builder, Built
from search.archive.source import Said, rows_of

# Events from which on a process is worth its start.
PROCESS_FROM = 20_000


class Maker:
    """Makes the two files of a month and bucket in a folder. Call `end` in any case."""

    def __init__(self, folder: Path, version: int, events: int) -> None:
        self._executor: Executor
        if events < PROCESS_FROM:
            self._executor = ThreadPoolExecutor(1, "archive-file", _begin, (folder, version))
        else:
            spawn = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(1, spawn, _begin_alone, (folder, version))

    async def add(self, said: Sequence[Said]) -> None:
        """The next messages, by room and place. Raises OSError where they can't be written."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, _add, said)
        except BrokenProcessPool:
            raise OSError("the process that makes a file of the archive has died") from None

    async def finish(self) -> Built:
        """Both files, whole. Raises OSError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, _finish)
        except BrokenProcessPool:
            raise OSError("the process that makes a file of the archive has died") from None

    async def end(self) -> None:
        """Lets go of what is under way; whoever owns the folder deletes the files."""
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)


class _Here(threading.local):
    """What the thread, or the process's only one, is at."""

    builder: Builder
    version: int


_here = _Here()


def _begin(folder: Path, version: int) -> None:
    _here.builder, _here.version = Builder(folder), version


def _begin_alone(folder: Path, version: int) -> None:
    # Millions of small objects, and no circles among them.
    gc.disable()
    _begin(folder, version)


def _add(said: Sequence[Said]) -> None:
    _here.builder.add(rows_of(said, _here.version))


def _finish() -> Built:
    return _here.builder.finish()
