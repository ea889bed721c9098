"""How much of a processor the event loop uses at a stretch: whatever is long stalls everybody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class LoopWatch:
    """`longest_s`: the most processor time of the loop's thread between two turns. Other processes don't count."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest_s = max(self.longest_s, time.thread_time() - before)


@asynccontextmanager
async def loop_watched() -> AsyncIterator[LoopWatch]:
    """Watches the running loop."""
    watch = LoopWatch()
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(0)
    watch.longest_s = 0.0
    try:
        yield watch
    finally:
        task.cancel()
