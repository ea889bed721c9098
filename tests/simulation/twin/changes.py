"""INSERT, UPDATE and DELETE as functions: all that they read is read before anything is written."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from homeserver.storage.migrate import known_migrations
from tests.simulation.twin.expression_parser import Tree
from tests.simulation.twin.expressions import Frame, Run, Scope, Value, only
from tests.simulation.twin.lexing import NotUnderstood
from tests.simulation.twin.queries import Query, QueryCompiler, Rows, _Selection
from tests.simulation.twin.schema import Schema, TableSchema, Unique, schema
from tests.simulation.twin.statement_parser import Delete, Insert, Select, Source, Statement, Update, parsed
from tests.simulation.twin.tables import Store, Table, Transaction, Version, violated

Change = Callable[[Run], tuple[list[Frame], int]]


@dataclass(slots=True)
class Compiled:
    """A statement: what it gives, and the word that its status begins with."""

    query: Query
    word: str


class ChangeCompiler:
    """Compiles one statement, whatever it is."""

    def __init__(self, known: Schema, sql: str) -> None:
        self._schema = known
        self._sql = sql
        self._queries = QueryCompiler(known, sql)
        self._queries.changes = self.change

    def statement(self, what: Statement) -> Compiled:
        if isinstance(what, Select):
            return Compiled(self._queries.query(what, None), "SELECT")
        word = {Insert: "INSERT 0", Update: "UPDATE", Delete: "DELETE"}[type(what)]
        return Compiled(self.change(what, None), word)

    def change(self, what: Statement, around: Scope | None) -> Query:
        """Its rows are those of RETURNING, or empty ones, as many as it changed."""
        scope = Scope(around)
        fill = self._queries.with_ctes(what.ctes, scope) if what.ctes else None
        if isinstance(what, Select):
            return self._queries.query(what, scope)
        if isinstance(what, Insert):
            query = self._insert(what, scope)
        else:
            query = self._update(what, scope) if isinstance(what, Update) else self._delete(what, scope)
        if fill is None:
            return query

        def rows(e: Frame, r: Run) -> list[Any]:
            fill([e], r)
            return query.rows(e, r)

        return Query(query.columns, rows)

    def _returning(self, items: Any, scope: Scope) -> tuple[list[str], Callable[[Frame, Run], tuple[Any, ...]]]:
        """The names and values of RETURNING, over a frame whose source 1 is the row that was written."""
        if items is None:
            return [], lambda e, r: ()
        joined = self._queries.joined([], None, scope)
        selection = _Selection(self._queries, Select(list(items), []), joined)
        values = [selection._compile(tree) for tree in selection._trees]
        return selection._columns, lambda e, r: tuple(value(e, r) for value in values)

    def _defaults(self, table: TableSchema) -> list[Value]:
        compiler = self._queries.compiler(Scope())
        found: list[Value] = []
        for column in table.columns:
            if column.sequence is not None:
                found.append(functools.partial(_next, column.sequence))
            else:
                found.append(compiler.compile(column.default or ("value", None)))
        return found

    # --- INSERT

    def _insert(self, what: Insert, scope: Scope) -> Query:
        known = self._schema.tables[what.table]
        source, places = self._inserted(what, known, scope)
        arbiters = self._arbiters(what, known)
        defaults = self._defaults(known)
        width = len(known.columns)
        names = [column.name for column in known.columns]
        target = Scope(scope, sources=[(what.alias, names, 1), ("excluded", names, 2)])
        columns, returned = self._returning(what.returning, Scope(scope, sources=[(what.alias, names, 1)]))
        sets = self._sets(what.sets or [], known, target, defaults)
        where = self._queries.compiler(target).compile(what.where) if what.where is not None else None

        def rows(e: Frame, r: Run) -> list[Any]:
            table = r.store.tables[what.table]
            found: list[Any] = []
            mine: set[int] = set()
            around = [e]
            for given in source(around, r):
                values = [None] * width
                for place, value in zip(places, given, strict=False):
                    values[place] = value
                for place in range(width):
                    if place not in places[: len(given)] or values[place] is DEFAULT:
                        values[place] = defaults[place](around, r)
                check(table, values, r)
                rival = table.rival(values, r.tx, among=arbiters) or table.rival(values, r.tx)
                if rival is None:
                    new = table.insert(values, r.tx)
                elif what.conflict is None or rival[0] not in arbiters:
                    raise violated(rival[0], what.table)
                elif what.sets is None:
                    continue
                else:
                    old = rival[1]
                    if id(old) in mine:
                        raise asyncpg.CardinalityViolationError("ON CONFLICT DO UPDATE can't affect a row twice")
                    table.lock(old, r.tx)
                    frame = [around, old, tuple(values)]
                    if where is not None and where(frame, r) is not True:
                        continue
                    new = replaced(table, old, sets(frame, r), r)
                mine.add(id(new))
                found.append(returned([around, new], r))
            return found

        return Query(columns, rows)

    def _arbiters(self, what: Insert, known: TableSchema) -> list[Unique]:
        """The constraints that ON CONFLICT is about."""
        if not what.conflict:
            return known.uniques if what.conflict == () else []
        found = [
            one
            for one in known.uniques
            if set(one.columns) == set(what.conflict) and one.where in (None, what.conflict_where)
        ]
        if not found:
            raise NotUnderstood(f"no constraint for this ON CONFLICT in: {self._sql}")
        return found

    def _inserted(self, what: Insert, known: TableSchema, scope: Scope) -> tuple[Rows, list[int]]:
        """The rows to insert, and which columns they are for."""
        places = [known.place(name) for name in what.columns] or list(range(len(known.columns)))
        if what.rows.rows is None or all(("default",) not in row for row in what.rows.rows):
            return self._queries.query(what.rows, scope).rows, places
        compiler = self._queries.compiler(Scope(scope))
        made = [
            [compiler.compile(("value", DEFAULT) if tree == ("default",) else tree) for tree in row]
            for row in what.rows.rows
        ]
        return (lambda e, r: [tuple(value([e], r) for value in row) for row in made]), places

    def _sets(
        self,
        sets: Sequence[tuple[tuple[str, ...], Tree]],
        known: TableSchema,
        scope: Scope,
        defaults: Sequence[Value],
        slot: int = 1,
    ) -> Callable[[Frame, Run], list[Any]]:
        """The new values of a row that is source `slot` of the frame."""
        compiler = self._queries.compiler(scope)
        made: list[tuple[list[int], Value]] = []
        for names, tree in sets:
            places = [known.place(name) for name in names]
            if tree == ("default",):
                made.append((places, defaults[places[0]]))
            elif len(places) > 1 and tree[0] == "scalar":
                rows = self._queries.subquery(tree[1], scope)
                made.append((places, functools.partial(_first_of, rows, len(places))))
            else:
                made.append((places, compiler.compile(tree)))

        def values(e: Frame, r: Run) -> list[Any]:
            found = list(e[slot])
            for places, value in made:
                got = value(e, r)
                for place, one in zip(places, got if len(places) > 1 else [got], strict=True):
                    found[place] = one
            return found

        return values

    # --- UPDATE and DELETE

    def _found(self, what: Any, scope: Scope) -> tuple[Callable[[Frame, Run], list[Frame]], int]:
        """The frames of the rows to change, each row once, and the place of the target in them."""
        target = Source(what.table, what.alias, [])
        joined = self._queries.joined([*what.sources, target], what.where, scope)
        slot = len(joined.steps)

        def frames(e: Frame, r: Run) -> list[Frame]:
            found: dict[int, Frame] = {}
            for frame in joined.frames(e, r):
                found.setdefault(id(frame[slot]), list(frame))
            return list(found.values())

        return frames, slot

    def _update(self, what: Update, scope: Scope) -> Query:
        known = self._schema.tables[what.table]
        frames, slot = self._found(what, scope)
        sets = self._sets(what.sets, known, scope, self._defaults(known), slot)
        columns, returned = self._returning(what.returning, scope)

        def rows(e: Frame, r: Run) -> list[Any]:
            table = r.store.tables[what.table]
            changed = [(frame, sets(frame, r)) for frame in frames(e, r)]
            found = []
            for frame, values in changed:
                table.lock(frame[slot], r.tx)
                frame[slot] = replaced(table, frame[slot], values, r)
                found.append(returned(frame, r))
            return found

        return Query(columns, rows)

    def _delete(self, what: Delete, scope: Scope) -> Query:
        frames, slot = self._found(what, scope)
        columns, returned = self._returning(what.returning, scope)

        def rows(e: Frame, r: Run) -> list[Any]:
            found = []
            for frame in frames(e, r):
                remove(r.store.tables[what.table], frame[slot], r)
                found.append(returned(frame, r))
            return found

        return Query(columns, rows)


DEFAULT = object()


def _next(sequence: str, e: Frame, r: Run) -> int:
    return r.store.next_of(sequence)


def _first_of(rows: Rows, width: int, e: Frame, r: Run) -> Any:
    return only(rows(e, r)) or [None] * width


def check(table: Table, values: Sequence[Any], run: Run) -> None:
    """Raises what PostgreSQL raises for a row that may not be."""
    table.check(values)
    for name, test in CHECKS.get(table.schema.name, ()):
        if test([None, values], run) is False:
            raise asyncpg.CheckViolationError(f'new row violates check constraint "{name}"')
    for reference in table.schema.references:
        key = values[table.schema.place(reference.columns[0])]
        if key is not None and not run.store.tables[reference.table].having(0, key, run.tx):
            raise asyncpg.ForeignKeyViolationError(f'"{table.schema.name}" names what "{reference.table}" lacks')


def replaced(table: Table, old: Version, values: Sequence[Any], run: Run) -> Version:
    """A row's next version. Raises Waits, and what PostgreSQL raises."""
    check(table, values, run)
    rival = table.rival(values, run.tx, old)
    if rival is not None:
        raise violated(rival[0], table.schema.name)
    table.delete(old, run.tx)
    return table.insert(values, run.tx)


