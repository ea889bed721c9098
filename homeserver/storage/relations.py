"""The table `event_relations`: which event refers to which by `m.relates_to`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from homeserver.core.events import Event
from homeserver.core.identifiers import EventId
from homeserver.storage.database import Reader, Tx

_KEY_BYTES_MAX = 512

_INSERT = """
    INSERT INTO event_relations (event_nid, room_nid, relates_to, rel_type, type, sender, aggregation_key)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
"""

_IS_ANNOTATED = """
    SELECT EXISTS (
        SELECT FROM event_relations r JOIN events e USING (event_nid)
        WHERE r.relates_to = $2 AND r.rel_type = 'm.annotation' AND r.room_nid = $1 AND r.type = $3
            AND r.sender = $4 AND r.aggregation_key = $5 AND e.redacted_by IS NULL AND e.flags = 0
    )
"""


@dataclass(frozen=True, slots=True)
class Relation:
    event_nid: int
    room_nid: int
    relates_to: EventId
    rel_type: str
    type: str
    sender: str
    aggregation_key: str | None


def relation_of(event: Event, event_nid: int, room_nid: int) -> Relation | None:
    """The relation that an event's content declares, where it is one that can be kept."""
    relates_to = event.content.get("m.relates_to")
    if not isinstance(relates_to, dict) or event.is_state:
        return None
    target, rel_type, key = relates_to.get("event_id"), relates_to.get("rel_type"), relates_to.get("key")
    if not _is_storable(target) or not _is_storable(rel_type) or "\x00" in event.type:
        return None
    kept_key = key if _is_storable(key) else None
    return Relation(event_nid, room_nid, EventId(target), rel_type, event.type, event.sender, kept_key)


def _is_storable(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value.encode()) <= _KEY_BYTES_MAX and "\x00" not in value


async def insert(tx: Tx, relations: Sequence[Relation]) -> None:
    await tx.execute(
        _INSERT,
        [r.event_nid for r in relations],
        [r.room_nid for r in relations],
        [r.relates_to for r in relations],
        [r.rel_type for r in relations],
        [r.type for r in relations],
        [r.sender for r in relations],
        [r.aggregation_key for r in relations],
    )


async def is_annotated(db: Reader, room_nid: int, target: EventId, type: str, sender: str, key: str) -> bool:
    """Whether this sender's annotation of this type and key is there, and not redacted."""
    if not all(_is_storable(value) for value in (target, key)) or "\x00" in type:
        return False
    return bool(await db.fetchval(_IS_ANNOTATED, room_nid, target, type, sender, key))
