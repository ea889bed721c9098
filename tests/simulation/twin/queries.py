"""SELECT as a function: for each row of the first source each of the second, filtered as early as can be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from tests.simulation.twin.expression_parser import Tree
from tests.simulation.twin.expressions import AGGREGATES, Compiler, Frame, Run, Scope, Value
from tests.simulation.twin.lexing import NotUnderstood
from tests.simulation.twin.schema import Schema
from tests.simulation.twin.statement_parser import Cte, Select, Source
from tests.simulation.twin.tables import Version, Waits

Rows = Callable[[Frame, Run], list[Any]]


@dataclass(slots=True)
class Query:
    columns: list[str]
    rows: Rows


@dataclass(slots=True)
class _Step:
    """One source: its rows for what is bound so far; `filters` say which of them join, `after` which results stay."""

    slot: int
    rows: Callable[[Frame, Run], Iterable[Any]]
    is_left: bool
    filters: list[Value] = field(default_factory=list)
    after: list[Value] = field(default_factory=list)


class Joined:
    """The sources of a statement, bound one after another."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.steps: list[_Step] = []
        self.first: list[Value] = []  # conditions that need no source
        self.hidden: set[tuple[int, str]] = set()  # columns that USING has once

    def frames(self, around: Frame | None, run: Run) -> Iterator[Frame]:
        """Each is the same list, filled anew: who keeps one copies it."""
        frame: Frame = [around] + [None] * len(self.steps)
        if all(condition(frame, run) is True for condition in self.first):
            yield from self._bound(0, frame, run)

    def _bound(self, number: int, frame: Frame, run: Run) -> Iterator[Frame]:
        if number == len(self.steps):
            yield frame
            return
        step = self.steps[number]
        slot, filters, is_found = step.slot, step.filters, False
        for row in step.rows(frame, run):
            frame[slot] = row
            if all(condition(frame, run) is True for condition in filters):
                is_found = True
                if all(condition(frame, run) is True for condition in step.after):
                    yield from self._bound(number + 1, frame, run)
        frame[slot] = None
        if step.is_left and not is_found and all(condition(frame, run) is True for condition in step.after):
            yield from self._bound(number + 1, frame, run)


def conjuncts(tree: Tree | None) -> list[Tree]:
    """The conditions that AND joins."""
    if tree is None:
        return []
    return [*conjuncts(tree[1]), *conjuncts(tree[2])] if tree[0] == "and" else [tree]


