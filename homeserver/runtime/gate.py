"""Turns at something slow: so many at once, a bounded number who wait, and nobody who fails after all others have."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from homeserver.core.errors import Unavailable


class Gate:
    """Lets `at_once` in; `waiting_max` more wait for their turn."""

    def __init__(self, at_once: int, waiting_max: int) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._most = at_once + waiting_max
        self._here = 0

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises Unavailable, at once, where too many wait already."""
        if self._here >= self._most:
            raise Unavailable("too many wait for this already: try again in a while")
        self._here += 1
        try:
            async with self._slots:
                yield
        finally:
            self._here -= 1


class OneForAll:
    """Of those who want the same thing, one goes for it, and the others wait.

    Where it fails with one of `failures`, it fails for all who have waited: they don't try one after the other.
    """

    def __init__(self, *failures: type[Exception]) -> None:
        self._failures = failures
        self._lock = asyncio.Lock()
        self._failed = 0
        self._why: Exception | None = None

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Whoever is in looks first whether it is there by now."""
        seen = self._failed
        async with self._lock:
            if self._failed != seen and self._why is not None:
                raise self._why
            try:
                yield
            except self._failures as error:
                self._failed, self._why = self._failed + 1, error
                raise
