"""The tables `passkeys` and `passkey_accounts`."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.identifiers import UserId
from homeserver.storage.database import Reader, Row, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class PasskeyRow:
    """`public_key` is COSE."""

    credential_id: bytes
    user_id: UserId
    public_key: bytes
    sign_count: int
    name: str
    created_ts: int
    used_ts: int | None = None


_COLUMNS = "credential_id, user_id, public_key, sign_count, name, created_ts, used_ts"
_INSERT = f"""
    INSERT INTO passkeys ({_COLUMNS})
    SELECT $1, $2, $3, $4, $5, $6, $7 WHERE (SELECT count(*) FROM passkeys WHERE user_id = $2) < $8
    ON CONFLICT (credential_id) DO NOTHING
"""
_ONE = f"SELECT {_COLUMNS} FROM passkeys WHERE credential_id = $1 FOR UPDATE"
_OF_USER = f"SELECT {_COLUMNS} FROM passkeys WHERE user_id = $1 ORDER BY created_ts, credential_id"
_USED = "UPDATE passkeys SET sign_count = $2, used_ts = $3 WHERE credential_id = $1"
_DELETE = "DELETE FROM passkeys WHERE credential_id = $1 AND user_id = $2"
_DELETE_ALL = "WITH gone AS (DELETE FROM passkeys WHERE user_id = $1) DELETE FROM passkey_accounts WHERE user_id = $1"
_HANDLE = """
    INSERT INTO passkey_accounts (user_id, handle, is_required) VALUES ($1, $2, false)
    ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id RETURNING handle
"""
_IS_REQUIRED = """
    SELECT EXISTS (
        SELECT FROM passkey_accounts JOIN passkeys USING (user_id) WHERE user_id = $1 AND is_required
    )
"""
_REQUIRE = "UPDATE passkey_accounts SET is_required = $2 WHERE user_id = $1"


async def insert(tx: Tx, row: PasskeyRow, per_user_max: int) -> bool:
    """Whether it is new, and the user could have one more."""
    done = await tx.execute(
        _INSERT, row.credential_id, row.user_id, row.public_key, row.sign_count, row.name, row.created_ts,
        row.used_ts, per_user_max,
    )  # fmt: skip
    return done != "INSERT 0 0"


async def one_for_update(tx: Tx, credential_id: bytes) -> PasskeyRow | None:
    """Locked until the transaction ends: of two uses at once the second sees the first's count."""
    row = await tx.fetchrow(_ONE, credential_id)
    return _row(row) if row else None


async def of_user(db: Reader, user_id: UserId) -> list[PasskeyRow]:
    return [_row(row) for row in await db.fetch(_OF_USER, user_id)]


async def mark_used(tx: Tx, credential_id: bytes, sign_count: int, now_ms: int) -> None:
    await tx.execute(_USED, credential_id, sign_count, now_ms)


async def delete(tx: Tx, user_id: UserId, credential_id: bytes) -> bool:
    """Whether the user had it."""
    return (await tx.execute(_DELETE, credential_id, user_id)) != "DELETE 0"


async def delete_all(tx: Tx, user_id: UserId) -> None:
    """Those of one user, and that they were required."""
    await tx.execute(_DELETE_ALL, user_id)


async def handle(tx: Tx, user_id: UserId, fresh: bytes) -> bytes:
    """What authenticators know the account by; `fresh` from now on where it had none."""
    found: bytes = await tx.fetchval(_HANDLE, user_id, fresh)
    return found


async def is_required(db: Reader, user_id: UserId) -> bool:
    """Whether the user's password alone lets nobody in. Never without a passkey."""
    return bool(await db.fetchval(_IS_REQUIRED, user_id))


async def require(tx: Tx, user_id: UserId, is_required: bool) -> None:
    await tx.execute(_REQUIRE, user_id, is_required)


def _row(row: Row) -> PasskeyRow:
    return PasskeyRow(
        credential_id=row["credential_id"],
        user_id=UserId(row["user_id"]),
        public_key=row["public_key"],
        sign_count=row["sign_count"],
        name=row["name"],
        created_ts=row["created_ts"],
        used_ts=row["used_ts"],
    )
