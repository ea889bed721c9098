"""Trees of expressions to functions of a frame and a run.

A frame is a list: the frame around it, then a row for each source. A run has the parameters and the transaction.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncpg

from tests.simulation.twin.casts import as_text, cast_to, in_range, parameter_of
from tests.simulation.twin.expression_parser import Tree
from tests.simulation.twin.lexing import NotUnderstood
from tests.simulation.twin.tables import Store, Transaction

Frame = list[Any]
NOW_MS = 1_800_000_000_000


@dataclass(slots=True)
class Run:
    """One execution of a statement."""

    params: Sequence[Any]
    store: Store
    tx: Transaction
    ctes: dict[str, list[Any]] = field(default_factory=dict)


Value = Callable[[Frame, Run], Any]


class Queries(Protocol):
    """What compiles a SELECT within an expression: its rows, as tuples."""

    def subquery(self, select: Any, scope: Scope) -> Callable[[Frame, Run], list[Any]]: ...


@dataclass(slots=True)
class Scope:
    """What names mean: for each source its alias, the names of its columns, and its place in the frame."""

    around: Scope | None = None
    sources: list[tuple[str, list[str], int]] = field(default_factory=list)
    # Places that were named since this was emptied last.
    used: set[int] = field(default_factory=set)
    ctes: dict[str, list[str]] = field(default_factory=dict)

    def find(self, table: str | None, name: str) -> tuple[int, int, int] | None:
        """How many frames out, which source, which column."""
        for alias, columns, slot in self.sources:
            if (table is None or table == alias) and name in columns:
                self.used.add(slot)
                return 0, slot, columns.index(name)
        if self.around is None:
            return None
        found = self.around.find(table, name)
        return (found[0] + 1, found[1], found[2]) if found is not None else None

    def cte(self, name: str) -> list[str] | None:
        if name in self.ctes:
            return self.ctes[name]
        return self.around.cte(name) if self.around is not None else None


class Compiler:
    """Compiles the expressions of one scope. Calls of aggregates have been replaced before by `("slot", place)`."""

    def __init__(self, scope: Scope, queries: Queries, sql: str) -> None:
        self.scope = scope
        self._queries = queries
        self._sql = sql

    def compile(self, tree: Tree) -> Value:
        made: Value = getattr(self, "_" + tree[0])(*tree[1:])
        return made

    def with_uses(self, tree: Tree) -> tuple[Value, set[int]]:
        """The same, and the places of this scope's sources that it reads."""
        before, self.scope.used = self.scope.used, set()
        made = self.compile(tree)
        uses, self.scope.used = self.scope.used, before
        before.update(uses)
        return made, uses

    # --- leaves

    def _value(self, value: Any) -> Value:
        return lambda e, r: value

    def _param(self, number: int) -> Value:
        return lambda e, r: r.params[number]

    def _slot(self, place: int) -> Value:
        return lambda e, r: e[place]

    def _column(self, table: str | None, name: str) -> Value:
        found = self.scope.find(table, name)
        if found is None:
            return self._whole_row(name) if table is None else self._unknown(name)
        out, slot, place = found
        if out == 0:
            return lambda e, r: None if (row := e[slot]) is None else row[place]
        if out == 1:
            return lambda e, r: None if (row := e[0][slot]) is None else row[place]

        def far(e: Frame, r: Run) -> Any:
            for _ in range(out):
                e = e[0]
            return None if e[slot] is None else e[slot][place]

        return far

    def _whole_row(self, name: str) -> Value:
        """A source of one column, named as a value."""
        scope: Scope | None = self.scope
        for alias, columns, slot in scope.sources if scope else ():
            if alias == name and len(columns) == 1:
                self.scope.used.add(slot)
                return lambda e, r: None if e[slot] is None else e[slot][0]
        return self._unknown(name)

    def _unknown(self, name: str) -> Value:
        raise NotUnderstood(f"no column {name} in: {self._sql}")

    # --- logic with three values

    def _and(self, a: Tree, b: Tree) -> Value:
        left, right = self.compile(a), self.compile(b)

        def both(e: Frame, r: Run) -> Any:
            one = left(e, r)
            if one is False:
                return False
            other = right(e, r)
            return False if other is False else (None if one is None or other is None else True)

        return both

    def _or(self, a: Tree, b: Tree) -> Value:
        left, right = self.compile(a), self.compile(b)

        def either(e: Frame, r: Run) -> Any:
            one = left(e, r)
            if one is True:
                return True
            other = right(e, r)
            return True if other is True else (None if one is None or other is None else False)

        return either

    def _not(self, a: Tree) -> Value:
        inner = self.compile(a)
        return lambda e, r: None if (value := inner(e, r)) is None else not value

    def _is_null(self, a: Tree) -> Value:
        inner = self.compile(a)
        return lambda e, r: inner(e, r) is None

    def _is_bool(self, a: Tree, wanted: bool) -> Value:
        inner = self.compile(a)
        return lambda e, r: inner(e, r) is wanted

    def _distinct_from(self, a: Tree, b: Tree) -> Value:
        left, right = self.compile(a), self.compile(b)
        return lambda e, r: left(e, r) != right(e, r)

    def _compare(self, sign: str, a: Tree, b: Tree) -> Value:
        left, right, holds = self.compile(a), self.compile(b), _sign(sign, a, b)

        def compared(e: Frame, r: Run) -> Any:
            one, other = left(e, r), right(e, r)
            return None if one is None or other is None else holds(one, other)

        return compared

    def _options(self, tree: Tree) -> Value:
        """The values of ANY and ALL, or None."""
        if tree[0] == "subquery":
            rows = self._queries.subquery(tree[1], self.scope)
            return lambda e, r: [row[0] if len(row) == 1 else tuple(row) for row in rows(e, r)]
        return self.compile(tree)

    def _any(self, sign: str, a: Tree, b: Tree) -> Value:
        left, options, holds = self.compile(a), self._options(b), SIGNS[sign]
        if a[0] == "row":
            return self._row_in(sign, left, options)

        def some(e: Frame, r: Run) -> Any:
            one, all_ = left(e, r), options(e, r)
            if all_ is None or (one is None and all_):
                return None
            if sign == "=" and one in all_:
                return True
            found = sign != "=" and any(option is not None and holds(one, option) for option in all_)
            return True if found else (None if None in all_ else False)

        return some

    def _row_in(self, sign: str, left: Value, options: Value) -> Value:
        if sign != "=":
            raise NotUnderstood(f"a row {sign} ANY in: {self._sql}")

        def some(e: Frame, r: Run) -> Any:
            one, all_ = left(e, r), options(e, r)
            if None not in one and one in all_:
                return True
            found = [_equal_rows(one, option) for option in all_]
            return True if True in found else (None if None in found else False)

        return some

    def _all(self, sign: str, a: Tree, b: Tree) -> Value:
        if a[0] == "row":
            raise NotUnderstood(f"a row {sign} ALL in: {self._sql}")
        left, options, holds = self.compile(a), self._options(b), SIGNS[sign]

        def every(e: Frame, r: Run) -> Any:
            one, all_ = left(e, r), options(e, r)
            if all_ is None or (one is None and all_):
                return None
            if any(option is not None and not holds(one, option) for option in all_):
                return False
            return None if None in all_ else True

        return every

    def _like(self, a: Tree, b: Tree) -> Value:
        left, right = self.compile(a), self.compile(b)

        def like(e: Frame, r: Run) -> Any:
            text, pattern = left(e, r), right(e, r)
            return None if text is None or pattern is None else bool(_pattern(pattern).fullmatch(text))

        return like

    def _exists(self, select: Any) -> Value:
        rows = self._queries.subquery(select, self.scope)
        return lambda e, r: bool(rows(e, r))

    def _scalar(self, select: Any) -> Value:
        rows = self._queries.subquery(select, self.scope)
        return lambda e, r: found[0] if (found := only(rows(e, r))) is not None else None

    def _array_of(self, select: Any) -> Value:
        rows = self._queries.subquery(select, self.scope)
        return lambda e, r: [row[0] for row in rows(e, r)]

    # --- values from values

    def _row(self, parts: Sequence[Tree]) -> Value:
        values = [self.compile(part) for part in parts]
        return lambda e, r: tuple(value(e, r) for value in values)

    def _array(self, parts: Sequence[Tree]) -> Value:
        values = [self.compile(part) for part in parts]
        return lambda e, r: [value(e, r) for value in values]

    def _negative(self, a: Tree) -> Value:
        inner = self.compile(a)
        return lambda e, r: None if (value := inner(e, r)) is None else -value

    def _arithmetic(self, sign: str, a: Tree, b: Tree) -> Value:
        left, right, work = self.compile(a), self.compile(b), ARITHMETIC[sign]

        def worked(e: Frame, r: Run) -> Any:
            one, other = left(e, r), right(e, r)
            if one is None or other is None:
                if isinstance(one, list) or isinstance(other, list):
                    raise NotUnderstood(f"an array and NULL, of which the type is unknown, in: {self._sql}")
                return None
            return in_range(work(one, other))

        return worked

    def _case(self, whens: Sequence[tuple[Tree, Tree]], otherwise: Tree) -> Value:
        made = [(self.compile(condition), self.compile(value)) for condition, value in whens]
        last = self.compile(otherwise)

        def chosen(e: Frame, r: Run) -> Any:
            for condition, value in made:
                if condition(e, r) is True:
                    return value(e, r)
            return last(e, r)

        return chosen

    def _element(self, a: Tree, b: Tree) -> Value:
        left, place = self.compile(a), self.compile(b)

        def element(e: Frame, r: Run) -> Any:
            values, number = left(e, r), place(e, r)
            return (
                values[number - 1] if values is not None and number is not None and 0 < number <= len(values) else None
            )

        return element

    def _slice(self, a: Tree, low: Tree | None, high: Tree | None) -> Value:
        left = self.compile(a)
        start = self.compile(low) if low is not None else lambda e, r: 1
        end = self.compile(high) if high is not None else lambda e, r: 2**31

        def part(e: Frame, r: Run) -> Any:
            values, first, last = left(e, r), start(e, r), end(e, r)
            if values is None or first is None or last is None:
                return None
            return values[max(first, 1) - 1 : max(last, 0)]

        return part

    def _cast(self, a: Tree, type: str) -> Value:
        inner = self.compile(a)
        try:
            convert = parameter_of(type) if a[0] == "param" else cast_to(type)
        except NotUnderstood as error:
            raise NotUnderstood(f"{error} in: {self._sql}") from None
        return lambda e, r: None if (value := inner(e, r)) is None else convert(value)

    def _call(
        self, name: str, arguments: Sequence[Tree], distinct: bool, order: Sequence[Tree], condition: Tree | None
    ) -> Value:
        values = [self.compile(argument) for argument in arguments]
        if name in WITH_RUN:
            act = WITH_RUN[name]
            return lambda e, r: act(r, *(value(e, r) for value in values))
        if name not in FUNCTIONS:
            raise NotUnderstood(f"no function {name} in: {self._sql}")
        function = FUNCTIONS[name]
        if name in TAKES_NULL:
            return lambda e, r: function(*(value(e, r) for value in values))

        def called(e: Frame, r: Run) -> Any:
            given = [value(e, r) for value in values]
            return None if None in given else function(*given)

        return called


