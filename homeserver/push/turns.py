"""Fair turns at the gateways: so many requests at once in all, for each gateway and for each user."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

AT_ONCE_MAX = 64
GATEWAY_MAX = 16
USER_MAX = 4


class Turns:
    """Lets a slow gateway, or a user of many slow ones, hold up only themselves."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(AT_ONCE_MAX)
        self._each: dict[str, tuple[asyncio.Semaphore, set[object]]] = {}

    @contextlib.asynccontextmanager
    async def turn(self, user_id: str, host: str) -> AsyncIterator[None]:
        """Waits until a request of this user to this gateway may be made, and counts it."""
        async with self._held(f"user {user_id}", USER_MAX), self._held(f"host {host}", GATEWAY_MAX), self._all:
            yield

    @contextlib.asynccontextmanager
    async def _held(self, name: str, most: int) -> AsyncIterator[None]:
        semaphore, waiting = self._each.setdefault(name, (asyncio.Semaphore(most), set()))
        token = object()
        waiting.add(token)
        try:
            async with semaphore:
                yield
        finally:
            waiting.discard(token)
            if not waiting:
                self._each.pop(name, None)
