"""How fast servers that may be down are tried, so that a thousand dead ones don't hold up those that live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from homeserver.runtime.clock import Clock

PER_SECOND = 20
AT_ONCE_MAX = 100


class Pacing:
    """Slots for attempts at servers that haven't answered since the start. Servers that have need none."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)
        self._next_s = 0.0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits for its turn."""
        async with self._slots:
            now_s = self._clock.monotonic_s()
            turn_s = max(self._next_s, now_s)
            self._next_s = turn_s + 1 / PER_SECOND
            if turn_s > now_s:
                await self._clock.sleep(turn_s - now_s)
            yield
