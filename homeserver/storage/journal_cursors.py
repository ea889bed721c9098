"""The table `journal_cursors`: how far each durable consumer of the journal has come."""

from __future__ import annotations

from homeserver.storage.database import Database, Reader, Tx

_POSITION = "SELECT position FROM journal_cursors WHERE consumer = $1"
_ADVANCE = """
    INSERT INTO journal_cursors (consumer, position) VALUES ($1, $2)
    ON CONFLICT (consumer) DO UPDATE SET position = greatest(journal_cursors.position, excluded.position)
"""


async def position(db: Reader, consumer: str) -> int | None:
    """The position up to which all is done; None before the first time."""
    found: int | None = await db.fetchval(_POSITION, consumer)
    return found


async def advance(tx: Tx, consumer: str, position: int) -> None:
    """Never backwards. In the transaction of what was done up to there."""
    await tx.execute(_ADVANCE, consumer, position)


async def pass_by(db: Database, consumer: str, position: int) -> None:
    """The same where nothing had to be done: one statement."""
    await db.execute(_ADVANCE, consumer, position)
