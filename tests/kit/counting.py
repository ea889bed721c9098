"""A database that counts what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from homeserver.runtime.tasks import Tasks
from homeserver.storage.database import Database, Row, Tx

# What a start begins once, and may end late.
OF_THE_START = frozenset({"deactivations", "guests"})


class CountingDatabase(Database):
    """Counts queries and transactions: those of requests, and of what these begin, in `asked`.

    What runs for ever beside them looks by the clock whether there is something to do: that comes or not while a test
    counts, and is in `beside` by the task's name.

    Fails whoever asks for a second connection while they hold one (T-E19).
    """

    asked = 0

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self.beside: Counter[str] = Counter()
        self._holding: set[asyncio.Task[Any] | None] = set()

    def _count(self) -> None:
        task = asyncio.current_task()
        # Two of them that wait for each other's: no statement times out, and nobody else gets one.
        assert task not in self._holding, "who holds a connection asks for no second one: docs/decisions/0003"
        coroutine = task.get_coro() if task is not None else None
        name = task.get_name() if task is not None else ""
        if name in OF_THE_START or getattr(coroutine, "__qualname__", "") == Tasks._again.__qualname__:
            self.beside[name] += 1
        else:
            self.asked += 1

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        self._count()
        return await super().fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: Any) -> Row | None:
        self._count()
        return await super().fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        self._count()
        return await super().fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        self._count()
        return await super().execute(sql, *args)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        self._count()
        async with super().transaction() as tx:
            task = asyncio.current_task()
            self._holding.add(task)
            try:
                yield tx
            finally:
                self._holding.discard(task)
