"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from homeserver.runtime.clock import SystemClock


class FakeClock:
    """Wall time and monotonic time move together; who sleeps wakes when enough time was let pass."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self._passed_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        return self._now_ms + int(self._passed_s * 1000)

    def monotonic_s(self) -> float:
        return self._passed_s

    def put_back(self, seconds: float) -> None:
        """Somebody sets the clock on the wall right, which was so far ahead."""
        self._now_ms -= int(seconds * 1000)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._passed_s + seconds, woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Lets so much time pass at once."""
        self._passed_s += seconds
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self._passed_s]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._passed_s]
        for _, woken in due:
            if not woken.done():
                woken.set_result(None)


@contextlib.asynccontextmanager
async def passing(clock: FakeClock, step_s: float) -> AsyncIterator[None]:
    """Time passes meanwhile, by so much again and again: who sleeps wakes, however late it went to sleep."""

    async def pass_on() -> None:
        while True:
            clock.advance(step_s)
            await asyncio.sleep(0.05)

    going = asyncio.create_task(pass_on())
    try:
        yield
    finally:
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)


class HastyClock(FakeClock):
    """Who sleeps wakes at once, and the time has passed."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)


class FastClock:
    """The real time, faster: who waits a minute waits a second of ours."""

    def __init__(self, factor: float = 60.0) -> None:
        self._real = SystemClock()
        self._factor = factor
        self._began_ms, self._began_s = self._real.now_ms(), self._real.monotonic_s()

    def now_ms(self) -> int:
        return self._began_ms + int((self._real.now_ms() - self._began_ms) * self._factor)

    def monotonic_s(self) -> float:
        return self._began_s + (self._real.monotonic_s() - self._began_s) * self._factor

    async def sleep(self, seconds: float) -> None:
        await self._real.sleep(seconds / self._factor)


class JumpingClock(FakeClock):
    """Its wall time can be set, as by an administrator or a broken time server; the monotonic time goes on."""

    def jump(self, seconds: float) -> None:
        self._now_ms += int(seconds * 1000)


class WrongClock(SystemClock):
    """The machine's, which somebody set wrong by so much."""

    def __init__(self) -> None:
        self.ahead_s = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_s * 1000
