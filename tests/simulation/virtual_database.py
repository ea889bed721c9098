"""Real PostgreSQL in a world of virtual time: time stands still while a statement runs, and any may be the last.

Connections live on a loop of their own; the virtual loop stands still until a statement is answered. One that
waits for another transaction's lock lets the others go on first. So the order of all that happens is the seed's.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import Any, Literal, TypeVar

import asyncpg

from homeserver.core.errors import Unavailable
from homeserver.storage.database import LOST, Database, NoRoom, Row, Tx

T = TypeVar("T")

_PATIENCE_S = 0.02
_STUCK_S = 30.0
_IS_BLOCKED = "SELECT cardinality(pg_blocking_pids($1)) > 0"

Cut = Literal["before", "after"]


class RealLoop:
    """An ordinary loop for whatever talks with PostgreSQL. It runs only while somebody waits for it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return self.loop.create_task(work)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Blocks until it is done, also within another loop, for which no time goes by."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            return self.loop.run_until_complete(asyncio.wait_for(work, _STUCK_S))
        finally:
            asyncio._set_running_loop(outer)

    def has_ended(self, task: asyncio.Task[Any]) -> bool:
        """Whether it is done after a moment."""
        self.run(_a_moment(task))
        return task.done()

    def stop(self) -> None:
        self.loop.close()


class VirtualDatabase(Database):
    """A server's database, whatever keeps it: `_connected`, `_answered`, `_release_blocked` and `_undo` say that.

    `cut(n, how)` makes its n-th statement from now the last: the server has crashed.

    `statements` counts. `is_full` refuses all that writes, as a full disk does. `on_crash` is called once.
    """

    def __init__(self) -> None:
        self._idle: list[Any] = []
        self._busy: dict[Any, None] = {}
        self._left: int | None = None
        self._how: Cut = "before"
        self.statements = 0
        self.is_dead = False
        self.is_full = False
        self.on_crash: Callable[[], None] = lambda: None

    def cut(self, statements: int, how: Cut) -> None:
        self._left, self._how = statements, how

    def spare(self) -> None:
        """No statement is the last one."""
        self._left = None

    def _die(self) -> None:
        if not self.is_dead:
            self.is_dead = True
            for connection in [*self._idle, *self._busy]:
                connection.terminate()
            self.on_crash()

    async def _statement(self, connection: Any, work: Callable[[], Any], *, writes: bool) -> Any:
        """One statement, as an instant; raises as the driver does, or Unavailable where the server has crashed."""
        if self.is_dead:
            raise Unavailable("the server has crashed")
        if self.is_full and writes:
            raise asyncpg.exceptions.DiskFullError("no space left on device")
        self.statements += 1
        if self._left is not None:
            self._left -= 1
            if self._left < 0 and self._how == "before":
                self._die()
                raise Unavailable("the server has crashed")
        try:
            return await self._answered(connection, work)
        finally:
            self._release_blocked()
            if self._left is not None and self._left < 0:
                self._die()
                raise Unavailable("the server has crashed")

    # --- what keeps it

    @abstractmethod
    def _connected(self) -> Any:
        """A new connection, as asyncpg has it."""

    @abstractmethod
    async def _answered(self, connection: Any, work: Callable[[], Any]) -> Any:
        """What a statement gives. While it waits for another transaction the world goes on."""

    @abstractmethod
    def _release_blocked(self) -> None:
        """After a statement, those that waited for it are answered too before anything else happens."""

    @abstractmethod
    def _undo(self, transaction: Any) -> None:
        """Takes a transaction back."""

    @abstractmethod
    def _part(self, connection: Any) -> None:
        """Closes a connection in peace."""

    async def _take(self) -> Any:
        if self.is_dead:
            raise Unavailable("the server has crashed")
        connection = self._idle.pop() if self._idle else self._connected()
        self._busy[connection] = None
        return connection

    def _give_back(self, connection: Any) -> None:
        self._busy.pop(connection, None)
        if not self.is_dead and not connection.is_closed():
            self._idle.append(connection)

    @contextlib.asynccontextmanager
    async def _lease(self) -> AsyncIterator[Any]:
        await asyncio.sleep(0)
        connection = await self._take()
        try:
            yield connection
        except asyncpg.exceptions.DiskFullError as error:
            raise NoRoom("the database has no room left") from error
        except LOST as error:
            raise Unavailable("the database can't be used right now") from error
        finally:
            self._give_back(connection)

    # --- as homeserver.storage.database has it

    async def close(self) -> None:
        if not self.is_dead:
            self.is_dead = True
            for connection in [*self._idle, *self._busy]:
                self._part(connection)

    def terminate(self) -> None:
        self._die()

    @property
    def size(self) -> tuple[int, int]:
        return len(self._idle) + len(self._busy), len(self._idle)

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        async with self._lease() as connection:
            rows: list[Row] = await self._statement(
                connection, lambda: connection.fetch(sql, *args), writes=_writes(sql)
            )
            return rows

    async def fetchrow(self, sql: str, *args: Any) -> Row | None:
        async with self._lease() as connection:
            row: Row | None = await self._statement(
                connection, lambda: connection.fetchrow(sql, *args), writes=_writes(sql)
            )
            return row

    async def fetchval(self, sql: str, *args: Any) -> Any:
        async with self._lease() as connection:
            return await self._statement(connection, lambda: connection.fetchval(sql, *args), writes=_writes(sql))

    async def execute(self, sql: str, *args: Any) -> str:
        async with self._lease() as connection:
            status: str = await self._statement(connection, lambda: connection.execute(sql, *args), writes=True)
            return status

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        async with self._lease() as connection:
            started = connection.transaction()
            await self._statement(connection, started.start, writes=False)
            try:
                yield _VirtualTx(self, connection)
            except BaseException:
                if not self.is_dead and not connection.is_closed():
                    self._undo(started)
                    self._release_blocked()
                raise
            else:
                await self._statement(connection, started.commit, writes=True)

    unhurried = transaction


