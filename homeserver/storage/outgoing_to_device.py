"""The table `outgoing_to_device`: messages to devices on other servers that wait for their server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import ServerName
from homeserver.storage.database import Database, Reader, Tx


@dataclass(frozen=True, slots=True)
class Outgoing:
    server_name: ServerName
    content: bytes


_INSERT = """
    INSERT INTO outgoing_to_device (server_name, position, number, content)
    SELECT new.server_name, $3, (new.number - 1)::integer, new.content
    FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS new(server_name, content, number)
"""
_PENDING = """
    SELECT position, number, content FROM outgoing_to_device WHERE server_name = $1
    ORDER BY position, number LIMIT $2
"""
_DELETE = "DELETE FROM outgoing_to_device WHERE server_name = $1 AND (position, number) <= ($2, $3)"
_SERVERS = "SELECT DISTINCT server_name FROM outgoing_to_device"
_TRIM = """
    DELETE FROM outgoing_to_device AS o USING (
        SELECT server_name, position, number,
            row_number() OVER (PARTITION BY server_name ORDER BY position DESC, number DESC) AS place
        FROM outgoing_to_device
    ) AS queued
    WHERE (o.server_name, o.position, o.number) = (queued.server_name, queued.position, queued.number)
        AND queued.place > $1
"""


async def insert(tx: Tx, messages: Sequence[Outgoing], position: int) -> None:
    """All of one request, in one statement."""
    await tx.execute(_INSERT, [m.server_name for m in messages], [m.content for m in messages], position)


async def pending(db: Reader, server: ServerName, limit: int) -> list[tuple[int, int, bytes]]:
    """(position, number, content), oldest first."""
    return [(row["position"], row["number"], row["content"]) for row in await db.fetch(_PENDING, server, limit)]


async def delete_upto(db: Database, server: ServerName, position: int, number: int) -> None:
    await db.execute(_DELETE, server, position, number)


async def servers(db: Reader) -> list[ServerName]:
    """The servers that messages wait for."""
    return [ServerName(row["server_name"]) for row in await db.fetch(_SERVERS)]


async def trim(tx: Tx, per_server_max: int) -> None:
    """Deletes the oldest messages of servers that have more than so many."""
    await tx.execute(_TRIM, per_server_max)
