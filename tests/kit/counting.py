"""A database that counts what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from homeserver.storage.database import Database, Row, Tx

# The indexer writes what was heard four times a second, and looks whether an operator wants something.
BESIDE = frozenset({"search", "search_upkeep"})


class CountingDatabase(Database):
    """Counts queries and transactions in `asked`: those of requests, not of what runs beside them by a clock."""

    asked = 0

    def _count(self) -> None:
        task = asyncio.current_task()
        if task is None or task.get_name() not in BESIDE:
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
            yield tx