@functools.cache
def _pattern(pattern: str) -> re.Pattern[str]:
    found, at = "", 0
    while at < len(pattern):
        one = pattern[at]
        if one == "\\" and at + 1 < len(pattern):
            at += 1
            found += re.escape(pattern[at])
        else:
            found += {"%": ".*", "_": "."}.get(one) or re.escape(one)
        at += 1
    return re.compile(found, re.DOTALL)


def only(rows: list[Any]) -> Any:
    """The row of a subquery that stands for a value. Raises as PostgreSQL where there are several."""
    if len(rows) > 1:
        raise asyncpg.CardinalityViolationError("more than one row returned by a subquery used as an expression")
    return rows[0] if rows else None


def _sign(sign: str, a: Tree, b: Tree) -> Callable[[Any, Any], Any]:
    if "row" not in (a[0], b[0]):
        return SIGNS[sign]
    if sign == "=":
        return _equal_rows
    if sign == "<>":
        return lambda one, other: None if (equal := _equal_rows(one, other)) is None else not equal
    return functools.partial(_ordered_rows, SIGNS[sign])


def _equal_rows(one: Any, other: Any) -> bool | None:
    pairs = list(zip(one, other, strict=True))
    if any(a is not None and b is not None and a != b for a, b in pairs):
        return False
    return None if any(a is None or b is None for a, b in pairs) else True


