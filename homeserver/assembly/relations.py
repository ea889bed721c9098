"""What is read across events and rooms: relations, threads, search."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts
from homeserver.client_api.relations import Relations
from homeserver.client_api.search import Search
from homeserver.rooms.related import Related
from homeserver.rooms.searching import Searching
from search.indexer import Indexer
from search.service import PostgresSearch


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationParts:
    """These reads, plugged together."""

    endpoints: list[object]


async def build_relations(base: Base, parts: RoomParts) -> RelationParts:
    db, reads = base.world.db, parts.relation_reads
    indexer = Indexer(db, parts.journal, base.world.clock)
    await indexer.start()
    base.tasks.forever(indexer.run, name="search")
    searching = Searching(reads, parts.numbers, PostgresSearch(db, indexer), parts.ignore_lists)
    return RelationParts(
        endpoints=[
            Relations(Related(reads, parts.history, parts.ignore_lists), parts.views),
            Search(searching, parts.history, parts.views),
        ]
    )
