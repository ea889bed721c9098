"""Migrations: each once, also when one is interrupted; no program runs on a schema that is newer than itself."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from homeserver.core.errors import MatrixError
from homeserver.storage.database import Database
from homeserver.storage.migrate import WrongDatabase, applied_migrations, known_migrations, migrate
from tests.kit.postgres import PostgresForTests

NUMBERS = [migration.number for migration in known_migrations()]


async def connected(dsn: str) -> Database:
    return await Database.connect(dsn, size_min=1, size_max=3)


async def test_each_runs_once_whoever_starts(empty_database_dsn: str) -> None:
    """T-O17: three servers that start at once, and one that starts later."""
    db = await connected(empty_database_dsn)
    seen: list[tuple[int, int]] = []
    try:
        done = await asyncio.gather(*(migrate(db, lambda _, at, total: seen.append((at, total))) for _ in range(3)))
        assert sorted(migration.number for each in done for migration in each) == NUMBERS
        assert seen[-1][0] == seen[-1][1]
        assert await migrate(db) == []
        assert await applied_migrations(db) == NUMBERS
    finally:
        await db.close()


async def _columns(db: Database) -> set[tuple[str, str, str]]:
    """Of all tables, with their types."""
    found = await db.fetch(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
    )
    return {(row["table_name"], row["column_name"], row["data_type"]) for row in found}


@pytest.mark.parametrize("blocked", [NUMBERS[1], NUMBERS[-1]])
async def test_an_interrupted_one_leaves_nothing_half_done(
    empty_database_dsn: str, database: Database, blocked: int
) -> None:
    """T-O17: what failed is rolled back as a whole, and the next start goes on from there."""
    db = await connected(empty_database_dsn)
    try:
        await db.execute(
            "CREATE TABLE migrations (number integer PRIMARY KEY, name text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        await db.execute(f"ALTER TABLE migrations ADD CONSTRAINT fault CHECK (number < {blocked})")
        with pytest.raises(Exception, match="fault"):
            await migrate(db)
        assert await applied_migrations(db) == [number for number in NUMBERS if number < blocked]
        await db.execute("ALTER TABLE migrations DROP CONSTRAINT fault")
        assert [migration.number for migration in await migrate(db)] == [n for n in NUMBERS if n >= blocked]
        assert await _columns(db) == await _columns(database)
    finally:
        await db.close()


async def test_an_older_program_refuses_a_newer_schema(database: Database) -> None:
    """T-O17: a roll-back of the program doesn't write into what it doesn't know."""
    await database.execute("INSERT INTO migrations (number, name) VALUES (9999, 'of tomorrow')")
    with pytest.raises(WrongDatabase, match="9999"):
        await migrate(database)


async def test_a_long_migration_is_not_given_up(empty_database_dsn: str) -> None:
    """T-O17: the time-out of statements is for requests."""
    db = await Database.connect(empty_database_dsn, size_min=1, size_max=1, statement_timeout_s=0.2)
    try:
        async with db.unhurried() as tx:
            assert await tx.fetchval("SELECT pg_sleep(0.5) IS NULL") is False
        with pytest.raises(MatrixError):
            await db.fetchval("SELECT pg_sleep(0.5)")
    finally:
        await db.close()


async def test_an_order_that_changes_is_refused(postgres: PostgresForTests, empty_database_dsn: str) -> None:
    """T-O2: an update of the system's ICU or libc must break no index, also where `datcollate` says C."""
    async with postgres.made("ENCODING 'SQL_ASCII' LOCALE 'C'") as dsn:
        db = await connected(dsn)
        with pytest.raises(WrongDatabase, match="SQL_ASCII"):
            await migrate(db)
        await db.close()
    db = await connected(empty_database_dsn)
    try:
        await migrate(db)
        # As CREATE DATABASE writes it where PostgreSQL is built with ICU, which not every one is.
        await db.execute(
            "UPDATE pg_database SET datlocprovider = 'i', datlocale = 'en-US' WHERE datname = current_database()"
        )
        with pytest.raises(WrongDatabase, match="ICU en-US"):
            await migrate(db)
    finally:
        await db.close()


async def test_what_is_acknowledged_is_on_the_disk(database_dsn: str, database: Database) -> None:
    """T-O6: a cluster may be set up to lose what it has just said is committed (as this one is); for us it doesn't."""
    plain = await asyncpg.connect(database_dsn)
    assert await plain.fetchval("SHOW synchronous_commit") == "off"
    await plain.close()
    async with database.transaction() as tx:
        assert await tx.fetchval("SHOW synchronous_commit") == "on"
