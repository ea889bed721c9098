"""The tables `own_signing_keys`, `server_keys` and `server_key_documents`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import ServerName
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key of a server. What it signed is believed up to `valid_until_ms`; `is_old`: events only, never requests."""

    server_name: ServerName
    key_id: str
    verify_key: bytes
    valid_until_ms: int
    is_old: bool


@dataclass(frozen=True, slots=True)
class DocumentRow:
    server_name: ServerName
    document: bytes
    valid_until_ms: int
    fetched_ms: int


@dataclass(frozen=True, slots=True)
class OwnKeyRow:
    key_id: str
    verify_key: bytes
    expired_ms: int | None


_KEYS = """
    SELECT server_name, key_id, verify_key, valid_until_ms, is_old FROM server_keys
    WHERE server_name = ANY($1::text[])
"""
_DOCUMENTS = """
    SELECT server_name, document, valid_until_ms, fetched_ms FROM server_key_documents
    WHERE server_name = ANY($1::text[])
"""
_UPSERT_KEYS = """
    INSERT INTO server_keys (server_name, key_id, verify_key, valid_until_ms, is_old)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::boolean[])
    ON CONFLICT (server_name, key_id) DO UPDATE
    SET verify_key = excluded.verify_key, valid_until_ms = excluded.valid_until_ms, is_old = excluded.is_old
"""
_DELETE_KEYS = """
    DELETE FROM server_keys k USING unnest($1::text[], $2::text[]) AS gone(server_name, key_id)
    WHERE k.server_name = gone.server_name AND k.key_id = gone.key_id
"""
_UPSERT_DOCUMENT = """
    INSERT INTO server_key_documents (server_name, document, valid_until_ms, fetched_ms) VALUES ($1, $2, $3, $4)
    ON CONFLICT (server_name) DO UPDATE
    SET document = excluded.document, valid_until_ms = excluded.valid_until_ms, fetched_ms = excluded.fetched_ms
"""
_OWN_KEYS = "SELECT key_id, verify_key, expired_ms FROM own_signing_keys ORDER BY expired_ms DESC NULLS FIRST"
_USE_OWN_KEY = """
    INSERT INTO own_signing_keys (key_id, verify_key, expired_ms) VALUES ($1, $2, NULL)
    ON CONFLICT (key_id) DO UPDATE SET verify_key = excluded.verify_key, expired_ms = NULL
"""
_EXPIRE_OTHERS = "UPDATE own_signing_keys SET expired_ms = $2 WHERE key_id <> $1 AND expired_ms IS NULL"


async def keys(db: Reader, servers: Collection[ServerName]) -> list[KeyRow]:
    """All known keys of these servers. One index scan."""
    return [KeyRow(*row) for row in await db.fetch(_KEYS, list(servers))]


async def documents(db: Reader, servers: Collection[ServerName]) -> list[DocumentRow]:
    return [DocumentRow(*row) for row in await db.fetch(_DOCUMENTS, list(servers))]


async def put_keys(tx: Tx, rows: Sequence[KeyRow]) -> None:
    await tx.execute(
        _UPSERT_KEYS,
        [row.server_name for row in rows],
        [row.key_id for row in rows],
        [row.verify_key for row in rows],
        [row.valid_until_ms for row in rows],
        [row.is_old for row in rows],
    )


async def delete_keys(tx: Tx, names: Collection[tuple[ServerName, str]]) -> None:
    """`names` are server and key id."""
    servers, key_ids = zip(*sorted(names), strict=True)
    await tx.execute(_DELETE_KEYS, list(servers), list(key_ids))


async def put_document(tx: Tx, row: DocumentRow) -> None:
    await tx.execute(_UPSERT_DOCUMENT, row.server_name, row.document, row.valid_until_ms, row.fetched_ms)


async def own_keys(db: Reader) -> list[OwnKeyRow]:
    """The key in use first, then those before it, the newest first."""
    return [OwnKeyRow(*row) for row in await db.fetch(_OWN_KEYS)]


async def use_own_key(tx: Tx, key_id: str, verify_key: bytes, now_ms: int) -> None:
    """Notes the key in use. Whichever was in use before is over from now on."""
    await tx.execute(_USE_OWN_KEY, key_id, verify_key)
    await tx.execute(_EXPIRE_OTHERS, key_id, now_ms)