class QueryCompiler:
    """Compiles the queries of one statement. Implements `expressions.Queries`."""

    def __init__(self, schema: Schema, sql: str) -> None:
        self.schema = schema
        self.sql = sql
        # What compiles a statement of a WITH that writes: put in place by who has it.
        self.changes: Callable[[Any, Scope | None], Query] | None = None

    def compiler(self, scope: Scope) -> Compiler:
        return Compiler(scope, self, self.sql)

    def subquery(self, select: Any, scope: Scope) -> Rows:
        """As `Queries` has it."""
        return self.query(select, scope).rows

    # --- WITH

    def with_ctes(self, ctes: Sequence[Cte], scope: Scope) -> Callable[[Frame, Run], None]:
        """What fills the tables of WITH, before the statement itself runs."""
        made: list[tuple[str, Rows]] = []
        for cte in ctes:
            if cte.is_recursive and isinstance(cte.what, Select) and self._inner(cte.what).other is not None:
                made.append((cte.name, self._recursive(cte, scope)))
                continue
            if isinstance(cte.what, Select):
                query = self.query(cte.what, scope)
            else:
                assert self.changes is not None
                query = self.changes(cte.what, scope)
            scope.ctes[cte.name] = cte.columns or query.columns
            made.append((cte.name, query.rows))

        def fill(around: Frame, run: Run) -> None:
            for name, rows in made:
                run.ctes[name] = rows(around, run)

        return fill

    @staticmethod
    def _inner(select: Select) -> Select:
        return select.sources[0].what if len(select.sources) == 1 else select

    def _recursive(self, cte: Cte, scope: Scope) -> Rows:
        first = self._inner(cte.what)
        again, keeps_all = first.other, first.keeps_all
        assert again is not None
        first.other = None
        begin = self.query(first, scope)
        scope.ctes[cte.name] = cte.columns or begin.columns
        go_on = self.query(again, scope)

        def rows(around: Frame, run: Run) -> list[Any]:
            found = begin.rows(around, run)
            found = found if keeps_all else unique(found)
            known, new = {key_of(row) for row in found}, found
            while new:
                run.ctes[cte.name] = new
                new = go_on.rows(around, run)
                if not keeps_all:
                    new = [row for row in unique(new) if key_of(row) not in known]
                    known.update(key_of(row) for row in new)
                found = [*found, *new]
            return found

        return rows

    # --- FROM and WHERE

    def joined(self, sources: Sequence[Source], where: Tree | None, scope: Scope) -> Joined:
        found = Joined(scope)
        waiting = conjuncts(where)
        for source in sources:
            self._bind(source, found, scope, waiting if source.how == "inner" else [])
        compiler = self.compiler(scope)
        for tree in conjuncts(where):
            condition, uses = compiler.with_uses(tree)
            last = max(uses, default=0)
            if last == 0:
                found.first.append(condition)
                continue
            step = found.steps[last - 1]
            # A condition on what a LEFT JOIN may lack holds for its result, not for what is joined.
            (step.after if step.is_left else step.filters).append(condition)
        return found

    def _bind(self, source: Source, found: Joined, scope: Scope, where: Sequence[Tree]) -> None:
        slot = len(found.steps) + 1
        rows, columns, table = self._provider(source, scope)
        earlier = list(scope.sources)
        scope.sources.append((source.alias, columns, slot))
        on = conjuncts(source.on)
        for name in source.using:
            left = next(one for one in earlier if name in one[1])
            found.hidden.add((slot, name))
            on.append(("compare", "=", ("place", left[2], left[1].index(name)), ("place", slot, columns.index(name))))
        step = _Step(slot, rows, source.how == "left")
        compiler = _Places(scope, self, self.sql)
        step.filters = [compiler.compile(tree) for tree in on]
        if table is not None:
            step.rows = self._by_value(table, columns, slot, [*on, *where], compiler) or rows
        found.steps.append(step)

    def _provider(self, source: Source, scope: Scope) -> tuple[Callable[[Frame, Run], Iterable[Any]], list[str], Any]:
        what = source.what
        if isinstance(what, Select):
            query = self.query(what, scope)
            return query.rows, named(source.columns, query.columns), None
        if isinstance(what, tuple):
            return self._from_call(what, source, scope)
        columns = scope.cte(what)
        if columns is not None:
            return (lambda e, r: r.ctes[what]), named(source.columns, columns), None
        if what in self.schema.views:
            query = self.query(self.schema.views[what], None)
            return (lambda e, r: query.rows([None], r)), query.columns, None
        if what not in self.schema.tables:
            raise NotUnderstood(f"no table {what} in: {self.sql}")
        names = [column.name for column in self.schema.tables[what].columns]
        return (lambda e, r: r.store.tables[what].seen(r.tx)), named(source.columns, names), what

    def _from_call(
        self, call: Tree, source: Source, scope: Scope
    ) -> tuple[Callable[[Frame, Run], Iterable[Any]], list[str], Any]:
        _, name, arguments, *_ = call
        inner = Scope(scope)
        values = [self.compiler(inner).compile(argument) for argument in arguments]
        if name == "generate_series":
            columns = named(source.columns, [source.alias])

            def numbers(e: Frame, r: Run) -> Iterable[Any]:
                low, high = (value([e], r) for value in values)
                return [(number,) for number in range(low, high + 1)]

            return numbers, columns, None
        if name != "unnest":
            raise NotUnderstood(f"no function {name} in FROM: {self.sql}")
        columns = named(source.columns, [source.alias if len(values) == 1 else name] * max(len(values), 1))

        def rows(e: Frame, r: Run) -> Iterable[Any]:
            given = [value([e], r) or () for value in values]
            longest = max(len(one) for one in given)
            if all(len(one) == longest for one in given):
                return zip(*given, strict=True)
            return zip(*([*one, *([None] * (longest - len(one)))] for one in given), strict=True)

        return rows, columns, None

    def _by_value(
        self, table: str, columns: Sequence[str], slot: int, trees: Iterable[Tree], compiler: Compiler
    ) -> Callable[[Frame, Run], Iterable[Any]] | None:
        """The rows of a table by the value of the column that tells them apart best, where a condition names one."""
        alone = {one.columns[0] for one in self.schema.tables[table].uniques if len(one.columns) == 1}
        best: tuple[int, int, Value, bool] | None = None
        for tree in trees:
            for place, value, is_many in self._equal_to(tree, slot, compiler):
                name = columns[place]
                worth = (4 if name in alone else 0 if name == "room_nid" else 2) + (0 if is_many else 1)
                if best is None or worth > best[0]:
                    best = (worth, place, value, is_many)
        if best is None:
            return None
        _, place, value, is_many = best
        if not is_many:
            return lambda e, r: r.store.tables[table].having(place, value(e, r), r.tx)

        def rows(e: Frame, r: Run) -> Iterable[Any]:
            given = value(e, r)
            held = r.store.tables[table]
            if not given or not len(held):
                return ()
            return [row for one in dict.fromkeys(given) for row in held.having(place, one, r.tx)]

        return rows

    def _equal_to(self, tree: Tree, slot: int, compiler: Compiler) -> Iterator[tuple[int, Value, bool]]:
        """(column of this source, what it equals by what is bound before, whether that is a list)."""
        if tree[0] == "compare" and tree[1] == "=":
            pairs = [(tree[2], tree[3], False), (tree[3], tree[2], False)]
        elif tree[0] == "any" and tree[1] == "=" and tree[3][0] != "subquery":
            pairs = [(tree[2], tree[3], True)]
        else:
            return
        for column, other, is_many in pairs:
            place = self._own_column(column, slot, compiler.scope)
            if place is None:
                continue
            try:
                value, uses = compiler.with_uses(other)
            except NotUnderstood:
                continue  # it names a source that comes later
            if slot not in uses and other[0] != "row":
                yield place, value, is_many

    @staticmethod
    def _own_column(tree: Tree, slot: int, scope: Scope) -> int | None:
        if tree[0] == "place":
            return tree[2] if tree[1] == slot else None
        if tree[0] != "column":
            return None
        found = scope.find(tree[1], tree[2])
        return found[2] if found is not None and found[:2] == (0, slot) else None

    # --- SELECT

    def query(self, select: Select, around: Scope | None) -> Query:
        scope = Scope(around)
        fill = self.with_ctes(select.ctes, scope) if select.ctes else None
        query = self._chain(select, scope)
        if fill is None:
            return query

        def rows(e: Frame, r: Run) -> list[Any]:
            fill([e], r)
            return query.rows(e, r)

        return Query(query.columns, rows)

    def _chain(self, select: Select, scope: Scope) -> Query:
        """A query and what UNION adds to it."""
        first = self._plain(select, scope)
        parts: list[tuple[Query, bool]] = []
        last = select
        while last.other is not None:
            parts.append((self._plain(last.other, Scope(scope.around, ctes=scope.ctes)), last.keeps_all))
            last = last.other
        if not parts:
            return first

        def rows(e: Frame, r: Run) -> list[Any]:
            found = first.rows(e, r)
            for query, keeps_all in parts:
                found = [*found, *query.rows(e, r)]
                if not keeps_all:
                    found = unique(found)
            return found

        return Query(first.columns, rows)

    def _plain(self, select: Select, scope: Scope) -> Query:
        if select.rows is not None:
            compiler = self.compiler(scope)
            made = [[compiler.compile(tree) for tree in row] for row in select.rows if ("default",) not in row]
            columns = [f"column{number + 1}" for number in range(len(select.rows[0]))]
            return Query(columns, lambda e, r: [tuple(value([e], r) for value in row) for row in made])
        joined = self.joined(select.sources, select.where, scope)
        return _Selection(self, select, joined).query()


