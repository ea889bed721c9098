"""A database that counts what it is asked."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from homeserver.storage.database import Database, Row, Tx


class CountingDatabase(Database):
    """Counts queries and transactions in `asked`."""

    asked = 0

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        self.asked += 1
        return await super().fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: Any) -> Row | None:
        self.asked += 1
        return await super().fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        self.asked += 1
        return await super().fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        self.asked += 1
        return await super().execute(sql, *args)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        self.asked += 1
        async with super().transaction() as tx:
            yield tx
