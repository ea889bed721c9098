"""The twin gives what PostgreSQL gives, statement by statement, or says that it has no meaning for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import asyncpg
import pytest

from tests.kit.postgres import PostgresForTests
from tests.simulation.stages import TwinStage
from tests.simulation.twin import memory
from tests.simulation.twin.changes import compiled, fresh_store
from tests.simulation.twin.lexing import NotUnderstood, tokens_of
from tests.simulation.twin.statement_parser import parsed
from tests.simulation.twin_database import TwinConnection
from tests.simulation.worlds import short

Statement = tuple[str, Sequence[Any]]

TEXTS = ["a", "B", None, "é", "z", "Z", "\U0001f600", "\uffff", "", "_", "~", "0"]
ROWS = "(VALUES ($1::bigint, $2::text), ($3::bigint, $4::text), ($5::bigint, $6::text)) AS v (n, t)"
GIVEN = [1, "a", None, "B", 2, None]
NUMBERS = "unnest($1::bigint[]) AS a (n)"
OTHERS = "unnest($2::bigint[]) AS b (n)"
GENERATION = "INSERT INTO search_generations (engine, generation, state, changed_ms) VALUES ('e', $1, $2, 0)"
NEXT = f"{GENERATION} ON CONFLICT (engine) WHERE state IN ('wanted', 'building')"
CASE = "INSERT INTO cases (kind, entity, because, opened_ts, changed_ts) VALUES ('user', $1, 'report', 1, 1)"
OPEN = f"{CASE} ON CONFLICT (entity, kind) WHERE is_open"
THUMBNAIL = "INSERT INTO media_thumbnails (digest, name) VALUES ($1, 'x')"

# What both do: by name, statements that follow one another, with their parameters.
SAME: dict[str, list[Statement]] = {
    "distinct from": [
        (f"SELECT n IS DISTINCT FROM 1, t IS NOT DISTINCT FROM NULL FROM {ROWS}", GIVEN),
        ("SELECT NULL::text[] IS DISTINCT FROM NULL, ARRAY[1, NULL] IS DISTINCT FROM ARRAY[1, NULL]", []),
    ],
    "casts": [
        ("SELECT '12'::bigint, true::int, 3::text, true::text, 'true'::boolean, 7::boolean, 0::boolean", []),
        ("SELECT 'x'::bigint", []),
        ("SELECT 'x'::boolean", []),
        ("SELECT 2147483648::integer", []),
        ("SELECT 40000::smallint", []),
        ("SELECT 'abc'::bytea, '\\x0102'::bytea", []),
        ("SELECT $1::text::bytea", ["é"]),
        ("SELECT ARRAY[1, 2]::text[], ARRAY['1', '2', NULL]::bigint[], ARRAY[]::text[], '{}'::bigint[]", []),
        ("SELECT ARRAY['x']::bigint[]", []),
        ("SELECT '{'::json", []),
    ],
    "parameters": [
        *(
            (f"SELECT $1::{kind}", [value])
            for kind, value in [
                ("bigint", "x"), ("bigint", True), ("int", 2**40), ("text", 1), ("boolean", 1), ("bytea", "x"),
                ("text[]", [1]), ("bigint[]", [None, 1]), ("bigint[]", ["1"]), ("text[]", "ab"), ("text", None),
            ]
        ),
    ],
    "order of text": [
        ("SELECT t FROM unnest($1::text[]) AS u (t) ORDER BY t", [TEXTS]),
        ("SELECT t FROM unnest($1::text[]) AS u (t) ORDER BY t DESC", [TEXTS]),
        ("SELECT max(t), min(t) FROM unnest($1::text[]) AS u (t)", [TEXTS]),
        ("SELECT $1::text COLLATE \"C\" < 'b', lower($1::text)", ["ÀÉA"]),
    ],
    "subquery as a value": [
        *((f"SELECT (SELECT n FROM {NUMBERS})", [numbers]) for numbers in ([], [1], [1, 2])),
        ("UPDATE search_generations SET (state, upto) = (SELECT 'old', n FROM unnest($1::bigint[]) AS a (n))", [[1]]),
    ],
    "places in arrays": [
        *(
            ("SELECT ($1::bigint[])[$2::int:$3::int]", [[1, 2, 3], low, high])
            for low in (-2, 0, 1, 3, 5, None)
            for high in (-1, 0, 2, 9, None)
        ),
        *(("SELECT ($1::bigint[])[$2::int]", [[1, 2, 3], place]) for place in (-1, 0, 1, 3, 4, None)),
        ("SELECT array_length($1::bigint[], 1), cardinality($1::bigint[]), array_length($1::bigint[], 2)", [[]]),
        ("SELECT array_length($1::bigint[], 1), array_length($1::bigint[], 2)", [[1, None]]),
    ],
    "arrays": [
        *((f"SELECT $1::bigint[] {sign} $2::bigint[]", [[1, None], [None]]) for sign in ("@>", "&&", "<@")),
        ("SELECT 1 = ANY(ARRAY[NULL, 1]), 1 = ANY(ARRAY[NULL, 2]), 1 <> ALL(ARRAY[NULL, 2]), 1 = ANY(NULL::int[])", []),
        ("SELECT NULL = ANY($1::bigint[]), NULL <> ALL($1::bigint[]), 1 = ANY($1::bigint[])", [[]]),
        ("SELECT a, b FROM unnest($1::bigint[], $2::text[]) AS u (a, b)", [[1, 2, 3], ["x"]]),
        ("SELECT array_agg(DISTINCT n), count(DISTINCT n) FROM unnest($1::bigint[]) AS u (n)", [[3, 1, 3, None, 2]]),
        ("SELECT g FROM generate_series(1, 3) AS g", []),
    ],
    "rows with NULLs": [
        ("SELECT (1, NULL) = (1, NULL), (1, 2) = (1, 3), (1, NULL) <> (2, NULL)", []),
        ("SELECT (1, NULL) < (2, NULL), (1, NULL) < (1, 3), (1, 2) < (1, 3), (1, 2) >= (1, 2)", []),
        ("SELECT (1, NULL::int) IN (SELECT 1, 2), (1, 2) IN (SELECT 1, 2), (1, 2) IN (SELECT 1, NULL::int)", []),
        (f"SELECT (n, t) IN (SELECT 1::bigint, 'a'), (n, t) > (1, 'a') FROM {ROWS}", GIVEN),
    ],
    "three values": [
        ("SELECT NULL AND false, NULL OR true, NOT NULL::boolean, NULL IS TRUE, NULL IS NOT FALSE", []),
        ("SELECT 1 NOT IN (2, NULL), 1 IN (1, NULL), 1 BETWEEN 0 AND NULL, 5 BETWEEN 0 AND NULL", []),
        ("SELECT coalesce(NULL, 2), greatest(NULL, 1, 3), least(NULL, 1), nullif(1, 1), nullif(1, NULL)", []),
        (f"SELECT CASE WHEN NULL THEN 1 WHEN true THEN 2 END, CASE n WHEN 1 THEN 'one' END FROM {ROWS}", GIVEN),
    ],
    "text": [
        *(
            ("SELECT substring($1::text, $2::int, $3::int)", ["abc", at, many])
            for at in (-2, 1, 5)
            for many in (-1, 0, 9)
        ),
        *(("SELECT split_part($1::text, ':', $2::int)", ["a:b", number]) for number in (-3, -1, 0, 1, 2, 3, 4)),
        *(("SELECT left($1::text, $2::int)", ["abc", count]) for count in (-5, -1, 0, 2, 5)),
        ("SELECT octet_length($1::text), length($1::text), octet_length($2::bytea)", ["é", b"ab"]),
        ("SELECT 'a' || 1, 'a' || true, 'a' || NULL, position('' in $1::text)", ["abc"]),
        ("SELECT $1::text LIKE $2::text, $1::text NOT LIKE $2::text", ["a%b", "a\\%b"]),
    ],
    "numbers": [
        *(("SELECT $1::bigint / $2::bigint, $1::bigint % $2::bigint", [a, b]) for a in (7, -7) for b in (2, -2)),
        ("SELECT 1 / $1::bigint", [0]),
        ("SELECT $1::bigint % 0", [1]),
        ("SELECT 9223372036854775807 + $1::bigint", [1]),
        ("SELECT abs($1::bigint)", [-(2**63)]),
    ],
    "order and limits": [
        (f"SELECT n, t FROM {ROWS} ORDER BY n, t", GIVEN),
        (f"SELECT n, t FROM {ROWS} ORDER BY n DESC NULLS LAST, t NULLS FIRST", GIVEN),
        (f"SELECT DISTINCT ON (n) n, t FROM {ROWS} ORDER BY n, t", [1, "a", 1, "B", None, None]),
        *((f"SELECT n FROM {ROWS} ORDER BY n LIMIT {limit}", GIVEN) for limit in ("-1", "0", "NULL", "1 OFFSET -1")),
    ],
    "joins and unions": [
        (f"SELECT a.n, b.n FROM {NUMBERS} LEFT JOIN {OTHERS} ON a.n = b.n ORDER BY 1", [[1, 2, None], [2, None]]),
        (f"SELECT n FROM {NUMBERS} UNION SELECT n FROM {OTHERS} ORDER BY n", [[1, 2, None], [2, None]]),
        (f"SELECT n FROM {NUMBERS} UNION ALL SELECT n FROM {OTHERS} ORDER BY n", [[1, None], [1]]),
        ("WITH RECURSIVE r (n) AS (SELECT 1 UNION SELECT n + 1 FROM r WHERE n < 4) SELECT n FROM r", []),
    ],
    "aggregates": [
        (f"SELECT count(*), sum(n)::bigint, min(t), bool_or(n > 1), array_agg(n ORDER BY n) FROM {ROWS}", GIVEN),
        (f"SELECT count(*), sum(n)::bigint, max(t), bool_and(n > 1), array_agg(n) FROM {ROWS} WHERE false", GIVEN),
        (f"SELECT string_agg(t, ',' ORDER BY t DESC) FILTER (WHERE t <> 'a') FROM {ROWS}", [1, "b", 1, "a", 1, "c"]),
        (f"SELECT n, count(*) FROM {ROWS} GROUP BY n HAVING count(*) > 1", [1, "a", 1, "B", None, None]),
    ],
    "a conflict with a partial index": [
        (f"{OPEN} DO UPDATE SET changed_ts = cases.changed_ts + 1 RETURNING changed_ts", ["@a:x"]),
        (f"{OPEN} DO UPDATE SET changed_ts = cases.changed_ts + 1 RETURNING changed_ts", ["@a:x"]),
        ("UPDATE cases SET is_open = false", []),
        (f"{OPEN} DO NOTHING RETURNING changed_ts", ["@a:x"]),
        (CASE, ["@a:x"]),
    ],
    "a conflict with another index than the one named": [
        (GENERATION, [1, "wanted"]),
        (f"{NEXT} DO NOTHING", [2, "building"]),
        (f"{NEXT} DO NOTHING", [1, "wanted"]),
        (f"{NEXT} DO NOTHING", [1, "live"]),
        (f"{GENERATION} ON CONFLICT (generation, engine) DO NOTHING", [1, "wanted"]),
        (f"{GENERATION} ON CONFLICT (generation, engine) DO NOTHING", [3, "wanted"]),
        (f"{GENERATION} ON CONFLICT DO NOTHING", [3, "wanted"]),
        ("SELECT generation, state FROM search_generations ORDER BY generation", []),
    ],
    "foreign keys and checks": [
        (THUMBNAIL, ["none"]),
        ("INSERT INTO media_files (digest, object, size_bytes) VALUES ('d', 'o', 1)", []),
        (THUMBNAIL, ["d"]),
        (THUMBNAIL, ["d"]),
        (THUMBNAIL, [None]),
        ("DELETE FROM media_files", []),
        ("SELECT count(*) FROM media_thumbnails", []),
        (GENERATION, [1, "unknown"]),
        (GENERATION, [2**31 - 1, "old"]),
    ],
}  # fmt: skip

# What the twin has no meaning for: it may not answer.
REFUSED: dict[str, Statement] = {
    "a window function": (f"SELECT row_number() OVER (ORDER BY n) FROM {ROWS}", GIVEN),
    "a window function with a name": (f"SELECT count(*) OVER () AS place FROM {ROWS}", GIVEN),
    "an unknown type": ("SELECT '1 day'::interval", []),
    "an unknown list": ("SELECT $1::date[]", [[]]),
    "an array as text": ("SELECT '{1,2}'::bigint[]", []),
    "another collation": ('SELECT $1::text COLLATE "en_US"', ["a"]),
    "an average": (f"SELECT avg(n) FROM {ROWS}", GIVEN),
    "an array beside NULL": ("SELECT ARRAY[1] || NULL::int[]", []),
    "an intersection": ("SELECT 1 INTERSECT SELECT 1", []),
    "a full join": (f"SELECT 1 FROM {NUMBERS} FULL JOIN unnest($1::bigint[]) AS b (n) USING (n)", [[1]]),
    "no such constraint": (f"{GENERATION} ON CONFLICT (state) DO NOTHING", [1, "old"]),
    "no such condition": (f"{GENERATION} ON CONFLICT (engine) WHERE state = 'old' DO NOTHING", [1, "old"]),
    "no condition": (f"{GENERATION} ON CONFLICT (engine) DO NOTHING", [1, "old"]),
}  # fmt: skip


def _with_types(value: Any) -> Any:
    """True is not 1."""
    if isinstance(value, (list, tuple)):
        return [_with_types(one) for one in value]
    return type(value).__name__, value


async def _on_postgres(connection: Any, sql: str, args: Sequence[Any]) -> Any:
    try:
        async with connection.transaction():
            return [_with_types(tuple(row.values())) for row in await connection.fetch(sql, *args)]
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return type(error)


def _on_twin(connection: TwinConnection, sql: str, args: Sequence[Any]) -> Any:
    try:
        return [_with_types(tuple(row)) for row in connection.fetch(sql, *args)()]
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return type(error)


@pytest.mark.slow
async def test_each_statement_gives_what_postgresql_gives(postgres: PostgresForTests) -> None:
    """Rows, or the class of the error."""
    wrong = []
    async with postgres.fresh() as dsn:
        real = await asyncpg.connect(dsn)
        try:
            for name, statements in SAME.items():
                twin = TwinConnection(fresh_store())
                for sql, args in statements:
                    wanted = await _on_postgres(real, sql, args)
                    got = _on_twin(twin, sql, args)
                    if got != wanted:
                        wrong.append(f"{name}: {sql} {args}\n  PostgreSQL: {wanted}\n  the twin: {got}")
        finally:
            await real.close()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_has_no_meaning_for_it_refuses(name: str) -> None:
    """And it is remembered, for whoever tries again after any error would hide it."""
    store = fresh_store()
    sql, args = REFUSED[name]
    with pytest.raises(NotUnderstood):
        memory.MemoryConnection(store).done(sql, args)
    assert sql in store.failures[0]


@pytest.mark.slow
def test_no_clause_of_what_we_send_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each parameter, text and number of the statements of some worlds is in what the twin makes of them."""
    sent: dict[str, None] = {}

    def recorded(sql: str) -> Any:
        sent[sql] = None
        return compiled(sql)

    monkeypatch.setattr(memory, "compiled", recorded)
    for seed in (1_000, 1_001, 1_002, 1_005):
        assert TwinStage().play(short(seed)).problem is None
    assert len(sent) > 100
    for sql in sent:
        tree = set(_leaves(parsed(sql)))
        for token in tokens_of(sql):
            if token.kind in ("param", "number", "string"):
                assert (token.kind, token.text) in tree, f"{token.text} is dropped from: {sql}"


def _leaves(tree: Any) -> Iterator[tuple[str, str]]:
    if dataclasses.is_dataclass(tree):
        for part in dataclasses.fields(tree):
            yield from _leaves(getattr(tree, part.name))
    elif isinstance(tree, tuple) and len(tree) == 2 and tree[0] == "param":
        yield "param", f"${tree[1] + 1}"
    elif isinstance(tree, tuple) and len(tree) == 2 and tree[0] == "value":
        yield ("string" if isinstance(tree[1], str) else "number"), str(tree[1])
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            yield from _leaves(part)
