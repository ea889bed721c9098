"""Implements `homeserver.ports.MessageSearch` by PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from homeserver.ports import SearchHit, SearchWish
from homeserver.storage.database import Database
from search import storage
from search.analyser import phrases_of, words_of
from search.indexer import Indexer


class PostgresSearch:
    """Finds candidates. Who may see them is for others to say."""

    def __init__(self, db: Database, indexer: Indexer) -> None:
        self._db = db
        self._indexer = indexer

    async def find(self, wish: SearchWish, room_nids: Collection[int], limit: int) -> Sequence[SearchHit]:
        """One query, over what was said up to now."""
        await self._indexer.flush()
        terms = [token for phrase in phrases_of(wish.term) for token in phrase]
        if not terms or not room_nids:
            return []
        found = await storage.find(
            self._db, terms, room_nids, wish.keys, wish.upto, limit, by_rank=wish.order_by == "rank"
        )
        return [SearchHit(nid, source_nid, rank) for nid, source_nid, rank in found]

    def words(self, term: str) -> Sequence[str]:
        return words_of(term)
