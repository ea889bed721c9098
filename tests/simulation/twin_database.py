"""The twin in a world of virtual time: what `PostgresInVirtualTime` does, without PostgreSQL."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.twin.memory import MemoryConnection, records
from tests.simulation.twin.tables import Store, Waits
from tests.simulation.virtual_database import VirtualDatabase


class TwinConnection:
    """As asyncpg's, but what it gives is done by calling it, which raises Waits instead of waiting."""

    def __init__(self, store: Store) -> None:
        self.memory = MemoryConnection(store)
        self._is_closed = False

    def is_closed(self) -> bool:
        return self._is_closed

    def terminate(self) -> None:
        self._is_closed = True
        self.memory.give_up()
        self.memory.end(keep=False)

    def fetch(self, sql: str, *args: Any) -> Callable[[], Any]:
        return functools.partial(self._fetched, sql, args)

    def fetchrow(self, sql: str, *args: Any) -> Callable[[], Any]:
        return lambda: next(iter(self._fetched(sql, args)), None)

    def fetchval(self, sql: str, *args: Any) -> Callable[[], Any]:
        return lambda: next((row[0] for row in self._fetched(sql, args)), None)

    def execute(self, sql: str, *args: Any) -> Callable[[], Any]:
        return lambda: self.memory.done(sql, args)[2]

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> Callable[[], Any]:
        return lambda: self.memory.done_many(sql, rows)

    def _fetched(self, sql: str, args: Sequence[Any]) -> list[Any]:
        names, rows, _ = self.memory.done(sql, args)
        return records(names, rows) if names else []  # what changes rows gives none but with RETURNING

    def transaction(self) -> TwinTransaction:
        return TwinTransaction(self.memory)


class TwinTransaction:
    def __init__(self, memory: MemoryConnection) -> None:
        self._memory = memory

    def start(self) -> Callable[[], None]:
        return self._memory.begin

    def commit(self) -> Callable[[], None]:
        return lambda: self._memory.end(keep=True)

    def rollback(self) -> Callable[[], None]:
        return lambda: self._memory.end(keep=False)


class TwinDatabase(VirtualDatabase):
    """A server's database in memory. `store` outlives it: the next life of the server finds what was committed."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self._blocked: list[_Blocked] = []

    def _connected(self) -> TwinConnection:
        return TwinConnection(self._store)

    def _undo(self, transaction: Any) -> None:
        transaction.rollback()()

    def _part(self, connection: Any) -> None:
        connection.terminate()

    async def _answered(self, connection: Any, work: Callable[[], Any]) -> Any:
        pending = work()
        try:
            return pending()
        except Waits:
            entry = _Blocked(pending)
        self._blocked.append(entry)
        try:
            return await entry.answer
        except asyncio.CancelledError:
            if entry in self._blocked:
                self._blocked.remove(entry)
            connection.terminate()
            raise

    def _release_blocked(self) -> None:
        for entry in list(self._blocked):
            try:
                answer = entry.pending()
            except Waits:
                continue
            except Exception as error:
                entry.fail(error)
            else:
                entry.give(answer)
            self._blocked.remove(entry)


class _Blocked:
    """A statement that waits for another transaction."""

    def __init__(self, pending: Callable[[], Any]) -> None:
        self.pending = pending
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def give(self, answer: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
