"""A question as Elasticsearch asks it. Pure.

Everything is a filter: what is found comes in an order of numbers, the same in every tier. A scope of many rooms with
intervals is cut into searches that a cluster of any size takes; rooms are in one of them, so their counts add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from homeserver.core.folding import is_paired
from search.hot.elastic_mapping import short
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
    LinksTo,
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
# Of one search. Nodes take as many clauses as they have memory for, which nobody tells: 16,000 with 1 GB and two cores,
# but those with the least of it 1,024; and 65,536 values in a list.
CLAUSES_MAX, CLAUSES_LEAST = 8_000, 800
VALUES_MAX = 60_000
# So many clauses are asked at once; a scope that takes more is seen through a grid.
CLAUSES_AT_ONCE = 100
# So much of what is found near the ends of intervals is looked through here.
LOOKED_THROUGH_MAX = 2_000
# So little is fetched at once, before it is known how much there is.
GLANCED_AT_MAX = 500
# So many pages of that are gone through of what was said before it was edited; what is found beyond makes an answer
# partial.
PAGES_MAX = 25
_FIELDS = ["nid", "source", "room", "old_room", "time", "rank"]
_PLACES = ["place", "source_place"]
_LATER = "later"
_NOTHING: Json = {"match_none": {}}
EDITED: Json = {"exists": {"field": "source_place"}}
UNEDITED: Json = {"bool": {"must_not": [EDITED]}}


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


def scopes(whole: Sequence[int], parts: Mapping[int, Spans], clauses_max: int) -> Iterator[Json]:
    """Filters that together are the scope, each of a size that one search may have; no room is in two."""
    for at in range(0, len(whole), VALUES_MAX):
        yield in_rooms(whole[at : at + VALUES_MAX])
    gathered: dict[int, Spans] = {}
    clauses = 1
    for nid, spans in parts.items():
        cost = clauses_of(spans)
        if cost > clauses_max:
            yield from _many_intervals(nid, spans, clauses_max)
            continue
        if gathered and clauses + cost > clauses_max:
            yield _seen(gathered, gathered, is_edited=None)
            gathered, clauses = {}, 1
        gathered[nid] = spans
        clauses += cost
    if gathered:
        yield _seen(gathered, gathered, is_edited=None)


def clauses_of(spans: Spans) -> int:
    """How much of a search a room's intervals take."""
    return 2 + 2 * len(spans)


def _many_intervals(nid: int, spans: Spans, clauses_max: int) -> Iterator[Json]:
    """One room of more intervals than a search may have: each part of them for `place` with each for its edit's."""
    size = max(1, clauses_max // 2 - 2)
    cut = [spans[at : at + size] for at in range(0, len(spans), size)]
    for own in cut:
        yield _seen({nid: own}, {}, is_edited=False)
        for edits in cut:
            yield _seen({nid: own}, {nid: edits}, is_edited=True)


def _seen(own: Mapping[int, Spans], edits: Mapping[int, Spans], *, is_edited: bool | None) -> Json:
    """What lies in these intervals, and whose latest edit lies in those: what was edited, what wasn't, or both."""
    of_place = any_of([_intervals("place", nid, spans) for nid, spans in own.items()])
    of_edits = [_intervals("source_place", nid, spans) for nid, spans in edits.items()]
    return all_of([of_place, any_of([*([] if is_edited else [UNEDITED]), *of_edits])])


def in_rooms(nids: Sequence[int], field: str = "room") -> Json:
    return {"terms": {field: list(nids)}}


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
        # Not even its id, which lies compressed among those of hundreds: columns are all that is read of a hit.
        "stored_fields": "_none_",
        "docvalue_fields": _FIELDS,
        "query": {"bool": {"filter": list(filters)}},
        **_order(question),
    }


def looked_through(question: Question, filters: Sequence[Json], *, timeout_ms: int) -> Json:
    """The body of a search for all, whatever the page, with the places that say who sees it."""
    first = replace(question, after=None)
    body = search(first, filters, size=LOOKED_THROUGH_MAX, timeout_ms=timeout_ms)
    return body | {"docvalue_fields": [*_FIELDS, *_PLACES, _LATER]}


def glance(question: Question, nids: Sequence[int], *, timeout_ms: int) -> Json:
    """A search for all that is found in these rooms, if that is little."""
    wanted = any_of([in_rooms(nids), in_rooms(nids, "old_room")])
    found = looked_through(question, [wanted, *asked(question)], timeout_ms=timeout_ms)
    return found | {"size": GLANCED_AT_MAX, "sort": ["_doc"]}


