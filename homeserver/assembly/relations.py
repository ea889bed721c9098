"""What relates to what: relations and threads."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.assembly.rooms import RoomParts
from homeserver.client_api.relations import Relations
from homeserver.rooms.related import Related


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationParts:
    """Reads of relations, plugged together."""

    endpoints: list[object]


async def build_relations(parts: RoomParts) -> RelationParts:
    related = Related(parts.relation_reads, parts.history, parts.ignore_lists)
    return RelationParts(endpoints=[Relations(related, parts.views)])