class _Places(Compiler):
    """Knows sources by their place too, as USING names them."""

    def _place(self, slot: int, place: int) -> Value:
        self.scope.used.add(slot)
        return lambda e, r: None if (row := e[slot]) is None else row[place]


class _Selection:
    """One SELECT over its joined sources: grouped, ordered, made distinct, cut off."""

    def __init__(self, queries: QueryCompiler, select: Select, joined: Joined) -> None:
        self._select = select
        self._joined = joined
        self._compiler = queries.compiler(joined.scope)
        self._aggregates: list[Tree] = []
        self._columns: list[str] = []
        self._trees: list[Tree] = []
        for tree, alias in select.items:
            self._take(tree, alias)
        self._is_grouped = bool(select.group) or any(_has_aggregate(tree) for tree in [*self._trees, select.having])

    def _take(self, tree: Tree, alias: str | None) -> None:
        if tree[0] != "star":
            self._columns.append(alias or name_of(tree))
            self._trees.append(tree)
            return
        for source, columns, slot in self._joined.scope.sources:
            for place, column in enumerate(columns):
                if tree[1] in (None, source) and (tree[1] or (slot, column) not in self._joined.hidden):
                    self._columns.append(column)
                    self._trees.append(("place", slot, place))

    def _compile(self, tree: Tree) -> Value:
        return _Places(self._joined.scope, self._compiler._queries, self._compiler._sql).compile(
            self._without_aggregates(tree)
        )

    def _without_aggregates(self, tree: Any) -> Any:
        """Calls of aggregates as places behind those of the sources."""
        if not self._is_grouped or not isinstance(tree, tuple):
            return tree
        if len(tree) == 6 and tree[0] == "call" and tree[1] in AGGREGATES:
            if tree not in self._aggregates:
                self._aggregates.append(tree)
            return ("slot", 1 + len(self._joined.steps) + self._aggregates.index(tree))
        return tuple(self._without_aggregates(part) for part in tree)

    def _by_output(self, tree: Tree) -> Tree:
        """What ORDER BY and GROUP BY mean by a number, or by a name that the result gives."""
        if tree[0] == "value" and isinstance(tree[1], int):
            return self._trees[tree[1] - 1]
        if tree[0] == "column" and tree[1] is None and tree[2] in self._columns:
            return self._trees[self._columns.index(tree[2])]
        return tree

    def query(self) -> Query:
        select = self._select
        group = [self._compile(self._as_grouped(tree)) for tree in select.group]
        values = [self._compile(tree) for tree in self._trees]
        order = [(self._compile(self._by_output(tree)), falls, nulls) for tree, falls, nulls in select.order]
        distinct_on = select.distinct if isinstance(select.distinct, tuple) else ()
        on = [self._compile(self._by_output(tree)) for tree in distinct_on]
        having = self._compile(select.having) if select.having is not None else None
        aggregates = [Aggregate(tree, self._compiler) for tree in self._aggregates]
        limit = self._compiler.compile(select.limit) if select.limit is not None else None
        offset = self._compiler.compile(select.offset) if select.offset is not None else None
        locks = Locks(select, self._joined) if select.locks else None

        def frames(e: Frame, r: Run) -> Iterable[Frame]:
            if not self._is_grouped:
                return self._joined.frames(e, r)
            return grouped(self._joined.frames(e, r), r, group, aggregates, [e, *([None] * len(self._joined.steps))])

        def rows(e: Frame, r: Run) -> list[Any]:
            found: list[tuple[Any, ...]] = []
            for frame in frames(e, r):
                if having is not None and having(frame, r) is not True:
                    continue
                row = tuple([value(frame, r) for value in values])
                keys = [value(frame, r) for value, _, _ in order]
                distinct = key_of([value(frame, r) for value in on]) if on else None
                found.append((row, keys, distinct, locks.held(frame) if locks else None))
            for number in range(len(order) - 1, -1, -1):
                _, falls, nulls_first = order[number]
                found.sort(key=sort_key(number, falls=falls, nulls_first=nulls_first), reverse=falls)
            if on:
                found = firsts((one[2], one) for one in found)
            elif select.distinct:
                found = firsts((key_of(one[0]), one) for one in found)
            start = (offset([e], r) if offset else 0) or 0
            most = limit([e], r) if limit else None
            if start < 0:
                raise asyncpg.InvalidRowCountInResultOffsetClauseError("OFFSET must not be negative")
            if most is not None and most < 0:
                raise asyncpg.InvalidRowCountInLimitClauseError("LIMIT must not be negative")
            if locks:
                found = locks.taken(found, r)
            return [one[0] for one in (found[start:] if most is None else found[start : start + most])]

        return Query(self._columns, rows)

    def _as_grouped(self, tree: Tree) -> Tree:
        """GROUP BY prefers the sources' columns to the names of the result."""
        if tree[0] == "column" and self._joined.scope.find(tree[1], tree[2]) is not None:
            return tree
        return self._by_output(tree)


