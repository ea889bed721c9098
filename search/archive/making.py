"""Where a file is made: a small one in a thread, large ones in processes, so that requests go on beside it.

Processes are kept as long as the work they are for: to start one takes as long as to make twenty thousand rows.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from search.archive.files import Built
from search.archive.source import Said, rows_of

if TYPE_CHECKING:
    from search.archive.building import Builder

# Events from which on a process is worth its start.
PROCESS_FROM = 20_000
# Requests go first.
_NICE = 10


class Makers:
    """What makes the files of one piece of work, which has so many events about. Call `end` in any case."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._idle: list[Executor] = []

    @asynccontextmanager
    async def maker(self, folder: Path, version: int, events: int) -> AsyncIterator[Maker]:
        """Makes the two files of a month and bucket in a folder. Each that is open at once has a process of its own."""
        executor = self._idle.pop() if self._idle else self._begun(max(self._events, events))
        try:
            maker = Maker(executor)
            await maker.begin(folder, version, events)
            yield maker
        except BaseException:
            # With what is under way; whoever owns the folder deletes the files.
            await _ended(executor)
            raise
        self._idle.append(executor)

    async def end(self) -> None:
        """Ends what is idle."""
        while self._idle:
            await _ended(self._idle.pop())

    def _begun(self, events: int) -> Executor:
        if events < PROCESS_FROM:
            return ThreadPoolExecutor(1, "archive-file")
        return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _be_alone)


class Maker:
    """Makes one file after the other in one thread or process."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def begin(self, folder: Path, version: int, events: int) -> None:
        """Raises OSError."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, _begin, folder, version, events)
        except BrokenProcessPool:
            raise OSError(_DIED) from None

    async def add(self, said: Sequence[Said]) -> None:
        """The next messages, by room and place. Raises OSError where they can't be written."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, _add, said)
        except BrokenProcessPool:
            raise OSError(_DIED) from None

    async def finish(self) -> Built:
        """Both files, whole. Raises OSError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, _finish)
        except BrokenProcessPool:
            raise OSError(_DIED) from None


_DIED = "the process that makes a file of the archive has died"


async def _ended(executor: Executor) -> None:
    await asyncio.to_thread(executor.shutdown, wait=True, cancel_futures=True)


class _Here(threading.local):
    """What the thread, or the process's only one, is at."""

    builder: Builder | None
    version: int


_here = _Here()


def _be_alone() -> None:
    # Millions of small objects, and no circles among them.
    gc.disable()
    os.nice(_NICE)


def _begin(folder: Path, version: int, events: int) -> None:
    from search.archive.building import Builder

    _here.builder, _here.version = Builder(folder, events), version


def _add(said: Sequence[Said]) -> None:
    assert _here.builder is not None
    _here.builder.add(rows_of(said, _here.version))


def _finish() -> Built:
    assert _here.builder is not None
    built, _here.builder = _here.builder.finish(), None
    return built
