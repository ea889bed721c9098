"""Implements `homeserver.ports.MessageSearch` by a tier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from homeserver.core.errors import InvalidParam
from homeserver.core.filters import compile_types
from homeserver.core.identifiers import RoomAlias, RoomId, UserId
from homeserver.ports import SearchFacets, SearchFindings, SearchHit, SearchWish
from homeserver.rooms.families import RoomFamilies
from homeserver.storage import room_aliases
from homeserver.storage.database import Database
from search import storage
from search.documents import KEYS
from search.indexer import Indexer
from search.query import Parsed, parse, rooms_in
from search.tiers import RANK_MAX, All, Findings, Has, Not, Query, Question, Senders, Tier, TierFault, Types, merged
from search.visibility import scope_of

log = structlog.get_logger()

# Facets count the newest so many of what is found, asked for in pages of a size that every engine gives.
COUNTED_MAX = 50_000
COUNTED_AT_ONCE = 5_000
# Beyond the number of any event.
NID_END = 2**48


class TierSearch:
    """Asks the tier exactly what the searcher may see, over what was said up to now."""

    def __init__(self, db: Database, tier: Tier, indexer: Indexer, families: RoomFamilies) -> None:
        self._db = db
        self._tier = tier
        self._indexer = indexer
        self._families = families

    async def find(self, wish: SearchWish) -> SearchFindings:
        """Partial where the tier can't be asked, or what was said last isn't in it yet. Raises InvalidParam."""
        parsed = await self.parsed(wish.term, wish.viewer)
        if parsed is None:
            return SearchFindings((), 0, wish.upto, ())
        question, is_partial = await self._question(wish, parsed)
        found = await self._asked(wish, question)
        if found is None:
            return SearchFindings((), 0, question.upto, parsed.words, is_partial=True)
        hits = [SearchHit(hit.event_nid, hit.source_nid, hit.rank, hit.cursor) for hit in found.hits]
        return SearchFindings(hits, found.count, question.upto, parsed.words, is_partial or found.is_partial)

    async def facets(self, wish: SearchWish) -> SearchFacets:
        """Goes through all that is found, the newest first; three questions for each COUNTED_AT_ONCE.

        What a tier that is behind still has of redacted events isn't counted: the database is asked.
        """
        rooms: Counter[int] = Counter()
        senders: Counter[str] = Counter()
        months: Counter[str] = Counter()
        parsed = await self.parsed(wish.term, wish.viewer)
        if parsed is None:
            return SearchFacets(0, 0, rooms, senders, months)
        wish = replace(wish, order_by="recent", limit=COUNTED_AT_ONCE, after=None)
        question, is_partial = await self._question(wish, parsed)
        count = hidden = 0
        while rooms.total() + hidden < COUNTED_MAX:
            found = await self._asked(wish, question)
            if found is None:
                is_partial = True
                break
            is_partial |= found.is_partial
            count = max(count, found.count)
            gone = await storage.not_shown(self._db, {n for hit in found.hits for n in (hit.event_nid, hit.source_nid)})
            hits = [hit for hit in found.hits if hit.event_nid not in gone and hit.source_nid not in gone]
            hidden += len(found.hits) - len(hits)
            rooms.update(hit.room_nid for hit in hits)
            months.update(_month(int(hit.cursor[0])) for hit in hits)
            senders.update(await storage.senders(self._db, [hit.event_nid for hit in hits]))
            if len(found.hits) < question.limit:
                break
            question = replace(question, after=found.hits[-1].cursor)
        return SearchFacets(count - hidden, rooms.total(), rooms, senders, months, is_partial)

    async def parsed(self, term: str, viewer: UserId) -> Parsed | None:
        """What a user means by a term; None where there is nothing to look for. Raises InvalidParam."""
        return parse(term, me=viewer, rooms=await self._rooms(viewer, rooms_in(term)))

    async def _question(self, wish: SearchWish, parsed: Parsed) -> tuple[Question, bool]:
        """And whether something that was said isn't in the tier yet. Raises InvalidParam."""
        if wish.after is not None and not _is_cursor(wish.after, wish.order_by):
            raise InvalidParam("next_batch is no token of this search")
        is_behind = not await self._indexer.flushed()
        question = Question(
            query=All((parsed.query, *_narrowed(wish))),
            scope=scope_of(wish.rooms),
            keys=frozenset(wish.keys),
            by_rank=wish.order_by == "rank",
            upto=min(wish.upto, self._indexer.heard),
            limit=wish.limit,
            after=wish.after,
        )
        return question, is_behind

    async def _asked(self, wish: SearchWish, question: Question) -> Findings | None:
        """One question more for each kind of sender that was erased, of whom something is left to the searcher."""
        try:
            if not wish.erased:
                return await self._tier.find(question)
            found = [await self._tier.find(one) for one in _told_apart(wish, question)]
            return merged(found, question.limit)
        except TierFault as fault:
            log.warning("search_failed", error=str(fault))
            self._indexer.failed(fault)
            return None

    async def _rooms(self, viewer: UserId, names: Sequence[str]) -> dict[str, frozenset[str]]:
        """What is meant by these room ids, and by those aliases that this server knows."""
        if not names:
            return {}
        aliases = [RoomAlias(name) for name in names if name.startswith("#")]
        found = await room_aliases.by_aliases(self._db, aliases) if aliases else {}
        ids = {name: RoomId(name) for name in names if name.startswith("!")}
        ids.update({str(alias): row.room_id for alias, row in found.items()})
        families = await self._families.named(viewer, list(dict.fromkeys(ids.values())))
        return {name: frozenset(map(str, families[room_id])) for name, room_id in ids.items()}


def _is_cursor(after: tuple[float, int], order_by: str) -> bool:
    """Whether a tier could have given it: what comes back from outside may be any number."""
    value, nid = after
    return 0 <= nid < NID_END and (order_by != "rank" or 0 <= value <= RANK_MAX)


def _told_apart(wish: SearchWish, question: Question) -> Iterator[Question]:
    """The question about all but those who were erased, then those about them, each with a scope of its own."""
    senders = frozenset[str]().union(*(some for some, _ in wish.erased))
    yield replace(question, query=All((question.query, Not(Senders(senders)))))
    for some, rooms in wish.erased:
        if rooms:
            yield replace(question, query=All((question.query, Senders(some))), scope=scope_of(rooms))


def _month(time_ms: int) -> str:
    return datetime.fromtimestamp(max(0, time_ms) / 1000, UTC).strftime("%Y-%m")


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
