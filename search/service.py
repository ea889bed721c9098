"""Implements `homeserver.ports.MessageSearch` by a tier."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from homeserver.core.filters import compile_types
from homeserver.core.identifiers import RoomAlias
from homeserver.ports import SearchFindings, SearchHit, SearchWish
from homeserver.storage import room_aliases
from homeserver.storage.database import Database
from search.documents import KEYS
from search.indexer import Indexer
from search.query import aliases_in, parse
from search.tiers import All, Has, Not, Query, Question, Senders, Tier, TierFault, Types
from search.visibility import scope_of

log = structlog.get_logger()


class TierSearch:
    """Asks the tier exactly what the searcher may see, over what was said up to now."""

    def __init__(self, db: Database, tier: Tier, indexer: Indexer) -> None:
        self._db = db
        self._tier = tier
        self._indexer = indexer

    async def find(self, wish: SearchWish) -> SearchFindings:
        """Partial where the tier can't be asked, or what was said last isn't in it yet. Raises InvalidParam."""
        parsed = parse(wish.term, me=wish.viewer, rooms=await self._rooms(aliases_in(wish.term)))
        if parsed is None:
            return SearchFindings((), 0, wish.upto, ())
        upto = min(wish.upto, self._indexer.heard)
        is_partial = not await self._indexer.flushed()
        question = Question(
            query=All((parsed.query, *_narrowed(wish))),
            scope=scope_of(wish.rooms),
            keys=frozenset(wish.keys),
            by_rank=wish.order_by == "rank",
            upto=upto,
            limit=wish.limit,
            after=wish.after,
        )
        try:
            found = await self._tier.find(question)
        except TierFault as fault:
            log.warning("search_failed", error=str(fault))
            self._indexer.mend()
            return SearchFindings((), 0, upto, parsed.words, is_partial=True)
        hits = [SearchHit(hit.event_nid, hit.source_nid, hit.rank, hit.cursor) for hit in found.hits]
        return SearchFindings(hits, found.count, upto, parsed.words, is_partial=is_partial or found.is_partial)

    async def _rooms(self, aliases: Sequence[str]) -> dict[str, str]:
        """The rooms that this server knows by these aliases."""
        if not aliases:
            return {}
        found = await room_aliases.by_aliases(self._db, [RoomAlias(alias) for alias in aliases])
        return {alias: row.room_id for alias, row in found.items()}


def _narrowed(wish: SearchWish) -> list[Query]:
    """What the filter of the request adds, and whom the searcher ignores."""
    wanted = wish.wanted
    parts: list[Query] = []
    unwanted = frozenset(wanted.not_senders) | wish.ignored
    if wanted.senders is not None:
        parts.append(Senders(wanted.senders))
    if unwanted:
        parts.append(Not(Senders(unwanted)))
    if wanted.contains_url is not None:
        parts.append(Has("url") if wanted.contains_url else Not(Has("url")))
    if (passes := compile_types(wanted.types, wanted.not_types)) is not None:
        parts.append(Types(frozenset(kind for kind in KEYS if passes(kind))))
    return parts
