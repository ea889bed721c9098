"""`hansa doctor`: every check, in the order in which one would look."""

from __future__ import annotations

from collections.abc import AsyncIterator

from homeserver.config import Config
from homeserver.core.errors import Unavailable
from homeserver.operator.database import database_findings
from homeserver.operator.findings import Finding, failed, skipped, well
from homeserver.operator.machine import machine_findings
from homeserver.operator.network import network_findings
from homeserver.runtime.clock import Clock
from homeserver.runtime.probes import Probes
from homeserver.storage.database import Database


async def examine(config: Config, dsn: str | None, probes: Probes, clock: Clock) -> AsyncIterator[Finding]:
    """Findings one by one, as they come. `dsn` is None when Hansa's own database has not been started yet."""
    yield well("configuration", "can be used")
    for finding in machine_findings(config, probes):
        yield finding
    for finding in await _database(config, dsn, clock):
        yield finding
    async for finding in network_findings(config, probes, clock):
        yield finding


async def _database(config: Config, dsn: str | None, clock: Clock) -> list[Finding]:
    if dsn is None:
        return [skipped("database", "Hansa's own is made at the first start")]
    try:
        db = await Database.connect(dsn, size_min=1, size_max=1)
    except Unavailable as error:
        hint = "start PostgreSQL, and check `database.dsn` (host, user, password, name)"
        return [failed("database", f"no connection: {error.__cause__ or error}", hint)]
    try:
        return await database_findings(db, clock, config.database.pool_size_max)
    finally:
        await db.close()
