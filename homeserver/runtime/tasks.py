"""Background tasks that can't die unseen."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from homeserver.runtime.clock import Clock

log = structlog.get_logger()


async def others_turn() -> None:
    """Lets the loop's other tasks run, in the middle of what would take it for more than some milliseconds."""
    await asyncio.sleep(0)


class Tasks:
    """Runs coroutines beside the requests, keeps hold of them, and ends them at shutdown.

    `forever` restarts its task when it fails, after a wait that doubles up to a minute.
    """

    def __init__(self, clock: Clock, *, on_failure: Callable[[str], None] = lambda name: None) -> None:
        self._clock = clock
        self._on_failure = on_failure
        self._running: set[asyncio.Task[Any]] = set()
        self._closings: list[Callable[[], Awaitable[None]]] = []
        self._stopping = asyncio.Event()

    def start(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Runs it once. A failure is logged."""
        task = self._run(self._once(coroutine, name), name)
        # Cancelled before its first step it would be left behind, never awaited.
        task.add_done_callback(lambda _: coroutine.close())
        return task

    def forever(self, work: Callable[[], Awaitable[None]], *, name: str) -> asyncio.Task[None]:
        """Runs `work` again and again until shutdown."""
        return self._run(self._again(work, name), name)

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Calls `close` when the tasks have ended, which use what it closes."""
        self._closings.append(close)

    def _run(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        # A context of its own: what it logs isn't said by the request that began it, which may be one of many.
        context = contextvars.Context()
        task = asyncio.get_running_loop().create_task(coroutine, name=name, context=context)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def stop(self) -> None:
        """Cancels whatever still runs and waits for it."""
        self._stopping.set()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for close in self._closings:
            await close()

    async def _once(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await coroutine
        except Exception:
            self._on_failure(name)
            log.exception("task_failed", task=name)

    async def _again(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        wait_s = 0.1
        # Not for ever: a library may take the cancellation for a failure of its own, and it comes only once.
        while not self._stopping.is_set():
            started = self._clock.monotonic_s()
            try:
                await work()
            except Exception:
                self._on_failure(name)
                log.exception("task_failed", task=name, retry_in_s=wait_s)
                if self._stopping.is_set():
                    return
                if self._clock.monotonic_s() - started > 60:
                    wait_s = 0.1
                await self._clock.sleep(wait_s)
                wait_s = min(wait_s * 2, 60.0)
