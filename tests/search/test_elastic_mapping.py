"""What of a document goes into Elasticsearch: nothing that a search doesn't ask for, and nothing twice."""

from __future__ import annotations

from dataclasses import replace

from search.analyser import analyse
from search.hot.elastic_mapping import short, stored
from search.hot.elastic_queries import query
from search.tiers import Document, InRooms, Term
from tests.search.test_embedded import document

ROOM = "!oXpXnBEXcGQGlPBzZdiCIkwoDoG:example.org"


def said(text: str) -> Document:
    analysed = analyse(text)
    return replace(document(7, 1), tokens=analysed.tokens, extras=analysed.extras, room_id=ROOM)


def test_characters_that_begin_a_pair_are_not_stored_again() -> None:
    fields = stored(said("今天天气 à la café, 港"))
    assert fields["tokens"] == "今天 天天 天气 à la café 港"
    assert fields["extras"] == "气 a cafe"
    assert "extras" not in stored(said("今天今"))


def test_they_are_found_by_the_pairs() -> None:
    assert {"prefix": {"tokens": {"value": "天"}}} in query(Term("天"))["bool"]["should"]
    assert {"term": {"tokens": "a"}} in query(Term("a"))["bool"]["should"]


def test_ids_are_short() -> None:
    fields = stored(replace(said("hello"), thread_root="$" + "x" * 43))
    assert query(InRooms(frozenset({ROOM}))) == {"terms": {"room_key": [fields["room_key"]]}}
    assert len(fields["room_key"]) == len(fields["thread"]) == 12 and ROOM not in str(fields)
    assert short(ROOM) != short(ROOM + "x")


def test_what_a_clock_says_is_stored_once() -> None:
    own = replace(said("hello"), origin_server_ts=5_000, received_ms=6_000)
    assert stored(own)["time"] == 5_000 and "said" not in stored(own)
    ahead = replace(own, origin_server_ts=9_000)
    assert stored(ahead)["time"] == 6_000 and stored(ahead)["said"] == 9_000