def remove(table: Table, row: Version, run: Run) -> None:
    """Deletes a row and what goes with it. Raises Waits, and what PostgreSQL raises."""
    if table.schema.name == "media_links":
        raise NotUnderstood("the trigger of media_links")
    if table.schema.name == "audit_log":
        raise asyncpg.RaiseError("the audit log is only added to")
    table.delete(row, run.tx)
    for name, reference in table.schema.referred:
        child = run.store.tables[name]
        if not len(child):
            continue
        for one in child.having(child.schema.place(reference.columns[0]), row[0], run.tx):
            if not reference.cascades:
                raise asyncpg.ForeignKeyViolationError(f'"{name}" names a row of "{table.schema.name}"')
            remove(child, one, run)


@functools.cache
def compiled(sql: str) -> Compiled:
    """A statement of the product's. Raises NotUnderstood."""
    return ChangeCompiler(schema(), sql).statement(parsed(sql))


def _test_of(table: TableSchema, tree: Tree) -> Value:
    names = [column.name for column in table.columns]
    scope = Scope(sources=[(table.name, names, 1)])
    return QueryCompiler(schema(), table.name).compiler(scope).compile(tree)


@functools.cache
def _unique_tests() -> dict[str, list[Callable[[Version], bool] | None]]:
    found: dict[str, list[Callable[[Version], bool] | None]] = {}
    run = Run((), Store(Schema()), None)  # type: ignore[arg-type]
    for name, table in schema().tables.items():
        tests: list[Callable[[Version], bool] | None] = []
        for unique in table.uniques:
            if unique.where is None:
                tests.append(None)
            else:
                tests.append(functools.partial(_holds, _test_of(table, unique.where), run))
        found[name] = tests
    return found


def _holds(test: Value, run: Run, row: Version) -> bool:
    return test([None, row], run) is True


CHECKS: dict[str, list[tuple[str, Value]]] = {
    name: [(check_name, _test_of(table, tree)) for check_name, tree in table.checks]
    for name, table in schema().tables.items()
    if table.checks
}


def fresh_store() -> Store:
    """A database that has had all migrations, and no rows but theirs."""
    store = Store(schema())
    for name, table in schema().tables.items():
        store.tables[name] = Table(table, _unique_tests()[name])
    for sql in schema().rows:
        tx = Transaction()
        compiled(sql).query.rows([None], Run((), store, tx))
        store.end(tx, keep=True)
    for migration in known_migrations():
        _given(store, "migrations", (migration.number, migration.name, None))
    return store


def _given(store: Store, table: str, values: Sequence[Any]) -> None:
    tx = Transaction()
    store.tables[table].insert(values, tx)
    store.end(tx, keep=True)
