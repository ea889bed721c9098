"""The tables `cross_signing_keys` and `key_signatures`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class Signature:
    """What one user says of a device or master key of another, or of their own."""

    signer: UserId
    signing_key_id: str
    target_user: UserId
    target_key: str
    signature: str


_UPSERT = """
    INSERT INTO cross_signing_keys (user_id, usage, key) VALUES ($1, $2, $3)
    ON CONFLICT (user_id, usage) DO UPDATE SET key = excluded.key
"""
_DELETE = "DELETE FROM cross_signing_keys WHERE user_id = $1"
_OF_USERS = "SELECT user_id, usage, key FROM cross_signing_keys WHERE user_id = ANY($1::text[])"
_UPSERT_SIGNATURES = """
    INSERT INTO key_signatures (signer, signing_key_id, target_user, target_key, signature, position)
    SELECT new.*, $6 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS new
    ON CONFLICT (target_user, target_key, signer, signing_key_id)
    DO UPDATE SET signature = excluded.signature, position = excluded.position
"""
_SIGNED_SINCE = "SELECT DISTINCT target_user FROM key_signatures WHERE signer = $1 AND position > $2"
_DELETE_ON = "DELETE FROM key_signatures WHERE target_user = $1 AND target_key = ANY($2::text[])"
_SIGNATURES = """
    SELECT signer, signing_key_id, target_user, target_key, signature FROM key_signatures
    WHERE target_user = ANY($1::text[]) AND (signer = target_user OR signer = $2)
"""


async def upsert(tx: Tx, user_id: UserId, usage: str, key: bytes) -> None:
    await tx.execute(_UPSERT, user_id, usage, key)


async def delete(tx: Tx, user_id: UserId) -> None:
    await tx.execute(_DELETE, user_id)


async def of_users(db: Reader, user_ids: Collection[UserId]) -> dict[UserId, dict[str, bytes]]:
    """user → usage → key."""
    found: dict[UserId, dict[str, bytes]] = {}
    for row in await db.fetch(_OF_USERS, list(user_ids)):
        found.setdefault(UserId(row["user_id"]), {})[row["usage"]] = row["key"]
    return found


async def upsert_signatures(tx: Tx, signatures: Sequence[Signature], position: int) -> None:
    await tx.execute(
        _UPSERT_SIGNATURES,
        [s.signer for s in signatures],
        [s.signing_key_id for s in signatures],
        [s.target_user for s in signatures],
        [s.target_key for s in signatures],
        [s.signature for s in signatures],
        position,
    )


async def signed_since(db: Reader, signer: UserId, position: int) -> set[UserId]:
    """Whose keys this user has signed after a position."""
    return {UserId(row["target_user"]) for row in await db.fetch(_SIGNED_SINCE, signer, position)}


async def delete_signatures_on(tx: Tx, user_id: UserId, keys: Collection[str]) -> None:
    """Deletes what anybody has signed of these devices or keys of the user."""
    await tx.execute(_DELETE_ON, user_id, list(keys))


async def signatures_of(db: Reader, targets: Collection[UserId], viewer: UserId) -> list[Signature]:
    """Signatures on these users' keys: their own, and the viewer's. Nobody sees whom others have verified."""
    return [
        Signature(
            UserId(row["signer"]),
            row["signing_key_id"],
            UserId(row["target_user"]),
            row["target_key"],
            row["signature"],
        )
        for row in await db.fetch(_SIGNATURES, list(targets), viewer)
    ]
