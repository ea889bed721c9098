"""The database as an operator sees it: reaching it, its migrations, and whether it keeps what we acknowledge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from homeserver.config import Config
from homeserver.runtime.clock import Clock
from homeserver.runtime.findings import Finding, failed, warning, well
from homeserver.runtime.progress import Progress, unseen
from homeserver.storage.database import Database, Reader
from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.storage.migrate import applied_migrations, known_migrations, wrong_order

_VERSION_MIN = 140_000
_SKEW_MS_MAX = 5_000

_SETTINGS = """
    SELECT current_setting('server_version_num')::int AS version,
           current_setting('server_version') AS version_text,
           current_setting('fsync') AS fsync,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('full_page_writes') AS full_page_writes,
           current_setting('data_checksums') AS data_checksums,
           current_setting('max_connections')::int AS max_connections,
           pg_database_size(current_database()) AS size_bytes,
           (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms
"""


@dataclass(frozen=True, slots=True)
class MigrationState:
    """One migration and whether this database has had it."""

    number: int
    name: str
    applied: bool


@asynccontextmanager
async def reachable_dsn(config: Config, clock: Clock, progress: Progress = unseen) -> AsyncIterator[str]:
    """How to reach the database: yours, or Hansa's own. That one is started for the while if it doesn't run."""
    if config.database.dsn is not None:
        yield config.database.dsn.reveal()
        return
    own = EmbeddedPostgres(config.database.embedded_path, clock, progress)
    running = own.running_dsn()
    if running is not None:
        yield running
        return
    dsn = await own.start()
    try:
        yield dsn
    finally:
        await own.stop()


@asynccontextmanager
async def connected(config: Config, clock: Clock, progress: Progress = unseen) -> AsyncIterator[Database]:
    """A few connections to it. Raises Unavailable or WrongDatabase."""
    async with reachable_dsn(config, clock, progress) as dsn:
        db = await Database.connect(dsn, size_min=1, size_max=2)
        try:
            yield db
        finally:
            await db.close()


def own_database_exists(config: Config, clock: Clock) -> bool:
    """False before the first start with Hansa's own database: there is nothing to look at yet."""
    return config.database.dsn is not None or EmbeddedPostgres(config.database.embedded_path, clock).exists


async def migration_states(db: Reader) -> list[MigrationState]:
    """Every migration this program knows, and those that only a newer program knows."""
    applied = set(await applied_migrations(db))
    known = known_migrations()
    states = [MigrationState(step.number, step.name, step.number in applied) for step in known]
    newer = sorted(applied - {step.number for step in known})
    return [*states, *(MigrationState(number, "of a newer program", True) for number in newer)]


async def database_findings(db: Reader, clock: Clock, pool_size_max: int) -> list[Finding]:
    """Version, encoding, durability, schema and clock. Raises Unavailable."""
    row = await db.fetchrow(_SETTINGS)
    assert row is not None
    settings = dict(row.items())
    findings = [*_server(settings, pool_size_max), *_order(await wrong_order(db)), *_durability(settings)]
    findings.append(_schema(await migration_states(db)))
    skew_ms = abs(clock.now_ms() - settings["now_ms"])
    if skew_ms > _SKEW_MS_MAX:
        hint = "switch on time synchronisation on both machines: `timedatectl set-ntp true`"
        findings.append(failed("clock", f"this machine and the database differ by {skew_ms / 1000:.0f} s", hint))
    return findings


def _server(settings: Mapping[str, object], pool_size_max: int) -> Iterator[Finding]:
    version = settings["version"]
    text = f"PostgreSQL {settings['version_text']}, {int(str(settings['size_bytes'])) // 1024 // 1024} MiB"
    if isinstance(version, int) and version < _VERSION_MIN:
        yield failed("database", text, f"use PostgreSQL {_VERSION_MIN // 10_000} or newer")
    else:
        yield well("database", text)
    connections = settings["max_connections"]
    if isinstance(connections, int) and connections < pool_size_max + 3:
        hint = "raise `max_connections` there, or lower `database.pool_size_max`"
        yield failed("connections", f"it takes {connections} connections, we may open {pool_size_max}", hint)


def _order(wrong: str | None) -> Iterator[Finding]:
    if wrong is not None:
        hint = "make it with: CREATE DATABASE hansa ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0"
        yield failed("collation", f"{wrong}: system updates break indexes", hint)


def _durability(settings: Mapping[str, object]) -> Iterator[Finding]:
    lossy = [name for name in ("fsync", "synchronous_commit", "full_page_writes") if settings[name] == "off"]
    if lossy:
        hint = f"switch on in postgresql.conf: {', '.join(lossy)}"
        yield failed("durability", f"{', '.join(lossy)} is off: a power failure loses what was acknowledged", hint)
    else:
        yield well("durability", "what is acknowledged survives a power failure")
    if settings["data_checksums"] == "off":
        hint = "stop PostgreSQL and type `pg_checksums --enable`"
        yield warning("checksums", "pages have no checksums: damage of the disk is found late", hint)


def _schema(states: list[MigrationState]) -> Finding:
    missing = [state.number for state in states if not state.applied]
    newer = [state.number for state in states if state.name == "of a newer program"]
    if newer:
        return failed("schema", f"the schema is at {newer[-1]}, newer than this program", "run the newer Hansa again")
    if missing:
        hint = "type `hansa db migrate`; the server does it at its next start as well"
        return warning("schema", f"{len(missing)} of {len(states)} migrations are missing", hint)
    return well("schema", f"at {states[-1].number if states else 0}, the newest")