def _ordered_rows(holds: Callable[[Any, Any], bool], one: Any, other: Any) -> bool | None:
    """The first column in which they differ says it, unless a NULL comes before."""
    for a, b in zip(one, other, strict=True):
        if a is None or b is None:
            return None
        if a != b:
            return holds(a, b)
    return holds(0, 0)


def _divided(a: Any, b: Any) -> Any:
    if b == 0:
        raise asyncpg.DivisionByZeroError("division by zero")
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return a / b


def _joined(a: Any, b: Any) -> Any:
    if isinstance(a, list) or isinstance(b, list):
        return [*(a if isinstance(a, list) else [a]), *(b if isinstance(b, list) else [b])]
    return a + b if isinstance(a, bytes) else as_text(a) + as_text(b)


def _substring(text: Any, start: int, length: int | None = None) -> Any:
    if length is not None and length < 0:
        raise asyncpg.SubstringError("negative substring length not allowed")
    end = None if length is None else max(start + length - 1, 0)
    return text[max(start - 1, 0) : end]


def _split_part(text: str, by: str, number: int) -> str:
    if number == 0:
        raise asyncpg.InvalidParameterValueError("field position must not be zero")
    parts = text.split(by)
    return parts[number - 1 if number > 0 else number] if -len(parts) <= number <= len(parts) else ""


