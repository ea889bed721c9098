"""`hansa doctor`: every check, in the order in which one would look."""

from __future__ import annotations

from collections.abc import AsyncIterator

from homeserver.config import Config
from homeserver.core.errors import Unavailable
from homeserver.operator.bridges import bridge_findings
from homeserver.operator.database import connected, database_findings, own_database_exists
from homeserver.operator.machine import machine_findings
from homeserver.operator.network import network_findings
from homeserver.runtime.clock import Clock
from homeserver.runtime.findings import Finding, failed, skipped, well
from homeserver.runtime.probes import Probes
from homeserver.storage.migrate import WrongDatabase


async def examine(config: Config, probes: Probes, clock: Clock) -> AsyncIterator[Finding]:
    """Findings one by one, as they come."""
    yield well("configuration", "can be used")
    for finding in machine_findings(config, probes):
        yield finding
    for finding in await bridge_findings(config):
        yield finding
    for finding in await _database(config, clock):
        yield finding
    async for finding in network_findings(config, probes, clock):
        yield finding


async def _database(config: Config, clock: Clock) -> list[Finding]:
    if not own_database_exists(config, clock):
        return [skipped("database", "Hansa's own is made at the first start")]
    try:
        async with connected(config, clock) as db:
            return await database_findings(db, clock, config.database.pool_size_max)
    except WrongDatabase as error:
        return [failed("database", str(error), "look at the log that it names")]
    except Unavailable as error:
        hint = "start PostgreSQL, and check `database.dsn` (host, user, password, name)"
        return [failed("database", f"no connection: {error.__cause__ or error}", hint)]
