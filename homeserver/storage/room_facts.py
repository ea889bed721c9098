"""The table `room_facts`: what lists of rooms are sorted and filtered by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage.database import Reader, Tx

CONSUMER = "room_facts"


@dataclass(frozen=True, slots=True)
class RoomFact:
    """`newest` and `bump` are positions: of the newest event, and of the newest that counts as activity.

    `retention_ms` is how long messages shall be kept: 0 for ever, None if nothing was heard of it.
    """

    newest: int
    bump: int
    room_type: str | None
    is_encrypted: bool
    retention_ms: int | None = None


# Locked, the rooms can't be deleted between the look at them and the row that is written of them.
_UPSERT = """
    INSERT INTO room_facts (room_nid, newest, bump, room_type, is_encrypted, retention_ms)
    SELECT new.* FROM unnest(
        $1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::boolean[], $6::bigint[]
    ) AS new(room_nid) JOIN rooms r ON r.room_nid = new.room_nid ORDER BY r.room_nid FOR KEY SHARE OF r
    ON CONFLICT (room_nid) DO UPDATE SET
        newest = greatest(room_facts.newest, excluded.newest), bump = greatest(room_facts.bump, excluded.bump),
        room_type = excluded.room_type, is_encrypted = excluded.is_encrypted,
        retention_ms = coalesce(excluded.retention_ms, room_facts.retention_ms)
"""
_OF_USER = """
    SELECT r.room_id, f.newest, f.bump, f.room_type, f.is_encrypted
    FROM memberships m JOIN rooms r USING (room_nid) JOIN room_facts f USING (room_nid) WHERE m.user_id = $1
"""
_COUNT_ENCRYPTED = "SELECT count(*) FROM room_facts WHERE room_nid = ANY($1::bigint[]) AND is_encrypted"


async def upsert(tx: Tx, facts: Mapping[int, RoomFact]) -> None:
    """Room nid → what is known now. Positions never go back; a room that was purged meanwhile gets no row."""
    await tx.execute(
        _UPSERT,
        list(facts),
        [fact.newest for fact in facts.values()],
        [fact.bump for fact in facts.values()],
        [fact.room_type for fact in facts.values()],
        [fact.is_encrypted for fact in facts.values()],
        [fact.retention_ms for fact in facts.values()],
    )


async def count_encrypted(db: Reader, room_nids: Collection[int]) -> int:
    """How many of these rooms are encrypted."""
    return int(await db.fetchval(_COUNT_ENCRYPTED, list(room_nids)))


async def of_user(db: Reader, user_id: UserId) -> dict[RoomId, RoomFact]:
    """The facts of all rooms that a user is or was in. One query."""
    return {
        RoomId(room_id): RoomFact(newest, bump, room_type, is_encrypted)
        for room_id, newest, bump, room_type, is_encrypted in await db.fetch(_OF_USER, user_id)
    }
