"""What a query means, and how the index is asked for it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from search.hot.elastic_queries import query as as_elasticsearch
from search.query import parse, rooms_in
from search.tiers import All, AnyOf, Not, Query


@dataclass(frozen=True, slots=True)
class Explained:
    """`tree` has a line for each part, indented; `asked` is the query as Elasticsearch gets it, without the scope."""

    tree: Sequence[str]
    highlights: Sequence[str]
    asked: Mapping[str, Any]


def explain(term: str, *, me: str) -> Explained | None:
    """None where there is nothing to look for. Raises QueryError. Rooms stand as they were typed."""
    named = {name: frozenset({name}) for name in rooms_in(term)}
    parsed = parse(term, me=me, rooms=named)
    if parsed is None:
        return None
    return Explained(list(_lines(parsed.query, 0)), list(parsed.words), as_elasticsearch(parsed.query))


def _lines(query: Query, depth: int) -> Iterator[str]:
    indent = "  " * depth
    match query:
        case All(parts):
            yield f"{indent}all of"
            for part in parts:
                yield from _lines(part, depth + 1)
        case AnyOf(parts):
            yield f"{indent}any of"
            for part in parts:
                yield from _lines(part, depth + 1)
        case Not(part):
            yield f"{indent}not"
            yield from _lines(part, depth + 1)
        case _:
            values = (getattr(query, field.name) for field in fields(query))
            yield " ".join([indent + type(query).__name__.lower(), *(_shown(value) for value in values)])


def _shown(value: object) -> str:
    if isinstance(value, frozenset | tuple):
        return " ".join(str(one) for one in (sorted(value) if isinstance(value, frozenset) else value))
    return "-" if value is None else str(value)
