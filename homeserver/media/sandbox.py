"""Work on hostile files, done in processes of their own: a file made to harm takes down only the one that reads it.

They have bounded memory, processor time and files, and neither this process's environment nor its descriptors. One that
takes too long is killed, and a new one started for the next file.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from homeserver.core.errors import LimitExceeded

_WORKER = Path(__file__).with_name("worker.py")
_HEADER = struct.Struct(">I")
_HEADER_BYTES_MAX = 1024 * 1024
_FILES_PER_PROCESS = 500


class SandboxFault(Exception):
    """The work can't be done: the file is no such thing, it is broken, or it took too much."""

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final  # it would be no better another time


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLimits:
    processes: int = 2
    waiting_max: int = 100
    seconds_max: float = 20.0
    memory_bytes_max: int = 1024 * 1024 * 1024
    answer_bytes_max: int = 16 * 1024 * 1024


class Sandbox:
    """A few processes, each with one file at a time."""

    def __init__(self, limits: SandboxLimits) -> None:
        self._limits = limits
        self._turn = asyncio.Semaphore(limits.processes)
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._waiting = 0

    @property
    def pids(self) -> list[int]:
        """The processes that are there now."""
        return [worker.pid for worker in (*self._idle, *self._busy)]

    async def run(
        self, work: Mapping[str, Any], source: AsyncIterator[bytes], size_bytes: int
    ) -> tuple[dict[str, Any], bytes]:
        """What the worker made of a file: a description, and bytes. `source` is read once it is this file's turn.

        Raises SandboxFault, LimitExceeded where too many wait.
        """
        if self._waiting >= self._limits.waiting_max:
            raise LimitExceeded("too many files are being worked on", retry_after_ms=2_000)
        self._waiting += 1
        try:
            async with self._turn:
                return await self._run(work, source, size_bytes)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        workers, self._idle = [*self._idle, *self._busy], []
        await asyncio.gather(*(worker.kill() for worker in workers))

    async def _run(
        self, work: Mapping[str, Any], source: AsyncIterator[bytes], size_bytes: int
    ) -> tuple[dict[str, Any], bytes]:
        worker = self._idle.pop() if self._idle else await _Worker.start(self._limits)
        self._busy.add(worker)
        try:
            async with asyncio.timeout(self._limits.seconds_max):
                answer, data = await worker.exchange(work, source, size_bytes)
        except BaseException as error:
            # Whatever state it is in: it gets no other file.
            await asyncio.shield(worker.kill())
            if isinstance(error, TimeoutError | EOFError | ConnectionError):
                raise SandboxFault("it took too long or too much", is_final=False) from None
            raise
        finally:
            self._busy.discard(worker)
        if worker.files < _FILES_PER_PROCESS:
            self._idle.append(worker)
        else:
            await worker.kill()
        if "error" in answer:
            raise SandboxFault(str(answer["error"]), is_final=True)
        return answer, data


class _Worker:
    """One process, and the pipes to it."""

    def __init__(self, process: asyncio.subprocess.Process, limits: SandboxLimits) -> None:
        self._process = process
        self._limits = limits
        self.pid = process.pid
        self.files = 0

    @classmethod
    async def start(cls, limits: SandboxLimits) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(_WORKER),
            str(limits.memory_bytes_max),
            str(int(limits.seconds_max) + 1),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"LANG": "C.UTF-8"},
        )
        return cls(process, limits)

    async def exchange(
        self, work: Mapping[str, Any], source: AsyncIterator[bytes], size_bytes: int
    ) -> tuple[dict[str, Any], bytes]:
        self.files += 1
        to, back = self._process.stdin, self._process.stdout
        assert to is not None and back is not None
        header = orjson.dumps({**work, "size_bytes": size_bytes})
        to.write(_HEADER.pack(len(header)) + header)
        sent = 0
        async for piece in source:
            sent += len(piece)
            if sent > size_bytes:
                break
            to.write(piece)
            await to.drain()
        if sent != size_bytes:
            raise EOFError("the file has another size")
        await to.drain()
        length = _HEADER.unpack(await back.readexactly(_HEADER.size))[0]
        if length > _HEADER_BYTES_MAX:
            raise EOFError("no answer of ours")
        answer: dict[str, Any] = orjson.loads(await back.readexactly(length))
        made = int(answer.get("size_bytes", 0))
        if not 0 <= made <= self._limits.answer_bytes_max:
            raise EOFError("the answer is too large")
        return answer, await back.readexactly(made)

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
