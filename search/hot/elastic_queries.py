"""A question as Elasticsearch asks it. Pure.

Everything is a filter: what is found comes in an order of numbers, the same in every tier. A scope of many rooms with
intervals is cut into searches that a cluster of any size takes; rooms are in one of them, so their counts add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from search.hot.elastic_mapping import RANK_SHIFT
from search.tiers import (
    FIRST_PLACE,
    LAST_PLACE,
    All,
    AnyOf,
    Between,
    Fuzzy,
    Has,
    InRooms,
    InThread,
    Mentions,
    Not,
    Phrase,
    Prefix,
    Query,
    Question,
    Scope,
    Senders,
    Term,
    Types,
)

Json = dict[str, Any]
Spans = Sequence[tuple[int, int]]
# Of one search: nodes with the least memory take 1,024 clauses, and 65,536 values in a list.
CLAUSES_MAX = 800
VALUES_MAX = 60_000
_FIELDS = ["nid", "source", "room", "time", "ranked"]
_NOTHING: Json = {"match_none": {}}


def parted(scope: Scope) -> tuple[list[int], dict[int, Spans]]:
    """The rooms that are seen whole; and those of which parts are, with their intervals."""
    whole: list[int] = []
    parts: dict[int, Spans] = {}
    for nid, spans in scope.items():
        if any(first <= FIRST_PLACE and last >= LAST_PLACE for first, last in spans):
            whole.append(nid)
        elif spans:
            parts[nid] = spans
    return whole, parts


def scopes(whole: Sequence[int], parts: Mapping[int, Spans]) -> Iterator[Json]:
    """Filters that together are the scope, each of a size that one search may have; no room is in two."""
    for at in range(0, len(whole), VALUES_MAX):
        yield in_rooms(whole[at : at + VALUES_MAX])
    gathered: list[Json] = []
    clauses = 0
    for nid, spans in parts.items():
        cost = 1 + 2 * len(spans)
        if cost > CLAUSES_MAX:
            yield from _many_intervals(nid, spans)
            continue
        if gathered and clauses + cost > CLAUSES_MAX:
            yield _any(gathered)
            gathered, clauses = [], 0
        gathered.append(_intervals(nid, spans))
        clauses += cost
    if gathered:
        yield _any(gathered)


def _many_intervals(nid: int, spans: Spans) -> Iterator[Json]:
    """One room of more intervals than a search may have: each part of them for `place` with each for its edit's."""
    size = CLAUSES_MAX // 2 - 1
    cut = [spans[at : at + size] for at in range(0, len(spans), size)]
    for own in cut:
        for edits in cut:
            inside = [
                _any([_between(name, *span) for span in some])
                for name, some in (("place", own), ("source_place", edits))
            ]
            yield _all([{"term": {"room": nid}}, *inside])


def in_rooms(nids: Sequence[int]) -> Json:
    return {"terms": {"room": list(nids)}}


def asked(question: Question) -> list[Json]:
    """All that is asked for, except the scope."""
    return [
        query(question.query),
        {"terms": {"key": sorted(question.keys)}},
        {"range": {"nid": {"lte": question.upto}}},
    ]


def search(question: Question, filters: Sequence[Json], *, size: int, timeout_ms: int) -> Json:
    """The body of a search for the first `size` in the order asked for, with an exact count."""
    return {
        "size": size,
        "track_total_hits": True,
        "timeout": f"{timeout_ms}ms",
        "_source": False,
        "docvalue_fields": _FIELDS,
        "query": {"bool": {"filter": list(filters)}},
        **_order(question),
    }


def rooms(question: Question, nids: Sequence[int], *, timeout_ms: int) -> Json:
    """The body of a search for those of at most VALUES_MAX rooms in which anything is found."""
    return {
        "size": 0,
        "track_total_hits": False,
        "timeout": f"{timeout_ms}ms",
        "query": {"bool": {"filter": [in_rooms(nids), *asked(question)]}},
        "aggs": {"rooms": {"terms": {"field": "room", "size": len(nids)}}},
    }


def _order(question: Question) -> Json:
    if question.by_rank:
        order: Json = {"sort": [{"ranked": "desc"}]}
        after = question.after and [int(question.after[0]) << RANK_SHIFT | question.after[1]]
    else:
        order = {"sort": [{"time": "desc"}, {"nid": "desc"}]}
        after = question.after and [int(question.after[0]), question.after[1]]
    return order | {"search_after": after} if after else order


def query(wanted: Query) -> Json:
    """One part of a question."""
    match wanted:
        case Term(token):
            return _either({"term": {field: token}} for field in ("tokens", "extras"))
        case Phrase(tokens):
            if len(tokens) == 1:
                return {"term": {"tokens": tokens[0]}}
            return {"match_phrase": {"tokens": {"query": " ".join(tokens), "analyzer": "whitespace"}}}
        case Prefix(token):
            return _either({"prefix": {field: {"value": token}}} for field in ("tokens", "extras"))
        case Fuzzy(token, distance):
            # Rewritten so that every word that is near enough counts, not the likeliest fifty.
            fuzzy = {"value": token, "fuzziness": distance, "transpositions": True, "rewrite": "constant_score"}
            return _either({"fuzzy": {field: fuzzy}} for field in ("tokens", "extras"))
        case All(parts):
            return _all([query(part) for part in parts])
        case AnyOf(parts):
            return _any([query(part) for part in parts])
        case Not(part):
            return {"bool": {"must_not": [query(part)]}}
        case _:
            return _has(wanted)


def _has(wanted: Query) -> Json:
    match wanted:
        case Senders(user_ids):
            return {"terms": {"sender": sorted(user_ids)}}
        case Types(types):
            return {"terms": {"type": sorted(types)}}
        case InRooms(room_ids):
            return {"terms": {"room_id": sorted(room_ids)}}
        case Between(after, before):
            bounds = {"gte": after, "lt": before}
            return {"range": {"said": {name: bound for name, bound in bounds.items() if bound is not None}}}
        case Has(kind):
            return {"term": {"has": kind}}
        case InThread():
            return {"term": {"has": "thread"}}
        case Mentions(user_id):
            return {"term": {"mention": user_id}}
        case _:
            raise TypeError(type(wanted))


def _intervals(nid: int, spans: Spans) -> Json:
    inside = [_any([_between(name, *span) for span in spans]) for name in ("place", "source_place")]
    return _all([{"term": {"room": nid}}, *inside])


def _between(field: str, first: int, last: int) -> Json:
    bounds = {**({"gte": first} if first > FIRST_PLACE else {}), **({"lte": last} if last < LAST_PLACE else {})}
    return {"range": {field: bounds}}


def _either(leaves: Iterator[Json]) -> Json:
    return _any(list(leaves))


def _all(parts: Sequence[Json]) -> Json:
    if not parts:
        return {"match_all": {}}
    return parts[0] if len(parts) == 1 else {"bool": {"filter": list(parts)}}


def _any(parts: Sequence[Json]) -> Json:
    if not parts:
        return _NOTHING
    return parts[0] if len(parts) == 1 else {"bool": {"should": list(parts), "minimum_should_match": 1}}
