"""An event loop in which time is a number: whoever waits a minute waits for nothing, and chance comes from a seed.

Callbacks that are ready run in an order drawn from the seed. Time goes on only when nothing is ready; when there is
nothing to wait for either, somebody waits for what can't come, and that is an error. Threads' work runs in its place.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

IDLE_S_MAX = 7 * 86_400.0


class Deadlock(AssertionError):
    """Nothing is ready and nothing is planned, but somebody waits."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """`steps` counts callbacks. `listening` has what listens, by port: nothing here touches a real socket."""

    def __init__(self, seed: int | str) -> None:
        super().__init__()
        self.chance = random.Random(f"loop {seed}")
        self.steps = 0
        self.listening: dict[int, Callable[[], asyncio.Protocol]] = {}
        self._now_s = 1_000.0
        self._ports = 20_000
        self.set_exception_handler(self._note)
        self.failures: list[dict[str, Any]] = []

    def time(self) -> float:
        return self._now_s

    def _run_once(self) -> None:
        """One step of the loop: all that is ready, in an order of the seed; else on to the next that is planned."""
        ready: Any = self._ready  # type: ignore[attr-defined]
        planned: Any = self._scheduled  # type: ignore[attr-defined]
        while planned and planned[0]._cancelled:
            heapq.heappop(planned)._scheduled = False
        if not ready:
            if not planned:
                raise Deadlock("nothing is ready and nothing is planned")
            self._now_s = max(self._now_s, planned[0]._when)
        while planned and planned[0]._when <= self._now_s:
            handle = heapq.heappop(planned)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        batch = list(ready)
        ready.clear()
        if len(batch) > 1:
            self.chance.shuffle(batch)
        for handle in batch:
            if not handle._cancelled:
                self.steps += 1
                handle._run()

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """The work at once; who waits for it goes on some steps later."""
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except BaseException as error:
            self.call_soon(_fail, future, error)
        else:
            self.call_soon(_give, future, result)
        return future

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        """Listens for connections of `virtual_network`."""
        if not port:
            self._ports += 1
            port = self._ports
        self.listening[port] = protocol_factory
        return _Listening(self, host or "127.0.0.1", port)

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(context)


class _Socket:
    def __init__(self, host: str, port: int) -> None:
        self._name = (host, port)

    def getsockname(self) -> tuple[str, int]:
        return self._name


class _Listening:
    """What `create_server` gives: as much of `asyncio.Server` as aiohttp uses."""

    def __init__(self, loop: VirtualLoop, host: str, port: int) -> None:
        self._loop = loop
        self._port = port
        self.sockets = [_Socket(host, port)]

    def close(self) -> None:
        self._loop.listening.pop(self._port, None)

    async def wait_closed(self) -> None: ...


def _give(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def run(seed: int | str, main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """What `main` gives, in a loop of this seed. What still runs at the end is cancelled."""
    loop = VirtualLoop(seed)
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main(loop))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