def _lower(text: str) -> str:
    """As collation C has it: no letters but those of ASCII."""
    return "".join(one.lower() if one.isascii() else one for one in text)


def _greatest(*values: Any) -> Any:
    return max((value for value in values if value is not None), default=None)


def _least(*values: Any) -> Any:
    return min((value for value in values if value is not None), default=None)


def _coalesce(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _take_advisory(run: Run, key: int) -> str:
    run.store.take_advisory(key, run.tx)
    return ""


SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
    "@>": lambda a, b: None not in b and set(b) <= set(a),
    "<@": lambda a, b: None not in a and set(a) <= set(b),
    "&&": lambda a, b: bool((set(a) & set(b)) - {None}),
}  # fmt: skip
ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": _divided, "||": _joined, "&": operator.and_,
    "|": operator.or_, "%": lambda a, b: a - b * _divided(a, b),
}  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "coalesce": _coalesce, "greatest": _greatest, "least": _least, "substring": _substring,
    "nullif": lambda a, b: None if a == b else a,
    "position": lambda part, text: text.find(part) + 1, "lower": _lower, "length": len,
    "octet_length": lambda value: len(value.encode() if isinstance(value, str) else value),
    "left": lambda text, count: text[:count], "abs": lambda value: in_range(abs(value)), "cardinality": len,
    "array_length": lambda values, deep: (len(values) or None) if deep == 1 else None, "split_part": _split_part,
    "starts_with": str.startswith, "pg_encoding_to_char": lambda value: value, "current_database": lambda: "twin",
    "to_regclass": lambda name: name, "extract": lambda field, value: value, "now": lambda: NOW_MS / 1000,
    "clock_timestamp": lambda: NOW_MS / 1000, "zeros": lambda count: b"\x00" * count,
}  # fmt: skip
TAKES_NULL = frozenset(["coalesce", "greatest", "least", "nullif"])
WITH_RUN: dict[str, Callable[..., Any]] = {
    "nextval": lambda run, name: run.store.next_of(name),
    "pg_advisory_xact_lock": _take_advisory,
}
AGGREGATES = frozenset(["count", "max", "min", "sum", "array_agg", "bool_or", "bool_and", "string_agg"])
