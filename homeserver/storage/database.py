"""Connections and transactions. A function that writes takes `Tx`, one that reads takes `Reader`.

A lost or restarting PostgreSQL shows as `Unavailable` (a clean 503), never as a driver's error; so does a transaction
that it ended because another one and this one waited for each other.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from asyncpg.pool import PoolConnectionProxy

from homeserver.core.errors import Unavailable
from homeserver.core.identifiers import EventId

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


# What somebody else writes in the same transaction: an audit row.
Also = Callable[[Tx], Awaitable[None]]

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.exceptions.OperatorInterventionError,  # shutdown, crash, cannot connect now
    asyncpg.exceptions.InsufficientResourcesError,  # disk full, out of memory, too many connections
    asyncpg.exceptions.ReadOnlySQLTransactionError,
    # Two transactions waited for each other, and this one was taken back: as good as never begun.
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
# Of a connection whose server has just died: told while nothing was asked, it takes no further question.
_BROKEN = (asyncpg.InternalClientError,)


class NoRoom(Unavailable):
    """The database's disk is full. Waiting doesn't help a writer; readers go on."""


class _Lease:
    """One connection of the pool for a while. What says that the database is away becomes Unavailable."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: asyncpg.Pool[Row]) -> None:
        self._pool = pool
        self._connection: PoolConnectionProxy[Row]

    async def __aenter__(self) -> PoolConnectionProxy[Row]:
        try:
            self._connection = await self._pool.acquire()
        except LOST as error:
            raise unavailable(error) from error
        return self._connection

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _BROKEN):
            self._connection.terminate()
        try:
            await self._pool.release(self._connection)
        except LOST as late:
            if error is None:
                raise unavailable(late) from late
        if isinstance(error, LOST):
            raise unavailable(error) from error


def unavailable(error: BaseException) -> Unavailable:
    """What one of LOST comes to."""
    if isinstance(error, asyncpg.exceptions.DiskFullError):
        return NoRoom("the database has no room left: it only reads until there is some")
    if isinstance(error, asyncpg.exceptions.TargetServerAttributeNotMatched):
        return Unavailable("only a replica of the database answers, which can't be written")
    return Unavailable("the database can't be used right now")


_SILENCE_S = 5.0
_HOURS_S = 86_400.0


class _Connection(asyncpg.Connection):
    """Given back to the pool without a round trip: nothing here leaves state behind on a connection."""

    def get_reset_query(self) -> str:
        return ""


# What we acknowledge is on the disk by then, whatever else lies in that cluster may be lost. Not `local` or
# `remote_apply`: these are durable, and somebody's choice.
_DURABLE = """
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""


async def _made_durable(connection: asyncpg.Connection[Row]) -> None:
    await connection.execute(_DURABLE)


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


class Elsewhere(Protocol):
    """Where bodies of events are that left the database. Implemented by search."""

    async def bodies(self, event_ids: Collection[EventId]) -> Mapping[EventId, bytes]:
        """The canonical JSON of those that can be read, each as its id says. Raises Unavailable."""
        ...


class Database:
    """A pool of connections to one PostgreSQL database. `elsewhere` is where bodies are that left it."""

    def __init__(self, pool: asyncpg.Pool[Row]) -> None:
        self._pool = pool
        self.elsewhere: Elsewhere | None = None

    @classmethod
    async def connect(
        cls, dsn: str, *, size_min: int = 2, size_max: int = 10, statement_timeout_s: float = 60.0
    ) -> Database:
        """Raises Unavailable if there is no answer. A statement that takes longer than the time-out raises it too."""
        statement_timeout_ms = str(int(statement_timeout_s * 1000))
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=size_min,
                max_size=size_max,
                connection_class=_Connection,
                # PostgreSQL ends a long statement itself; this is for one that has gone silent.
                # Of several hosts the one that writes: a replica knows less than this server has acknowledged.
                target_session_attrs=SessionAttribute.primary,
                command_timeout=statement_timeout_s + _SILENCE_S,
                max_inactive_connection_lifetime=0,
                init=_made_durable,
                server_settings={
                    "application_name": "hansa",
                    "timezone": "UTC",
                    "jit": "off",
                    "statement_timeout": statement_timeout_ms,
                },
            )
        except LOST as error:
            raise unavailable(error) from error
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
        async with _Lease(self._pool) as connection:
            return await connection.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: Any) -> Row | None:
        async with _Lease(self._pool) as connection:
            return await connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        async with _Lease(self._pool) as connection:
            return await connection.fetchval(sql, *args)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """A read-committed transaction: committed (and durable) when the block ends, rolled back when it raises."""
        async with _Lease(self._pool) as connection, connection.transaction():
            yield connection

    @contextlib.asynccontextmanager
    async def unhurried(self) -> AsyncIterator[Tx]:
        """A transaction whose statements may take hours: for migrations."""
        async with _Lease(self._pool) as connection, connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 0")
            yield _Unhurried(connection)

    async def execute(self, sql: str, *args: Any) -> str:
        """One statement as a transaction of its own: one round trip, durable when it returns."""
        async with _Lease(self._pool) as connection:
            return await connection.execute(sql, *args)

    async def maintain(self, sql: str) -> None:
        """One statement that can't be part of a transaction, however long it takes: VACUUM, CHECKPOINT."""
        async with _Lease(self._pool) as connection:
            await connection.execute("SET statement_timeout = 0")
            try:
                await connection.execute(sql, timeout=_HOURS_S)
            finally:
                await connection.execute("RESET statement_timeout")
