"""Waits for what happens soon, by itself, beside the requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

SOON_S = 30.0


async def until(is_so: Callable[[], Awaitable[bool]], *, within_s: float = SOON_S) -> None:
    """Returns once it is so. Fails the test if that takes long."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                if await is_so():
                    return
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise TimeoutError(f"waited {within_s:.0f} s in vain for {is_so}") from error


async def a_moment() -> None:
    """Lets what a moved clock has woken come to its next wait."""
    await asyncio.sleep(0.05)
