"""SQL's statements as trees: what the expressions of `expression_parser` stand in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.simulation.twin.expression_parser import ENDS, ExpressionParser, Tree
from tests.simulation.twin.lexing import NotUnderstood


@dataclass(slots=True)
class Source:
    """One of FROM. `what`: a table's name, a Select, or the tree of a call. `how`: inner, left."""

    what: Any
    alias: str
    columns: list[str]
    how: str = "inner"
    on: Tree | None = None
    using: tuple[str, ...] = ()


@dataclass(slots=True)
class Select:
    items: list[tuple[Tree, str | None]]
    sources: list[Source]
    where: Tree | None = None
    group: tuple[Tree, ...] = ()
    having: Tree | None = None
    distinct: tuple[Tree, ...] | bool = False
    order: tuple[Tree, ...] = ()
    limit: Tree | None = None
    offset: Tree | None = None
    locks: str | None = None  # "wait" or "skip"
    locks_of: list[str] = field(default_factory=list)  # no names: all
    ctes: tuple[Cte, ...] = ()
    # A union's second half, and whether what is twice stays twice.
    other: Select | None = None
    keeps_all: bool = False
    rows: list[tuple[Tree, ...]] | None = None  # VALUES


@dataclass(slots=True)
class Cte:
    name: str
    columns: list[str]
    what: Any
    is_recursive: bool


@dataclass(slots=True)
class Insert:
    table: str
    columns: list[str]
    rows: Select
    conflict: tuple[str, ...] | None = None  # the columns; () stands for any
    conflict_where: Tree | None = None  # the condition of the partial index that is meant
    sets: list[tuple[tuple[str, ...], Tree]] | None = None
    where: Tree | None = None
    returning: list[tuple[Tree, str | None]] | None = None
    ctes: tuple[Cte, ...] = ()
    alias: str = ""


@dataclass(slots=True)
class Update:
    table: str
    alias: str
    sets: list[tuple[tuple[str, ...], Tree]]
    sources: list[Source]
    where: Tree | None
    returning: list[tuple[Tree, str | None]] | None
    ctes: tuple[Cte, ...] = ()


@dataclass(slots=True)
class Delete:
    table: str
    alias: str
    sources: list[Source]
    where: Tree | None
    returning: list[tuple[Tree, str | None]] | None
    ctes: tuple[Cte, ...] = ()


Statement = Select | Insert | Update | Delete


