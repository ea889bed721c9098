"""Rows in versions, as PostgreSQL keeps them: who may see them, who waits for whom, what a rollback takes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import asyncpg

from tests.simulation.twin.casts import BITS
from tests.simulation.twin.schema import Schema, TableSchema, Unique


class Waits(Exception):
    """A statement needs what another transaction holds; it is done again from its beginning when that one has ended."""

    def __init__(self, holder: Transaction) -> None:
        self.holder = holder


class Version(tuple[Any, ...]):
    """A row. `made` and `gone` are the transactions that haven't ended; None is everybody. `locker` holds it."""

    made: Transaction | None
    gone: Transaction | None
    locker: Transaction | None


class Transaction:
    """What it did can be taken back, up to a mark. `locks` are advisory ones."""

    def __init__(self) -> None:
        self.undone: list[Callable[[], None]] = []
        self.kept: list[Callable[[], None]] = []
        self.locks: set[int] = set()
        self.waits_for: Transaction | None = None
        self.has_failed = False
        self.has_ended = False

    def back_to(self, mark: int) -> None:
        while len(self.undone) > mark:
            self.undone.pop()()
        # Each act that can be taken back has one to be kept.
        del self.kept[mark:]

    def is_stuck_behind(self, other: Transaction) -> bool:
        """Whether waiting for it would never end."""
        seen: Transaction | None = other
        while seen is not None:
            if seen is self:
                return True
            seen = seen.waits_for
        return False


class Table:
    """One table of one server. Rows are in the order in which they were written."""

    def __init__(self, schema: TableSchema, unique_tests: Sequence[Callable[[Version], bool] | None]) -> None:
        self.schema = schema
        self.width = len(schema.columns)
        self._rows: dict[int, Version] = {}
        self._indexes: dict[int, dict[Any, dict[int, Version]]] = {}
        self.uniques = [
            (unique, [schema.place(name) for name in unique.columns], test)
            for unique, test in zip(schema.uniques, unique_tests, strict=True)
        ]
        for _, places, _ in self.uniques:
            self._indexed(places[0])

    def __len__(self) -> int:
        return len(self._rows)

    # --- reading

    def _indexed(self, place: int) -> dict[Any, dict[int, Version]]:
        index = self._indexes.get(place)
        if index is None:
            index = self._indexes[place] = {}
            for number, row in self._rows.items():
                index.setdefault(_hashable(row[place]), {})[number] = row
        return index

    def seen(self, tx: Transaction) -> Iterator[Version]:
        """All that a transaction sees now."""
        for row in list(self._rows.values()):
            if (row.made is None or row.made is tx) and row.gone is not tx:
                yield row

    def having(self, place: int, value: Any, tx: Transaction) -> list[Version]:
        """Those that have a value in a column."""
        if value is None:
            return []
        found = self._indexed(place).get(_hashable(value))
        if not found:
            return []
        return [row for row in found.values() if (row.made is None or row.made is tx) and row.gone is not tx]

    # --- writing

    def _add(self, row: Version) -> None:
        number = id(row)
        self._rows[number] = row
        for place, index in self._indexes.items():
            index.setdefault(_hashable(row[place]), {})[number] = row

    def _remove(self, row: Version) -> None:
        number = id(row)
        del self._rows[number]
        for place, index in self._indexes.items():
            del index[_hashable(row[place])][number]

    def rival(
        self,
        values: Sequence[Any],
        tx: Transaction,
        own: Version | None = None,
        among: Sequence[Unique] | None = None,
    ) -> tuple[Unique, Version] | None:
        """The row that these values can't be beside, by all constraints or `among` these.

        Raises Waits where that depends on another transaction.
        """
        for unique, places, test in self.uniques:
            if among is not None and unique not in among:
                continue
            key = [values[place] for place in places]
            if None in key or (test is not None and not test(Version(values))):
                continue
            for row in list(self._indexed(places[0]).get(_hashable(key[0]), {}).values()):
                if row is own or row.gone is tx or [row[place] for place in places] != key:
                    continue
                if test is not None and not test(row):
                    continue
                if row.made is not None and row.made is not tx:
                    raise Waits(row.made)
                if row.gone is not None:
                    raise Waits(row.gone)
                return unique, row
        return None

    def insert(self, values: Sequence[Any], tx: Transaction) -> Version:
        row = Version(values)
        row.made, row.gone, row.locker = tx, None, None
        self._add(row)
        tx.undone.append(lambda: self._remove(row))

        def keep() -> None:
            row.made = None

        tx.kept.append(keep)
        return row

    def lock(self, row: Version, tx: Transaction) -> None:
        """Raises Waits."""
        for other in (row.gone, row.locker):
            if other is not None and other is not tx:
                raise Waits(other)
        if row.locker is None:
            row.locker = tx

            def unlock() -> None:
                row.locker = None

            tx.undone.append(unlock)
            tx.kept.append(unlock)

    def delete(self, row: Version, tx: Transaction) -> None:
        """Raises Waits."""
        self.lock(row, tx)
        row.gone = tx

        def undo() -> None:
            row.gone = None

        tx.undone.append(undo)
        tx.kept.append(lambda: self._remove(row))

    def check(self, values: Sequence[Any]) -> None:
        """Raises what PostgreSQL raises for a value that a column can't have."""
        for column, value in zip(self.schema.columns, values, strict=True):
            if value is None:
                if column.is_needed:
                    text = f'null value in column "{column.name}" of relation "{self.schema.name}"'
                    raise asyncpg.NotNullViolationError(text)
                continue
            bits = BITS.get(column.type)
            if bits is not None and not -(2**bits) <= value < 2**bits:
                raise asyncpg.NumericValueOutOfRangeError(f"{column.type} out of range")


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def violated(unique: Unique, table: str) -> asyncpg.UniqueViolationError:
    error = asyncpg.UniqueViolationError(f'duplicate key value violates unique constraint "{unique.name}"')
    error.constraint_name, error.table_name = unique.name, table
    return error


class Store:
    """All tables, sequences and locks of one server's database: what a crash leaves is what was committed."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.tables: dict[str, Table] = {}
        self.sequences = dict.fromkeys(schema.sequences, 0)
        self.advisory: dict[int, Transaction] = {}
        # Where the twin itself failed: whoever goes on after any error must not hide it.
        self.failures: list[str] = []

    def next_of(self, sequence: str) -> int:
        self.sequences[sequence] += 1
        return self.sequences[sequence]

    def take_advisory(self, key: int, tx: Transaction) -> None:
        """Raises Waits."""
        holder = self.advisory.setdefault(key, tx)
        if holder is not tx:
            raise Waits(holder)
        tx.locks.add(key)

    def end(self, tx: Transaction, *, keep: bool) -> None:
        """Commits, or takes all back."""
        if tx.has_ended:
            return
        if keep:
            for act in tx.kept:
                act()
        else:
            tx.back_to(0)
        tx.has_ended = True
        for key in tx.locks:
            del self.advisory[key]