def changed(question: Question, nids: Sequence[int], *, timeout_ms: int) -> Json:
    """A search for all of it that was ever edited."""
    wanted = any_of([all_of([in_rooms(nids), EDITED]), in_rooms(nids, "old_room")])
    return looked_through(question, [wanted, *asked(question)], timeout_ms=timeout_ms) | {"sort": ["_doc"]}


def before_edits(question: Question, nids: Sequence[int], *, timeout_ms: int) -> Json:
    """The same for what was said in these rooms before it was edited: an event may have several, each its source."""
    body = looked_through(question, [in_rooms(nids, "old_room"), *asked(question)], timeout_ms=timeout_ms)
    return body | {"sort": [*body["sort"], {"source": "desc"}]}


def following(searched: Json, answer: Json) -> Json:
    """The same search for what comes behind an answer's hits."""
    return searched | {"search_after": answer["hits"]["hits"][-1]["sort"]}


def is_seen(fields: Json, spans: Spans) -> bool:
    """Whether a hit with its places lies in these intervals."""
    asked = [fields[name][0] for name in _PLACES if name in fields]
    return all(_is_within(spans, place) for place in asked) and not any(
        _is_within(spans, place) for place in fields.get(_LATER, ())
    )


def room_of(fields: Json) -> int:
    """Of a hit."""
    room: int = fields["room" if "room" in fields else "old_room"][0]
    return room


def _is_within(spans: Spans, place: int) -> bool:
    return any(first <= place <= last for first, last in spans)


def _order(question: Question) -> Json:
    order: Json = {"sort": [{"rank" if question.by_rank else "time": "desc"}, {"nid": "desc"}]}
    if question.after is None:
        return order
    return order | {"search_after": [int(question.after[0]), question.after[1]]}


def query(wanted: Query) -> Json:
    """One part of a question."""
    match wanted:
        case Term(token):
            return any_of([_said(token), {"term": {"extras": token}}])
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
            return all_of([query(part) for part in parts])
        case AnyOf(parts):
            return any_of([query(part) for part in parts])
        case Not(part):
            return {"bool": {"must_not": [query(part)]}}
        case _:
            return _has(wanted)


def _said(token: str) -> Json:
    """A single character that is cut into pairs stands alone, or begins a pair; else it is an extra."""
    if len(token) == 1 and is_paired(token):
        return {"prefix": {"tokens": {"value": token}}}
    return {"term": {"tokens": token}}


def _has(wanted: Query) -> Json:
    match wanted:
        case Senders(user_ids):
            return {"terms": {"sender": sorted(user_ids)}}
        case Types(types):
            return {"terms": {"type": sorted(types)}}
        case InRooms(room_ids):
            return {"terms": {"room_key": sorted(map(short, room_ids))}}
        case Between(after, before):
            bounds = {name: bound for name, bound in (("gte", after), ("lt", before)) if bound is not None}
            as_received = all_of([{"range": {"time": bounds}}, {"bool": {"must_not": [{"exists": {"field": "said"}}]}}])
            return any_of([{"range": {"said": bounds}}, as_received])
        case Has(kind):
            return {"term": {"has": kind}}
        case InThread():
            return {"term": {"has": "thread"}}
        case Mentions(user_id):
            return {"term": {"mention": user_id}}
        case LinksTo(host):
            return {"term": {"host": host}}
        case _:
            raise TypeError(type(wanted))


def _intervals(field: str, nid: int, spans: Spans) -> Json:
    return all_of([{"term": {"room": nid}}, any_of([between(field, *span) for span in spans])])


def between(field: str, first: int, last: int) -> Json:
    bounds = {**({"gte": first} if first > FIRST_PLACE else {}), **({"lte": last} if last < LAST_PLACE else {})}
    return {"range": {field: bounds}}


def _either(leaves: Iterator[Json]) -> Json:
    return any_of(list(leaves))


def all_of(parts: Sequence[Json]) -> Json:
    if not parts:
        return {"match_all": {}}
    return parts[0] if len(parts) == 1 else {"bool": {"filter": list(parts)}}


def any_of(parts: Sequence[Json]) -> Json:
    if not parts:
        return _NOTHING
    return parts[0] if len(parts) == 1 else {"bool": {"should": list(parts), "minimum_should_match": 1}}
