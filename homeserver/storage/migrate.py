"""Numbered migrations, forward only: one SQL file each, applied once, in order, each in a transaction of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources

from homeserver.runtime.progress import Progress, unseen
from homeserver.storage.database import Database, Reader

# Held while migrating, so that two processes that start at once don't both do it.
_LOCK = 0x48414E5341

_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

_CREATE = """
    CREATE TABLE IF NOT EXISTS migrations (
        number integer PRIMARY KEY,
        name text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""
_APPLIED = "SELECT number FROM migrations ORDER BY number"
_RECORD = "INSERT INTO migrations (number, name) VALUES ($1, $2)"
# ICU's order, and that of PostgreSQL itself, stand beside `datcollate`, in columns that older versions don't have.
_ENCODING = """
    SELECT pg_encoding_to_char(encoding) AS encoding,
           CASE to_jsonb(d) ->> 'datlocprovider'
               WHEN 'i' THEN 'ICU ' || coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', '')
               WHEN 'b' THEN to_jsonb(d) ->> 'datlocale'
               ELSE datcollate
           END AS collation
      FROM pg_database d
     WHERE datname = current_database()
"""
# Orders that no update of the system's libraries changes: one that does breaks every index of text.
_ORDERS = ("C", "C.UTF-8", "POSIX")


class WrongDatabase(Exception):
    """The database can't be used as it is: the text says why and what would be right."""


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str


def known_migrations() -> list[Migration]:
    """The migrations of this program, in order."""
    found = []
    for file in resources.files("homeserver.storage.migrations").iterdir():
        match = _NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text("utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def applied_migrations(db: Reader) -> list[int]:
    """The numbers of the migrations that this database has had."""
    if await db.fetchval("SELECT to_regclass('migrations')") is None:
        return []
    return [row["number"] for row in await db.fetch(_APPLIED)]


async def wrong_order(db: Reader) -> str | None:
    """Encoding and collation of the database, where these aren't UTF8 and an order that stays."""
    row = await db.fetchrow(_ENCODING)
    if row is None or (row["encoding"] == "UTF8" and row["collation"] in _ORDERS):
        return None
    return f"encoding {row['encoding']} and collation {row['collation']}"


async def migrate(db: Database, progress: Progress = unseen) -> list[Migration]:
    """Brings the schema up to date, and gives what was applied.

    Raises WrongDatabase for an encoding or collation other than UTF8 and C, and for a schema newer than this program.
    """
    wrong = await wrong_order(db)
    if wrong is not None:
        raise WrongDatabase(
            f"the database has {wrong}; "
            "make it with: CREATE DATABASE hansa ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0"
        )
    known = known_migrations()
    async with db.unhurried() as tx:
        await tx.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await tx.execute(_CREATE)
        missing = _missing(known, await applied_migrations(tx))
    done = []
    for number, migration in enumerate(missing):
        progress("bringing the schema up to date", number, len(missing))
        async with db.unhurried() as tx:
            await tx.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            if migration not in _missing(known, await applied_migrations(tx)):
                continue
            await tx.execute(migration.sql)
            await tx.execute(_RECORD, migration.number, migration.name)
            done.append(migration)
    progress("bringing the schema up to date", len(missing), len(missing))
    return done


def _missing(known: list[Migration], applied: list[int]) -> list[Migration]:
    """Raises WrongDatabase for a schema that a newer program made."""
    if applied and applied[-1] > known[-1].number:
        raise WrongDatabase(f"the schema is at {applied[-1]}, this program knows {known[-1].number}: run a newer one")
    return [migration for migration in known if migration.number not in applied]
