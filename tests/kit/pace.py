"""Traffic at a rate: for tests that are about what many requests a second do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def ticks(per_s: float) -> AsyncIterator[int]:
    """0, 1, 2, … at most so many a second, without end."""
    number = 0
    while True:
        yield number
        number += 1
        await asyncio.sleep(1 / per_s)


async def at_rate(steps: Sequence[Callable[[], Awaitable[T]]], per_s: float, *, at_once: int) -> list[T]:
    """What the steps give, begun at this rate, at most so many of them under way."""
    turn = asyncio.Semaphore(at_once)

    async def one(number: int, step: Callable[[], Awaitable[T]]) -> T:
        await asyncio.sleep(number / per_s)
        async with turn:
            return await step()

    return list(await asyncio.gather(*(one(number, step) for number, step in enumerate(steps))))
