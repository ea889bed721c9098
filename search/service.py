"""Implements `homeserver.ports.MessageSearch` by a tier."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from homeserver.core.filters import compile_types
from homeserver.ports import SearchFindings, SearchHit, SearchWish
from search.analyser import words_of
from search.documents import KEYS
from search.indexer import Indexer
from search.query import parse
from search.tiers import All, Has, Not, Query, Question, Senders, Tier, TierFault, Types
from search.visibility import scope_of

log = structlog.get_logger()


class TierSearch:
    """Asks the tier exactly what the searcher may see, over what was said up to now."""

    def __init__(self, tier: Tier, indexer: Indexer) -> None:
        self._tier = tier
        self._indexer = indexer

    async def find(self, wish: SearchWish) -> SearchFindings:
        """Partial where the tier can't be asked, or what was said last isn't in it yet. Raises InvalidParam."""
        query = parse(wish.term)
        if query is None:
            return SearchFindings((), 0, wish.upto)
        upto = min(wish.upto, self._indexer.heard)
        is_partial = not await self._indexer.flushed()
        question = Question(
            query=All((query, *_narrowed(wish))),
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
            return SearchFindings((), 0, upto, is_partial=True)
        hits = [SearchHit(hit.event_nid, hit.source_nid, hit.rank, hit.cursor) for hit in found.hits]
        return SearchFindings(hits, found.count, upto, is_partial=is_partial or found.is_partial)

    def words(self, term: str) -> Sequence[str]:
        return words_of(term)


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
