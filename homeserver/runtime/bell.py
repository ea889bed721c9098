"""Tells a background task that there is something to do, so that it needn't look time and again."""

from __future__ import annotations

import asyncio

from homeserver.runtime.clock import Clock


class Bell:
    """Rung by whoever has something, any number of times; heard once by the one who waits."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    @property
    def is_rung(self) -> bool:
        """Whether it was rung since it was last answered."""
        return self._rung.is_set()

    def answer(self) -> None:
        """Call it before the work: what rings meanwhile is for the next round."""
        self._rung.clear()

    async def wait(self, clock: Clock, seconds_max: float) -> None:
        """Returns once it is rung, at once where it is already; after this time in any case."""
        if self.is_rung:
            return
        waits = [asyncio.ensure_future(self._rung.wait()), asyncio.ensure_future(clock.sleep(seconds_max))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
