"""The table `contact_validations`."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One proof under way, or done."""

    sid: str
    purpose: str
    address: str
    secret_digest: bytes
    token_digest: bytes
    user_id: str
    send_attempt: int
    next_link: str | None
    created_ts: int
    validated_ts: int | None = None
    is_used: bool = False


_COLUMNS = (
    "sid, purpose, address, secret_digest, token_digest, user_id, send_attempt, next_link, created_ts, "
    "validated_ts, is_used"
)
_KNOWN = f"""
    SELECT {_COLUMNS} FROM contact_validations
    WHERE purpose = $1 AND address = $2 AND secret_digest = $3 AND user_id = $4 AND created_ts > $5 AND NOT is_used
"""
_BY_SID = f"SELECT {_COLUMNS} FROM contact_validations WHERE sid = $1 AND created_ts > $2 AND NOT is_used"
_UPSERT = """
    INSERT INTO contact_validations
        (sid, purpose, address, secret_digest, token_digest, user_id, send_attempt, next_link, created_ts)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (purpose, address, secret_digest, user_id) DO UPDATE SET
        sid = excluded.sid, token_digest = excluded.token_digest, send_attempt = excluded.send_attempt,
        next_link = excluded.next_link, created_ts = excluded.created_ts, validated_ts = NULL, is_used = false
"""
_EXPIRE = "DELETE FROM contact_validations WHERE created_ts <= $1"
_CONFIRM = """
    UPDATE contact_validations SET validated_ts = coalesce(validated_ts, $3)
    WHERE sid = $1 AND token_digest = $2 AND created_ts > $4 AND NOT is_used RETURNING next_link
"""
_USE = """
    UPDATE contact_validations SET is_used = true
    WHERE sid = $1 AND purpose = $2 AND validated_ts IS NOT NULL AND NOT is_used RETURNING address, validated_ts
"""


async def known(
    db: Reader, purpose: str, address: str, secret_digest: bytes, user_id: str, created_after: int
) -> Validation | None:
    row = await db.fetchrow(_KNOWN, purpose, address, secret_digest, user_id, created_after)
    return _validation(row) if row else None


async def by_sid(db: Reader, sid: str, created_after: int) -> Validation | None:
    """One that hasn't expired and wasn't used."""
    row = await db.fetchrow(_BY_SID, sid, created_after)
    return _validation(row) if row else None


async def upsert(tx: Tx, validation: Validation) -> None:
    """Begins one; one of the same purpose, address, secret and user is begun anew."""
    await tx.execute(
        _UPSERT,
        validation.sid,
        validation.purpose,
        validation.address,
        validation.secret_digest,
        validation.token_digest,
        validation.user_id,
        validation.send_attempt,
        validation.next_link,
        validation.created_ts,
    )


async def expire(tx: Tx, created_before: int) -> None:
    await tx.execute(_EXPIRE, created_before)


async def confirm(tx: Tx, sid: str, token_digest: bytes, now_ms: int, created_after: int) -> tuple[bool, str | None]:
    """Whether the token was right; and where the app wants its user to go on."""
    row = await tx.fetchrow(_CONFIRM, sid, token_digest, now_ms, created_after)
    return (False, None) if row is None else (True, row["next_link"])


async def use(tx: Tx, sid: str, purpose: str) -> tuple[str, int] | None:
    """Uses a proof up: its address, and when it was given. None if it is none, or was used."""
    row = await tx.fetchrow(_USE, sid, purpose)
    return (row["address"], row["validated_ts"]) if row else None


def _validation(row: Row) -> Validation:
    return Validation(**row)