class PostgresInVirtualTime(VirtualDatabase):
    """Real PostgreSQL."""

    def __init__(self, real: RealLoop, dsn: str) -> None:
        super().__init__()
        self._real = real
        self._dsn = dsn
        self._watch = real.run(asyncpg.connect(dsn))
        self._blocked: list[tuple[Any, asyncio.Task[Any], asyncio.Event]] = []

    def _connected(self) -> Any:
        return self._real.run(asyncpg.connect(self._dsn, server_settings={"timezone": "UTC", "jit": "off"}))

    def _undo(self, transaction: Any) -> None:
        self._real.run(transaction.rollback())

    def _part(self, connection: Any) -> None:
        self._real.run(_closed(connection))

    async def close(self) -> None:
        await super().close()
        self._real.run(_closed(self._watch))

    async def _answered(self, connection: Any, work: Callable[[], Any]) -> Any:
        future = self._real.start(work())
        if self._is_done(connection, future):
            return future.result()
        woken = asyncio.Event()
        entry = (connection, future, woken)
        self._blocked.append(entry)
        try:
            await woken.wait()
        except asyncio.CancelledError:
            if entry in self._blocked:
                self._blocked.remove(entry)
            connection.terminate()
            raise
        return future.result()

    def _is_done(self, connection: Any, future: asyncio.Task[T]) -> bool:
        """Waits for real, until it is answered or PostgreSQL says that it waits for another transaction."""
        for _ in range(int(_STUCK_S / _PATIENCE_S)):
            if self._real.has_ended(future):
                return True
            if self._real.run(self._watch.fetchval(_IS_BLOCKED, connection.get_server_pid())):
                return False
        raise AssertionError("PostgreSQL doesn't answer")

    def _release_blocked(self) -> None:
        """After a statement, those that waited for it are answered too before anything else happens."""
        for entry in list(self._blocked):
            if self._is_done(entry[0], entry[1]):
                self._blocked.remove(entry)
                entry[2].set()


class _VirtualTx:
    """An open transaction; other tasks may go on between its statements."""

    def __init__(self, db: VirtualDatabase, connection: Any) -> None:
        self._db = db
        self._connection = connection

    async def _run(self, sql: str, work: Callable[[], Any]) -> Any:
        await asyncio.sleep(0)
        return await self._db._statement(self._connection, work, writes=_writes(sql))

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        rows: list[Row] = await self._run(sql, lambda: self._connection.fetch(sql, *args))
        return rows

    async def fetchrow(self, sql: str, *args: Any) -> Row | None:
        row: Row | None = await self._run(sql, lambda: self._connection.fetchrow(sql, *args))
        return row

    async def fetchval(self, sql: str, *args: Any) -> Any:
        return await self._run(sql, lambda: self._connection.fetchval(sql, *args))

    async def execute(self, sql: str, *args: Any) -> str:
        status: str = await self._run(sql, lambda: self._connection.execute(sql, *args))
        return status

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        listed = list(rows)
        await self._run(sql, lambda: self._connection.executemany(sql, listed))


async def _a_moment(task: asyncio.Task[Any]) -> None:
    await asyncio.wait([task], timeout=_PATIENCE_S)


async def _closed(connection: Any) -> None:
    if not connection.is_closed():
        await connection.close(timeout=5)


def _writes(sql: str) -> bool:
    return sql.split(None, 1)[0].upper() in ("INSERT", "UPDATE", "DELETE", "WITH")
