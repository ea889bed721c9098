"""The tables of the product, read from its migrations as PostgreSQL reads them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from homeserver.storage.migrate import known_migrations
from tests.simulation.twin.expression_parser import Tree
from tests.simulation.twin.statement_parser import Select, StatementParser


@dataclass(slots=True)
class Column:
    name: str
    type: str
    is_needed: bool = False
    default: Tree | None = None
    sequence: str | None = None  # GENERATED ALWAYS AS IDENTITY


@dataclass(slots=True)
class Unique:
    """A unique constraint or index. `where` is the condition of a partial one."""

    name: str
    columns: tuple[str, ...]
    where: Tree | None = None


@dataclass(slots=True)
class Reference:
    """A foreign key to the primary key of `table`."""

    columns: tuple[str, ...]
    table: str
    cascades: bool


@dataclass(slots=True)
class TableSchema:
    name: str
    columns: list[Column] = field(default_factory=list)
    uniques: list[Unique] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    checks: list[tuple[str, Tree]] = field(default_factory=list)
    # Tables whose rows go with a row of this one: the table, and its columns.
    referred: list[tuple[str, Reference]] = field(default_factory=list)

    def place(self, column: str) -> int:
        for place, one in enumerate(self.columns):
            if one.name == column:
                return place
        raise KeyError(f"{self.name}.{column}")


@dataclass(slots=True)
class Schema:
    tables: dict[str, TableSchema] = field(default_factory=dict)
    views: dict[str, Select] = field(default_factory=dict)
    sequences: list[str] = field(default_factory=list)
    # Statements of migrations that put rows into tables.
    rows: list[str] = field(default_factory=list)


class _SchemaParser(StatementParser):
    """Reads a whole migration into a schema."""

    def __init__(self, sql: str, schema: Schema) -> None:
        super().__init__(sql)
        self._schema = schema

    def read(self) -> None:
        while self.token.kind != "end":
            began = self._at
            if self.takes("create", "table"):
                self._table()
            elif self.takes("create", "sequence"):
                self._schema.sequences.append(self.name())
                self._skip()
            elif self.takes("create", "view"):
                name = self.name()
                self.want("as")
                self._schema.views[name] = self.select()
            elif self.takes("create", "unique", "index"):
                self._unique_index()
            elif self.takes("alter", "table"):
                self._alter()
            elif self.takes("drop", "table"):
                self._schema.tables.pop(self.name())
            elif self.sees("insert", "into", "audit_head"):
                self._schema.rows.append("INSERT INTO audit_head (entry_nid, hash) VALUES (0, zeros(32))")
                self._skip()
            else:
                self._skip()  # other indexes, triggers, and rows that come from rows that aren't there
            self.takes(";")
            assert self._at > began, self.fail()

    def _skip(self) -> None:
        while self.token.kind != "end" and not self.sees(";"):
            self.next()

    def _table(self) -> None:
        table = TableSchema(self.name())
        self._schema.tables[table.name] = table
        self.want("(")
        while True:
            if self.takes("primary", "key"):
                self._key(table, self.names(), f"{table.name}_pkey", is_primary=True)
            elif self.takes("unique"):
                names = self.names()
                self._key(table, names, "_".join([table.name, *names, "key"]))
            else:
                self._column(table)
            if not self.takes(","):
                break
        self.want(")")

    def _key(self, table: TableSchema, names: list[str], name: str, *, is_primary: bool = False) -> None:
        unique = Unique(name, tuple(names))
        if is_primary:
            table.uniques.insert(0, unique)
            for one in names:
                table.columns[table.place(one)].is_needed = True
        else:
            table.uniques.append(unique)

    def _column(self, table: TableSchema) -> None:
        column = Column(self.name(), self.type_name())
        table.columns.append(column)
        while True:
            if self.takes("not", "null"):
                column.is_needed = True
            elif self.takes("primary", "key"):
                self._key(table, [column.name], f"{table.name}_pkey", is_primary=True)
            elif self.takes("unique"):
                self._key(table, [column.name], f"{table.name}_{column.name}_key")
            elif self.takes("default"):
                column.default = self._joined()
            elif self.takes("generated", "always", "as", "identity"):
                column.sequence = f"{table.name}_{column.name}_seq"
                column.is_needed = True
                self._schema.sequences.append(column.sequence)
            elif self.takes("check", "("):
                table.checks.append((f"{table.name}_{column.name}_check", self.expression()))
                self.want(")")
            elif self.takes("references"):
                self._reference(table, (column.name,))
            else:
                return

    def _reference(self, table: TableSchema, columns: tuple[str, ...]) -> None:
        target = self.name()
        key = self._schema.tables[target].uniques[0].columns
        if len(columns) != 1 or key != (self._schema.tables[target].columns[0].name,):
            raise self.fail()  # the twin looks for one column in the first one
        reference = Reference(columns, target, self.takes("on", "delete", "cascade"))
        table.references.append(reference)
        self._schema.tables[target].referred.append((table.name, reference))

    def _unique_index(self) -> None:
        name = self.name()
        self.want("on")
        table = self._schema.tables[self.name()]
        unique = Unique(name, tuple(self.names()))
        if self.takes("where"):
            unique.where = self.expression()
        table.uniques.append(unique)

    def _alter(self) -> None:
        table = self._schema.tables[self.name()]
        while True:
            if self.takes("add", "column"):
                self._column(table)
            elif self.takes("add", "foreign", "key"):
                columns = tuple(self.names())
                self.want("references")
                self._reference(table, columns)
            elif self.takes("alter", "column"):
                column = table.columns[table.place(self.name())]
                self.want("set", "default")
                column.default = self._joined()
            else:
                raise self.fail()
            if not self.takes(","):
                return


@functools.cache
def schema() -> Schema:
    """What all migrations together make."""
    found = Schema()
    for migration in known_migrations():
        _SchemaParser(migration.sql, found).read()
    columns = (("number", "integer"), ("name", "text"), ("applied_at", "timestamptz"))
    found.tables["migrations"] = TableSchema("migrations", [Column(column, type) for column, type in columns])
    return found


def column_types(table: TableSchema) -> list[Any]:
    return [column.type for column in table.columns]