class StatementParser(ExpressionParser):
    def statement(self) -> Statement:
        found = self._statement()
        self.takes(";")
        if self.token.kind != "end":
            raise self.fail()
        return found

    def _statement(self) -> Statement:
        ctes = self._ctes()
        if self.takes("insert", "into"):
            found: Statement = self._insert()
        elif self.takes("update"):
            found = self._update()
        elif self.takes("delete", "from"):
            found = self._delete()
        else:
            found = self._whole_select()
        found.ctes = ctes
        return found

    def select(self) -> Select:
        found = self._statement()
        if not isinstance(found, Select):
            raise self.fail()
        return found

    def _ctes(self) -> tuple[Cte, ...]:
        if not self.takes("with"):
            return ()
        is_recursive = self.takes("recursive")
        found = []
        while True:
            name = self.name()
            columns = self.names() if self.sees("(") else []
            self.want("as")
            self.takes("materialized") or self.takes("not", "materialized")
            self.want("(")
            found.append(Cte(name, columns, self._statement(), is_recursive))
            self.want(")")
            if not self.takes(","):
                return tuple(found)

    # --- SELECT

    def _whole_select(self) -> Select:
        found = self._one_select()
        last = found
        while self.takes("union"):
            last.keeps_all = self.takes("all")
            last.other = self._one_select()
            last = last.other
        if found.other is not None:
            outer = Select(items=[(("star", None), None)], sources=[Source(found, "", [])])
            found, outer = outer, found
        if self.takes("order", "by"):
            found.order = self.ordering()
        self._limits(found)
        if self.takes("for"):
            # A share of the key waits for deletions alone, and no world deletes what is locked so.
            is_key_share = not self.takes("no", "key") and self.takes("key", "share")
            if not (is_key_share or self.takes("update") or self.takes("share")):
                raise self.fail()
            while self.takes("of") or (found.locks_of and self.takes(",")):
                found.locks_of.append(self.name())
            waits = "skip" if self.takes("skip", "locked") else "wait"
            found.locks = None if is_key_share else waits
        return found

    def _limits(self, found: Select) -> None:
        while True:
            if self.takes("limit"):
                found.limit = self.expression()
            elif self.takes("offset"):
                found.offset = self.expression()
            else:
                return

    def _one_select(self) -> Select:
        if self.takes("("):
            inner = self.select()
            self.want(")")
            return inner
        if self.takes("values"):
            rows = []
            while True:
                self.want("(")
                row = [self._value()]
                while self.takes(","):
                    row.append(self._value())
                self.want(")")
                rows.append(tuple(row))
                if not self.takes(","):
                    return Select([], [], rows=rows)
        self.want("select")
        found = Select([], [])
        if self.takes("distinct"):
            found.distinct = self._on() if self.takes("on") else True
        if not self._is_at_end_of_items():
            found.items = self._items()
        if self.takes("from"):
            found.sources = self._sources()
        if self.takes("where"):
            found.where = self.expression()
        if self.takes("group", "by"):
            found.group = self._list()
        if self.takes("having"):
            found.having = self.expression()
        return found

    def _value(self) -> Tree:
        return ("default",) if self.takes("default") else self.expression()

    def _on(self) -> tuple[Tree, ...]:
        self.want("(")
        found = self._list()
        self.want(")")
        return found

    def _list(self) -> tuple[Tree, ...]:
        found = [self.expression()]
        while self.takes(","):
            found.append(self.expression())
        return tuple(found)

    def _is_at_end_of_items(self) -> bool:
        return self.sees("from") or self.sees(")") or self.sees("where") or self.token.kind == "end"

    def _items(self) -> list[tuple[Tree, str | None]]:
        found: list[tuple[Tree, str | None]] = []
        while True:
            if self.takes("*"):
                found.append((("star", None), None))
            else:
                expression = self.expression()
                alias = None
                if self.takes("as") or (self.token.kind == "word" and not self._is_keyword()):
                    alias = self.name()
                found.append((expression, alias))
            if not self.takes(","):
                return found

    def _is_keyword(self) -> bool:
        return self.token.text in ENDS

    def _sources(self) -> list[Source]:
        found = [self._source()]
        while True:
            if self.takes(","):
                found.append(self._source())
                continue
            how = "inner"
            if self.takes("cross", "join"):
                found.append(self._source())
                continue
            if self.takes("left"):
                self.takes("outer")
                how = "left"
                self.want("join")
            elif not (self.takes("join") or self.takes("inner", "join")):
                return found
            source = self._source()
            source.how = how
            if self.takes("using"):
                source.using = tuple(self.names())
            else:
                self.want("on")
                source.on = self.expression()
            found.append(source)

    def _source(self) -> Source:
        self.takes("lateral")
        if self.takes("("):
            what: Any = self.select()
            self.want(")")
            alias = ""
        else:
            alias = self.name()
            what = alias
            if self.takes("("):
                what = self._call(alias)
        columns: list[str] = []
        if self.takes("as") or (self.token.kind == "word" and not self._is_keyword()):
            alias = self.name()
            if self.sees("("):
                columns = self.names()
        return Source(what, alias, columns)

    # --- what writes

    def _alias(self, table: str) -> str:
        if self.takes("as") or (self.token.kind == "word" and not self._is_keyword()):
            return self.name()
        return table

    def _insert(self) -> Insert:
        table = self.name()
        alias = self.name() if self.takes("as") else table
        columns = self.names() if self.sees("(") and not self.sees("(", "select") else []
        if self.takes("overriding"):
            raise self.fail()
        found = Insert(table, columns, self.select(), alias=alias)
        if self.takes("on", "conflict"):
            found.conflict = tuple(self.names()) if self.sees("(") else ()
            if self.takes("where"):
                found.conflict_where = self.expression()
            self.want("do")
            if self.takes("update", "set"):
                found.sets = self._sets()
                if self.takes("where"):
                    found.where = self.expression()
            else:
                self.want("nothing")
        found.returning = self._items() if self.takes("returning") else None
        return found

    def _sets(self) -> list[tuple[tuple[str, ...], Tree]]:
        found: list[tuple[tuple[str, ...], Tree]] = []
        while True:
            names = tuple(self.names()) if self.sees("(") else (self.name(),)
            self.want("=")
            found.append((names, self._value()))
            if not self.takes(","):
                return found

    def _update(self) -> Update:
        table = self.name()
        alias = self._alias(table)
        self.want("set")
        sets = self._sets()
        sources = self._sources() if self.takes("from") else []
        where = self.expression() if self.takes("where") else None
        return Update(table, alias, sets, sources, where, self._items() if self.takes("returning") else None)

    def _delete(self) -> Delete:
        table = self.name()
        alias = self._alias(table)
        sources = self._sources() if self.takes("using") else []
        where = self.expression() if self.takes("where") else None
        return Delete(table, alias, sources, where, self._items() if self.takes("returning") else None)


def parsed(sql: str) -> Statement:
    """Raises NotUnderstood."""
    return StatementParser(sql).statement()


__all__ = ["Cte", "Delete", "Insert", "NotUnderstood", "Select", "Source", "Statement", "Update", "parsed"]
