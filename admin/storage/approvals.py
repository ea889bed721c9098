"""The table `approvals`: acts that a second operator must agree to."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One request. `approved_by` is None while it waits; times in milliseconds."""

    approval_id: str
    act: str
    target: str
    permission: str
    asked_by: str
    asked_ts: int
    approved_by: str | None = None
    approved_ts: int | None = None


_COLUMNS = "approval_id, act, target, permission, asked_by, asked_ts, approved_by, approved_ts"
_TAKE = """
    DELETE FROM approvals
    WHERE asked_by = $1 AND act = $2 AND target = $3 AND approved_by IS NOT NULL AND approved_ts > $4
    RETURNING approved_by
"""
_EXPIRE = "DELETE FROM approvals WHERE coalesce(approved_ts, asked_ts) <= $1"
_INSERT = """
    INSERT INTO approvals (approval_id, act, target, permission, asked_by, asked_ts) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (asked_by, act, target) DO NOTHING
"""
_ASKED = f"SELECT {_COLUMNS} FROM approvals WHERE asked_by = $1 AND act = $2 AND target = $3"
_ONE = f"SELECT {_COLUMNS} FROM approvals WHERE approval_id = $1 FOR UPDATE"
_APPROVE = "UPDATE approvals SET approved_by = $2, approved_ts = $3 WHERE approval_id = $1"
_DELETE = "DELETE FROM approvals WHERE approval_id = $1"
_LIST = f"SELECT {_COLUMNS} FROM approvals WHERE asked_ts > $1 ORDER BY asked_ts DESC LIMIT $2"


async def take(tx: Tx, asked_by: str, act: str, target: str, after_ts: int) -> str | None:
    """Who approved it since then; it is used up with that."""
    approved_by: str | None = await tx.fetchval(_TAKE, asked_by, act, target, after_ts)
    return approved_by


async def ask(tx: Tx, approval: Approval, expired_ts: int) -> tuple[Approval, bool]:
    """The request, and whether it is new. Those that nobody answered until `expired_ts` go."""
    await tx.execute(_EXPIRE, expired_ts)
    one = approval
    values = (one.approval_id, one.act, one.target, one.permission, one.asked_by, one.asked_ts)
    is_new = (await tx.execute(_INSERT, *values)) == "INSERT 0 1"
    row = await tx.fetchrow(_ASKED, one.asked_by, one.act, one.target)
    assert row is not None
    return Approval(**row), is_new


async def locked(tx: Tx, approval_id: str) -> Approval | None:
    row = await tx.fetchrow(_ONE, approval_id)
    return Approval(**row) if row else None


async def approve(tx: Tx, approval_id: str, approved_by: str, now_ms: int) -> None:
    await tx.execute(_APPROVE, approval_id, approved_by, now_ms)


async def delete(tx: Tx, approval_id: str) -> None:
    await tx.execute(_DELETE, approval_id)


async def some(db: Reader, after_ts: int, limit: int) -> list[Approval]:
    """Those asked for since then, the newest first."""
    return [Approval(**row) for row in await db.fetch(_LIST, after_ts, limit)]
