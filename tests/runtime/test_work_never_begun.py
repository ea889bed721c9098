"""Background work that is cancelled before its first step."""

from __future__ import annotations

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
