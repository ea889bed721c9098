"""The tables `contacts` and `contact_bindings`: e-mail addresses of accounts, and who else was told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class Contact:
    medium: str
    address: str
    validated_ts: int
    added_ts: int


_OF_USER = "SELECT medium, address, validated_ts, added_ts FROM contacts WHERE user_id = $1 ORDER BY added_ts, address"
_HOLDER = "SELECT user_id FROM contacts WHERE medium = $1 AND address = $2"
_INSERT = """
    INSERT INTO contacts (medium, address, user_id, validated_ts, added_ts) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING
"""
_DELETE = "DELETE FROM contacts WHERE medium = $1 AND address = $2 AND user_id = $3"
_DELETE_ALL = "DELETE FROM contacts WHERE user_id = $1"
_DELETE_EMAILS = """
    DELETE FROM contacts WHERE medium = 'email'
    AND ((user_id = $1 AND address <> ALL($2::text[])) OR (user_id <> $1 AND address = ANY($2::text[])))
"""
_INSERT_EMAILS = """
    INSERT INTO contacts (medium, address, user_id, validated_ts, added_ts)
    SELECT 'email', address, $1, validated_ts, added_ts
    FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS given(address, validated_ts, added_ts)
    ON CONFLICT DO NOTHING
"""
_BIND = (
    "INSERT INTO contact_bindings (user_id, medium, address, id_server) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
)
_UNBIND = "DELETE FROM contact_bindings WHERE user_id = $1 AND medium = $2 AND address = $3 AND id_server = $4"
_BOUND_AT = "SELECT id_server FROM contact_bindings WHERE user_id = $1 AND medium = $2 AND address = $3"
_BINDINGS = "SELECT medium, address, id_server FROM contact_bindings WHERE user_id = $1"


async def of_user(db: Reader, user_id: UserId) -> list[Contact]:
    return [Contact(**row) for row in await db.fetch(_OF_USER, user_id)]


async def holder(db: Reader, medium: str, address: str) -> UserId | None:
    """Whose address this is."""
    found: UserId | None = await db.fetchval(_HOLDER, medium, address)
    return found


async def insert(tx: Tx, user_id: UserId, contact: Contact) -> bool:
    """False if the address is somebody's already."""
    done = await tx.execute(_INSERT, contact.medium, contact.address, user_id, contact.validated_ts, contact.added_ts)
    return done != "INSERT 0 0"


async def delete(tx: Tx, user_id: UserId, medium: str, address: str) -> None:
    await tx.execute(_DELETE, medium, address, user_id)


async def replace_emails(tx: Tx, user_id: UserId, emails: Sequence[Contact]) -> None:
    """The user has these e-mail addresses and no others; nobody else has them any more."""
    addresses = [one.address for one in emails]
    await tx.execute(_DELETE_EMAILS, user_id, addresses)
    times = [one.validated_ts for one in emails], [one.added_ts for one in emails]
    await tx.execute(_INSERT_EMAILS, user_id, addresses, *times)


async def delete_all(tx: Tx, user_id: UserId) -> None:
    await tx.execute(_DELETE_ALL, user_id)


async def bind(tx: Tx, user_id: UserId, medium: str, address: str, id_server: str) -> None:
    await tx.execute(_BIND, user_id, medium, address, id_server)


async def unbind(tx: Tx, user_id: UserId, medium: str, address: str, id_server: str) -> None:
    await tx.execute(_UNBIND, user_id, medium, address, id_server)


async def bound_at(db: Reader, user_id: UserId, medium: str, address: str) -> list[str]:
    """The identity servers that know this address as the user's, through us."""
    return [row["id_server"] for row in await db.fetch(_BOUND_AT, user_id, medium, address)]


async def bindings(db: Reader, user_id: UserId) -> list[tuple[str, str, str]]:
    """(medium, address, identity server) of all of a user's."""
    return [(row["medium"], row["address"], row["id_server"]) for row in await db.fetch(_BINDINGS, user_id)]
