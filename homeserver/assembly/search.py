"""Search in messages: the tier that keeps their words, and what keeps the tier."""

from __future__ import annotations

import asyncio

from homeserver.assembly.base import Base
from homeserver.core.folding import warm_up
from homeserver.journal.journal import Journal
from homeserver.ports import MessageSearch
from homeserver.rooms.families import RoomFamilies
from search.hot.embedded import EmbeddedIndex
from search.indexer import Indexer
from search.service import TierSearch


async def build_search(base: Base, journal: Journal, families: RoomFamilies) -> MessageSearch:
    index = EmbeddedIndex(base.config.data_dir / "search")
    is_kept = await index.open()
    indexer = Indexer(base.world.db, journal, base.world.clock, index, index)
    await indexer.start(is_empty=not is_kept)
    base.tasks.at_end(index.close)
    base.tasks.forever(indexer.run, name="search")
    base.tasks.start(asyncio.to_thread(warm_up), name="search_tables")
    return TierSearch(base.world.db, index, indexer, families)
