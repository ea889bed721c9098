"""The table `early_redactions`: redactions that came before the events that they name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import EventId, UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class EarlyRedaction:
    """One of each sender's for a target, whoever may redact it."""

    room_nid: int
    target_id: EventId
    sender: UserId
    redaction_nid: int


_INSERT = """
    INSERT INTO early_redactions (room_nid, target_id, sender, redaction_nid)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])
    ON CONFLICT DO NOTHING
"""
_OF = """
    SELECT room_nid, target_id, sender, redaction_nid FROM early_redactions
    WHERE room_nid = $1 AND target_id = ANY($2::text[]) ORDER BY redaction_nid
"""
_ROOMS = "SELECT DISTINCT room_nid FROM early_redactions"
_DELETE = "DELETE FROM early_redactions WHERE room_nid = $1 AND target_id = ANY($2::text[])"


async def insert(tx: Tx, rows: Sequence[EarlyRedaction]) -> None:
    await tx.execute(
        _INSERT,
        [row.room_nid for row in rows],
        [row.target_id for row in rows],
        [row.sender for row in rows],
        [row.redaction_nid for row in rows],
    )


async def of(db: Reader, room_nid: int, targets: Collection[EventId]) -> list[EarlyRedaction]:
    """Those that wait for these events, in the order in which they came."""
    return [
        EarlyRedaction(row["room_nid"], EventId(row["target_id"]), UserId(row["sender"]), row["redaction_nid"])
        for row in await db.fetch(_OF, room_nid, list(targets))
    ]


async def rooms(db: Reader) -> set[int]:
    """In which rooms some wait: asked once."""
    return {row["room_nid"] for row in await db.fetch(_ROOMS)}


async def delete(tx: Tx, room_nid: int, targets: Collection[EventId]) -> None:
    """These have come."""
    await tx.execute(_DELETE, room_nid, list(targets))
