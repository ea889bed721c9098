"""Connections and transactions. A function that writes takes `Tx`, one that reads takes `Reader`.

A lost or restarting PostgreSQL shows as `Unavailable` (a clean 503), never as a driver's error.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Protocol

import asyncpg

from homeserver.core.errors import Unavailable

Row = asyncpg.Record
# What a transaction raises for a second row where only one may be; its `constraint_name` says which.
UniqueViolation = asyncpg.UniqueViolationError


class Reader(Protocol):
    """What a query that only reads needs."""

    async def fetch(self, sql: str, *args: Any) -> list[Row]: ...

    async def fetchrow(self, sql: str, *args: Any) -> Row | None: ...

    async def fetchval(self, sql: str, *args: Any) -> Any: ...


class Tx(Reader, Protocol):
    """An open transaction."""

    async def execute(self, sql: str, *args: Any) -> str: ...

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None: ...


_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.exceptions.OperatorInterventionError,  # shutdown, crash, cannot connect now
    asyncpg.exceptions.InsufficientResourcesError,  # disk full, out of memory, too many connections
    asyncpg.exceptions.ReadOnlySQLTransactionError,
    OSError,
    TimeoutError,
)


@contextlib.contextmanager
def _as_unavailable() -> Any:
    try:
        yield
    except _LOST as error:
        raise Unavailable("the database can't be used right now") from error


_SILENCE_S = 5.0
_HOURS_S = 86_400.0


class _Connection(asyncpg.Connection):
    """Given back to the pool without a round trip: nothing here leaves state behind on a connection."""

    def get_reset_query(self) -> str:
        return ""


class _Unhurried:
    """A connection as `Tx`, waited for as long as it takes."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        rows: list[Row] = await self._connection.fetch(sql, *args, timeout=_HOURS_S)
        return rows

    async def fetchrow(self, sql: str, *args: Any) -> Row | None:
        row: Row | None = await self._connection.fetchrow(sql, *args, timeout=_HOURS_S)
        return row

    async def fetchval(self, sql: str, *args: Any) -> Any:
        return await self._connection.fetchval(sql, *args, timeout=_HOURS_S)

    async def execute(self, sql: str, *args: Any) -> str:
        status: str = await self._connection.execute(sql, *args, timeout=_HOURS_S)
        return status

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        await self._connection.executemany(sql, rows, timeout=_HOURS_S)


class Database:
    """A pool of connections to one PostgreSQL database."""

    def __init__(self, pool: asyncpg.Pool[Row]) -> None:
        self._pool = pool

    @classmethod
    async def connect(
        cls, dsn: str, *, size_min: int = 2, size_max: int = 10, statement_timeout_s: float = 60.0
    ) -> Database:
        """Raises Unavailable if there is no answer. A statement that takes longer than the time-out raises it too."""
        statement_timeout_ms = str(int(statement_timeout_s * 1000))
        with _as_unavailable():
            pool = await asyncpg.create_pool(
                dsn,
                min_size=size_min,
                max_size=size_max,
                connection_class=_Connection,
                # PostgreSQL ends a long statement itself; this is for one that has gone silent.
                command_timeout=statement_timeout_s + _SILENCE_S,
                max_inactive_connection_lifetime=0,
                server_settings={
                    "application_name": "hansa",
                    "timezone": "UTC",
                    "jit": "off",
                    "statement_timeout": statement_timeout_ms,
                },
            )
        assert pool is not None
        return cls(pool)

    async def close(self) -> None:
        await self._pool.close()

    def terminate(self) -> None:
        """Closes without waiting for anything."""
        self._pool.terminate()

    @property
    def size(self) -> tuple[int, int]:
        """Connections open, and idle among them."""
        return self._pool.get_size(), self._pool.get_idle_size()

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        with _as_unavailable():
            return await self._pool.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: Any) -> Row | None:
        with _as_unavailable():
            return await self._pool.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        with _as_unavailable():
            return await self._pool.fetchval(sql, *args)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """A read-committed transaction: committed (and durable) when the block ends, rolled back when it raises."""
        with _as_unavailable():
            async with self._pool.acquire() as connection, connection.transaction():
                yield connection

    @contextlib.asynccontextmanager
    async def unhurried(self) -> AsyncIterator[Tx]:
        """A transaction whose statements may take hours: for migrations."""
        with _as_unavailable():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute("SET LOCAL statement_timeout = 0")
                yield _Unhurried(connection)

    async def execute(self, sql: str, *args: Any) -> str:
        """One statement as a transaction of its own: one round trip, durable when it returns."""
        with _as_unavailable():
            return await self._pool.execute(sql, *args)
