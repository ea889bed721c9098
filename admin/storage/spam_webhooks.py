"""The table `spam_webhook_calls`: calls of rules to other services that wait to be made."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class CallRow:
    call_id: int
    url: str
    body: str
    tries: int


_KEEP = """
    INSERT INTO spam_webhook_calls (url, body, next_ts)
    SELECT $1, $2, $3 WHERE (SELECT count(*) FROM spam_webhook_calls) < $4
"""
_DUE = "SELECT call_id, url, body, tries FROM spam_webhook_calls WHERE next_ts <= $1 ORDER BY next_ts LIMIT $2"
_WAITING = "SELECT count(*) FROM spam_webhook_calls"
_DONE = "DELETE FROM spam_webhook_calls WHERE call_id = $1"
_PUT_OFF = "UPDATE spam_webhook_calls SET tries = $2, next_ts = $3 WHERE call_id = $1"


async def keep(tx: Tx, url: str, body: str, *, now_ms: int, most: int) -> bool:
    """Whether there was room for it."""
    return (await tx.execute(_KEEP, url, body, now_ms, most)).endswith(" 1")


async def due(db: Reader, now_ms: int, limit: int) -> list[CallRow]:
    """Those whose time has come, longest due first."""
    return [
        CallRow(row["call_id"], row["url"], row["body"], row["tries"]) for row in await db.fetch(_DUE, now_ms, limit)
    ]


async def waiting(db: Reader) -> int:
    return int(await db.fetchval(_WAITING))


async def done(tx: Tx, call_id: int) -> None:
    await tx.execute(_DONE, call_id)


async def put_off(tx: Tx, call_id: int, tries: int, next_ms: int) -> None:
    await tx.execute(_PUT_OFF, call_id, tries, next_ms)
