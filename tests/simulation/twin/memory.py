"""A connection to a database in memory, as asyncpg has it. A statement is an instant, or waits for a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import asyncpg

from tests.simulation.twin.changes import compiled
from tests.simulation.twin.expressions import Run
from tests.simulation.twin.tables import Store, Transaction, Waits


class MemoryRow:
    """As much of asyncpg.Record as we use: values by place and by name, iterated as values."""

    __slots__ = ("_names", "_values")

    def __init__(self, names: dict[str, int], values: tuple[Any, ...]) -> None:
        self._names = names
        self._values = values

    def __getitem__(self, key: Any) -> Any:
        return self._values[self._names[key]] if isinstance(key, str) else self._values[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Iterable) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self._names else default

    def keys(self) -> Iterable[str]:
        return self._names.keys()

    def values(self) -> tuple[Any, ...]:
        return self._values

    def items(self) -> Iterable[tuple[str, Any]]:
        return ((name, self._values[place]) for name, place in self._names.items())


class MemoryConnection:
    """`tx` is the open transaction. Each call raises Waits instead of waiting; then it changed nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.tx: Transaction | None = None
        self.waiting: Transaction | None = None

    def begin(self) -> None:
        self.tx = Transaction()

    def end(self, *, keep: bool) -> None:
        """Commits, or takes back; a transaction in which a statement failed is taken back in any case."""
        tx, self.tx = self.tx, None
        if tx is not None:
            self._store.end(tx, keep=keep and not tx.has_failed)

    def done(self, sql: str, args: Sequence[Any]) -> tuple[dict[str, int], list[Any], str]:
        """The names of the columns, the rows, the status. Raises Waits, and what PostgreSQL raises."""
        if self.tx is not None and self.tx.has_failed:
            raise asyncpg.InFailedSQLTransactionError("current transaction is aborted")
        if sql.lstrip().upper().startswith(("CREATE TABLE IF NOT EXISTS", "SET ")):
            return {}, [], "CREATE TABLE"
        if "FROM pg_database" in sql:
            return {"encoding": 0, "collation": 1}, [("UTF8", "C")], "SELECT 1"
        try:
            return self._run(sql, args)
        except (Waits, asyncpg.PostgresError):
            raise
        except Exception as error:
            self._store.failures.append(f"{error!r} in: {sql}")
            raise

    def _run(self, sql: str, args: Sequence[Any]) -> tuple[dict[str, int], list[Any], str]:
        statement = compiled(sql)
        _check_texts(args)
        tx = self.waiting or self.tx or Transaction()
        mark = len(tx.undone)
        try:
            rows = statement.query.rows([None], Run(_plain(args), self._store, tx))
        except Waits as waits:
            tx.back_to(mark)
            self.waiting = tx
            if tx.is_stuck_behind(waits.holder):
                self._failed(tx)
                raise asyncpg.DeadlockDetectedError("deadlock detected") from None
            tx.waits_for = waits.holder
            raise
        except BaseException:
            self._failed(tx)
            raise
        self.waiting, tx.waits_for = None, None
        if self.tx is None:
            self._store.end(tx, keep=True)
        columns = statement.query.columns
        return {name: place for place, name in enumerate(columns)}, rows, f"{statement.word} {len(rows)}"

    def done_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """The same for many; all or none. Raises as `done` does."""
        assert self.tx is not None
        mark = len(self.tx.undone)
        for row in rows:
            try:
                self.done(sql, row)
            except Waits:
                self.tx.back_to(mark)
                raise

    def _failed(self, tx: Transaction) -> None:
        """What it locked it holds until it is taken back, as PostgreSQL does."""
        self.waiting, tx.waits_for = None, None
        if self.tx is None:
            self._store.end(tx, keep=False)
        else:
            tx.has_failed = True

    def give_up(self) -> None:
        """Nobody waits any more for the statement that waits."""
        if self.waiting is not None:
            self._failed(self.waiting)


def _plain(args: Sequence[Any]) -> Sequence[Any]:
    return [list(arg) if isinstance(arg, (tuple, set, frozenset)) else arg for arg in args]


def _check_texts(args: Sequence[Any]) -> None:
    for arg in args:
        for value in arg if isinstance(arg, (list, tuple)) else (arg,):
            if isinstance(value, str) and "\x00" in value:
                raise asyncpg.CharacterNotInRepertoireError('invalid byte sequence for encoding "UTF8": 0x00')


def records(names: dict[str, int], rows: Iterable[Any]) -> list[MemoryRow]:
    return [MemoryRow(names, row if type(row) is tuple else tuple(row)) for row in rows]
