"""Several servers of which one is enough: asked in turn, and the next one soon where the one before keeps us waiting.

A few are asked at once at most; their answers come as they arrive. What must happen once only (sending a join) is no
question of this kind: whoever reads the answers does it with one server at a time, while nobody else is asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

from homeserver.core.identifiers import ServerName
from homeserver.runtime.clock import Clock

T = TypeVar("T")

AT_ONCE = 3
NEXT_AFTER_S = 3.0


class Candidates(Generic[T]):
    """The servers that are left to ask, and those that are asked now. Leaving its block ends all questions."""

    def __init__(self, servers: Sequence[ServerName], ask: Callable[[ServerName], Awaitable[T]], clock: Clock) -> None:
        self._waiting = deque(servers)
        self._ask = ask
        self._clock = clock
        self._asked: dict[ServerName, asyncio.Task[T]] = {}
        self._next_at_s = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hold()

    async def next(self) -> tuple[ServerName, asyncio.Task[T]] | None:
        """Who has answered next, and its question, which is over: `result` gives the answer or raises what it raised.

        None once all have answered.
        """
        while True:
            for server, task in self._asked.items():
                if task.done():
                    del self._asked[server]
                    self._next_at_s = 0.0 if task.exception() is not None else self._next_at_s
                    return server, task
            self._begin()
            if not self._asked:
                return None
            await self._wait()

    async def hold(self) -> None:
        """Ends the questions under way. Whom they went to comes last, if the answers are read on."""
        asked, self._asked = self._asked, {}
        for task in asked.values():
            task.cancel()
        await asyncio.gather(*asked.values(), return_exceptions=True)
        self._waiting.extend(asked)

    def _begin(self) -> None:
        """Asks the next server, if it is time to."""
        now_s = self._clock.monotonic_s()
        if not self._waiting or len(self._asked) >= AT_ONCE or (self._asked and now_s < self._next_at_s):
            return
        server = self._waiting.popleft()
        self._asked[server] = asyncio.ensure_future(self._ask(server))
        self._next_at_s = now_s + NEXT_AFTER_S

    async def _wait(self) -> None:
        """Until somebody answers, or it is time to ask one more."""
        timers: list[asyncio.Task[None]] = []
        if self._waiting and len(self._asked) < AT_ONCE:
            left_s = max(self._next_at_s - self._clock.monotonic_s(), 0.0)
            timers.append(asyncio.ensure_future(self._clock.sleep(left_s)))
        try:
            await asyncio.wait([*self._asked.values(), *timers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for timer in timers:
                timer.cancel()
