"""The table `unreachable_servers`: who could not be reached, and when to try again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from homeserver.core.identifiers import ServerName
from homeserver.storage.database import Database, Reader

ROWS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Outage:
    """A server that fails, since when, and when it is tried again."""

    server_name: ServerName
    failing_since_ms: int
    retry_at_ms: int
    failures: int
    reason: str


_ALL = """
    SELECT server_name, failing_since_ms, retry_at_ms, failures, reason FROM unreachable_servers
    ORDER BY retry_at_ms DESC LIMIT $1
"""
_UPSERT = """
    INSERT INTO unreachable_servers (server_name, failing_since_ms, retry_at_ms, failures, reason)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::integer[], $5::text[])
    ON CONFLICT (server_name) DO UPDATE
    SET failing_since_ms = excluded.failing_since_ms, retry_at_ms = excluded.retry_at_ms,
        failures = excluded.failures, reason = excluded.reason
"""
_DELETE = "DELETE FROM unreachable_servers WHERE server_name = ANY($1::text[])"


async def all_outages(db: Reader) -> list[Outage]:
    return [Outage(*row) for row in await db.fetch(_ALL, ROWS_MAX)]


async def upsert(db: Database, outages: Collection[Outage]) -> None:
    await db.execute(
        _UPSERT,
        [outage.server_name for outage in outages],
        [outage.failing_since_ms for outage in outages],
        [outage.retry_at_ms for outage in outages],
        [outage.failures for outage in outages],
        [outage.reason for outage in outages],
    )


async def delete(db: Database, servers: Collection[ServerName]) -> None:
    await db.execute(_DELETE, list(servers))
