"""What a search of Elasticsearch answers, as hits. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search.hot import elastic_queries as queries
from search.hot.elastic_queries import Json
from search.tiers import Findings, Hit, Question


def seen(answer: Json, question: Question, parts: Mapping[int, queries.Spans]) -> list[Hit]:
    """Those that lie in the intervals of their rooms."""
    return [
        hit_of(hit, by_rank=question.by_rank)
        for hit in answer["hits"]["hits"]
        if queries.is_seen(hit["fields"], parts[queries.room_of(hit["fields"])])
    ]


def page_of(hits: Sequence[Hit], question: Question, *, is_partial: bool) -> Findings:
    """Of all that is seen, the page that is asked for."""
    page = [hit for hit in hits if question.after is None or hit.cursor < question.after]
    page.sort(key=lambda hit: hit.cursor, reverse=True)
    return Findings(page[: question.limit], len(hits), is_partial)


def hit_of(found: Json, *, by_rank: bool) -> Hit:
    """One hit, from its columns."""
    fields = found["fields"]
    nid, time, rank = (fields[name][0] for name in ("nid", "time", "rank"))
    room = queries.room_of(fields)
    source = fields.get("source", (nid,))[0]
    return Hit(nid, source, room, float(rank), (rank if by_rank else time, nid))


def is_too_many(cause: Json) -> bool:
    """Whether a search failed because it has too many clauses."""
    return "too_many" in str(cause.get("type")) or "too many clauses" in str(cause.get("reason"))


def is_partial(answer: Json) -> bool:
    """Whether a part of the cluster didn't answer in time."""
    return bool(answer["timed_out"] or answer["_shards"]["failed"])
