"""Background work at its end: cancelled before its first step, or deaf to it."""

from __future__ import annotations

import asyncio
import inspect

from homeserver.runtime.clock import SystemClock
from homeserver.runtime.tasks import Tasks


async def test_what_never_began_is_closed() -> None:
    """Nobody would await it any more, and Python says so in the log of whoever runs then."""

    async def work() -> None: ...

    tasks, coroutine = Tasks(SystemClock(), on_failure=lambda name: None), work()
    tasks.start(coroutine, name="work")
    await tasks.stop()
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


async def test_who_is_deaf_to_the_end_ends() -> None:
    """Libraries have taken a cancellation for a failure of their own; the server then never stopped."""
    rounds = asyncio.Queue[None]()

    async def work() -> None:
        rounds.put_nowait(None)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            raise OSError from error

    tasks = Tasks(SystemClock())
    tasks.forever(work, name="deaf")
    await rounds.get()
    async with asyncio.timeout(30):
        await tasks.stop()
    assert rounds.empty()