class Locks:
    """FOR UPDATE: the rows of the tables that a result was made from."""

    def __init__(self, select: Select, joined: Joined) -> None:
        self._skips = select.locks == "skip"
        self._tables = [
            (source.what, number + 1)
            for number, source in enumerate(select.sources)
            if isinstance(source.what, str) and (not select.locks_of or source.alias in select.locks_of)
        ]

    def held(self, frame: Frame) -> list[tuple[str, Version]]:
        return [(table, frame[slot]) for table, slot in self._tables if isinstance(frame[slot], Version)]

    def taken(self, found: list[tuple[Any, ...]], run: Run) -> list[tuple[Any, ...]]:
        """Raises Waits, unless it skips what others hold."""
        kept = []
        for one in found:
            try:
                for table, row in one[3]:
                    run.store.tables[table].lock(row, run.tx)
            except Waits:
                if not self._skips:
                    raise
                continue
            kept.append(one)
        return kept


class Aggregate:
    """One call of an aggregate, over the frames of a group."""

    def __init__(self, tree: Tree, compiler: Compiler) -> None:
        _, self._name, arguments, self._distinct, order, condition = tree
        self._value = compiler.compile(arguments[0])
        self._by = compiler.compile(arguments[1]) if len(arguments) > 1 else None
        self._order = [(compiler.compile(one), falls, nulls) for one, falls, nulls in order]
        self._condition = compiler.compile(condition) if condition is not None else None

    def of(self, frames: Sequence[Frame], run: Run) -> Any:
        if self._condition is not None:
            frames = [frame for frame in frames if self._condition(frame, run) is True]
        pairs = [(self._value(frame, run), [key(frame, run) for key, _, _ in self._order]) for frame in frames]
        for number in range(len(self._order) - 1, -1, -1):
            _, falls, nulls_first = self._order[number]
            pairs.sort(key=sort_key(number, falls=falls, nulls_first=nulls_first), reverse=falls)
        values = [value for value, _ in pairs]
        if self._name == "array_agg":
            return (sorted(set(values), key=_nulls_last) if self._distinct else values) or None
        values = [value for value in values if value is not None]
        if self._distinct:
            values = sorted(set(values))
        if self._name == "count":
            return len(values)
        if not values:
            return None
        if self._name == "string_agg":
            assert self._by is not None
            return str(self._by(frames[0], run)).join(values)
        plain: dict[str, Callable[[list[Any]], Any]] = {
            "max": max, "min": min, "sum": sum, "bool_or": any, "bool_and": all,
        }  # fmt: skip
        return plain[self._name](values)


