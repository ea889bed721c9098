"""The clock, as a parameter: nothing else in Hansa reads the time or sleeps."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for what people and protocols see, monotonic time for durations, and waiting."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch. May jump: only for display and validity."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that only ever grow: for durations, time-outs and rate limits."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