def _nulls_last(value: Any) -> Any:
    return value is None, 0 if value is None else value


def grouped(
    frames: Iterable[Frame], run: Run, group: Sequence[Value], aggregates: Sequence[Aggregate], empty: Frame
) -> Iterator[Frame]:
    """A frame for each group, with the values of the aggregates behind the first one's sources."""
    groups: dict[Any, list[Frame]] = {} if group else {(): []}
    for frame in frames:
        groups.setdefault(key_of([value(frame, run) for value in group]), []).append(list(frame))
    for members in groups.values():
        first = members[0] if members else empty
        yield [*first, *(aggregate.of(members, run) for aggregate in aggregates)]


def named(own: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The names that FROM gives, and for the rest those that there were."""
    return [*own, *columns[len(own) :]]


def name_of(tree: Tree) -> str:
    """What PostgreSQL calls a column of a result that has no name."""
    kind = tree[0]
    if kind == "column":
        return str(tree[2])
    if kind == "call":
        return str(tree[1])
    if kind in ("cast", "element", "slice"):
        return name_of(tree[1])
    return {"case": "case", "exists": "exists", "array": "array"}.get(kind, "?column?")


def _has_aggregate(tree: Any) -> bool:
    if not isinstance(tree, tuple):
        return False
    if len(tree) == 6 and tree[0] == "call" and tree[1] in AGGREGATES:
        return True
    return any(_has_aggregate(part) for part in tree)


def sort_key(number: int, *, falls: bool, nulls_first: bool) -> Callable[[Any], Any]:
    """A key for `sort`, which is reversed where the order falls."""
    null_rank = 0 if nulls_first != falls else 2

    def key(one: Any) -> Any:
        value = one[1][number]
        return (null_rank, 0) if value is None else (1, value)

    return key


def key_of(row: Iterable[Any]) -> Any:
    """A row as a key: lists in it as tuples."""
    return tuple(tuple(value) if isinstance(value, list) else value for value in row)


def unique(rows: Iterable[Any]) -> list[Any]:
    return firsts((key_of(row), row) for row in rows)


def firsts(pairs: Iterable[tuple[Any, Any]]) -> list[Any]:
    """The first value of each key."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return list(found.values())
