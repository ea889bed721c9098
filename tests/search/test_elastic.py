"""A real Elasticsearch: it finds what the embedded index and a look at every document find."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.hot import elastic_grid, elastic_queries
from search.hot.elastic import Cluster, ElasticIndex
from search.hot.embedded import EmbeddedIndex
from search.query import parse
from search.tiers import FIRST_PLACE, LAST_PLACE, Document, Gone, Question, Refused, Term, TierFault, TierLost
from tests.kit import search_oracle as oracle
from tests.kit.elasticsearch import ElasticsearchServer
from tests.kit.search_languages import QUERIES
from tests.search.test_embedded import ANY, document
from tests.search.test_languages import documents as said_in_all_languages

pytestmark = [pytest.mark.slow, pytest.mark.programs("elasticsearch")]
# Of the generated documents: each example has numbers of its own, so that all share one index.
_NUMBERS = itertools.count(1)
_STEP = 1_000


@asynccontextmanager
async def filled(cluster: Cluster) -> AsyncIterator[ElasticIndex]:
    """An empty index that counts as filled, and is gone afterwards."""
    index = ElasticIndex(cluster)
    await index.clear()
    await index.adopt()
    try:
        yield index
        await index.clear()
    finally:
        await index.close()


def moved(documents: Sequence[Document], by: int) -> list[Document]:
    """The same in rooms of their own."""
    return [
        replace(
            one,
            event_nid=one.event_nid + by,
            source_nid=one.source_nid + by,
            room_nid=one.room_nid + by,
            event_id=f"{one.event_id}-{by}",
            received_ms=one.received_ms + (one.event_nid % 3) * 31 * 86_400_000 + 1_700_000_000_000,
        )
        for one in documents
    ]


@settings(max_examples=60, deadline=None)
@given(
    documents=oracle.documents(),
    questions=st.lists(oracle.questions(), min_size=1, max_size=8),
    is_reversed=st.booleans(),
    clauses=st.sampled_from((1, 7, 8_000)),
    values=st.sampled_from((1, 60_000)),
    at_once=st.sampled_from((0, 100)),
    looked_through=st.sampled_from((1, 2, 2_000)),
    glanced_at=st.sampled_from((0, 1, 500)),
    cells=st.sampled_from((1, 2, 4, 64)),
)
def test_it_finds_what_the_others_find(
    elasticsearch: ElasticsearchServer,
    tmp_path_factory: pytest.TempPathFactory,
    documents: Sequence[Document],
    questions: list[Question],
    is_reversed: bool,
    clauses: int,
    values: int,
    at_once: int,
    looked_through: int,
    glanced_at: int,
    cells: int,
) -> None:
    """T-G8: page by page, in the order that all tiers share, with exact counts; however the scope is cut."""
    example = next(_NUMBERS)
    by = example * _STEP
    documents = moved(documents, by)

    async def scene(folder: Path) -> None:
        embedded = EmbeddedIndex(folder)
        await embedded.clear()
        index = ElasticIndex(elasticsearch.cluster(prefix="same"))
        if example == 1:
            await index.adopt()
        await index.write(list(reversed(documents)) if is_reversed else documents, [])
        await embedded.write(documents, [])
        for question in questions:
            rooms = {nid + by: spans for nid, spans in question.scope.items()}
            following: Question | None = replace(question, scope=rooms, upto=min(question.upto + by, 2**62))
            while following is not None:
                found, expected = await index.find(following), oracle.find(documents, following)
                assert found == expected == await embedded.find(following)
                is_full = len(found.hits) == following.limit
                following = replace(following, after=found.hits[-1].cursor) if is_full else None
        await index.close()
        await embedded.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elastic_queries, "CLAUSES_MAX", max(clauses, 6))
        patch.setattr(elastic_queries, "VALUES_MAX", values)
        patch.setattr(elastic_queries, "CLAUSES_AT_ONCE", at_once)
        patch.setattr(elastic_queries, "LOOKED_THROUGH_MAX", looked_through)
        patch.setattr(elastic_queries, "GLANCED_AT_MAX", glanced_at)
        patch.setattr(elastic_queries, "PAGES_MAX", 100)
        patch.setattr(elastic_grid, "CELLS", cells)
        patch.setattr(elastic_grid, "CELLS_LEAST", cells)
        patch.setattr(elastic_grid, "CELLS_FINER", 2 * cells)
        asyncio.run(scene(tmp_path_factory.mktemp("index")))


async def test_every_script(elasticsearch: ElasticsearchServer) -> None:
    """Recall 100 %, precision 100 %."""
    async with filled(elasticsearch.cluster()) as index:
        assert not await index.write(said_in_all_languages(), [])
        for query, numbers in QUERIES:
            parsed = parse(query)
            assert parsed is not None
            found = await index.find(replace(ANY, query=parsed.query))
            assert {hit.event_nid for hit in found.hits} == numbers and found.count == len(numbers), query


async def found(index: ElasticIndex, token: str) -> list[int]:
    return [hit.event_nid for hit in (await index.find(replace(ANY, query=Term(token)))).hits]


async def test_nothing_is_replaced_by_what_is_older(elasticsearch: ElasticsearchServer) -> None:
    """T-G11: a late word about an event brings nothing back; what is purged is found by its id and goes."""
    async with filled(elasticsearch.cluster()) as index:
        await index.write([document(1, 5, "new")], [])
        await index.write([document(1, 4, "old")], [])
        assert (await found(index, "new"), await found(index, "old")) == ([1], [])
        await index.write([document(1, 5, "new")], [])
        assert await found(index, "new") == [1]
        await index.write([], [Gone(1, 1, 6, "$1", 1), Gone(2, 1, 6, "$2", 2)])
        await index.write([document(1, 5, "new"), document(2, 5, "new")], [])
        assert await found(index, "new") == [] and await index.count() == 0
        await index.write([document(3, 5, "new"), document(4, 5, "new")], [])
        await index.write([], [Gone(3, 1, 6, "$3", None), Gone(9, 1, 6, "$9", None)])
        assert await found(index, "new") == [4]
        await index.forget_rooms([1])
        assert await found(index, "new") == [] and await index.count() == 0


async def test_what_a_document_has_too_much_of_is_refused(elasticsearch: ElasticsearchServer) -> None:
    """T-J4: the others are taken, and the reason says nothing of what it holds."""
    async with filled(elasticsearch.cluster()) as index:
        wrong = replace(document(2, 5, "secret"), sender="@secret:" + "x" * 40_000)
        refused = await index.write([document(1, 5, "word"), wrong, document(3, 5, "word")], [])
        assert [one.event_id for one in refused] == ["$2"] and "secret" not in refused[0].reason
        assert await found(index, "word") == [3, 1]


async def test_an_index_that_is_not_there_or_not_whole_is_lost(elasticsearch: ElasticsearchServer) -> None:
    """T-O7: so that it is filled anew, instead of being believed."""
    cluster = elasticsearch.cluster()
    index = ElasticIndex(cluster)
    for ask in (index.find(ANY), index.write([document(1, 5, "word")], [])):
        with pytest.raises(TierLost):
            await ask
    await index.clear()
    await index.adopt()
    months = [replace(document(nid, 5, "word"), received_ms=nid * 10_000_000_000) for nid in (139, 140, 145)]
    await index.write(months, [])
    again = ElasticIndex(cluster)
    assert await found(again, "word") == [145, 140, 139]
    await index._client.indices.delete(index=index._names.index(140 * 10_000_000_000))
    for reader in (index, again):
        with pytest.raises(TierLost):
            await reader.find(ANY)
    with pytest.raises(TierLost):
        await index.write(months, [])
    await index.clear()
    await index.close()
    await again.close()


async def test_a_user_of_ten_thousand_rooms(elasticsearch: ElasticsearchServer) -> None:
    """T-G8: pages are full and counts exact, whole rooms and rooms that are seen in parts."""
    rooms, mine = 10_000, 10_000
    async with filled(elasticsearch.cluster()) as index:
        said = [
            replace(document(nid, 5, "word", f"n{nid % 100}"), room_nid=1 + nid % rooms, place=nid)
            for nid in range(1, 2 * rooms + 1)
        ]
        await index.write(said, [])
        partly = {
            nid: [(rooms + 1, LAST_PLACE)] if nid % 2 else [(1, 5), (rooms, LAST_PLACE)] for nid in range(1, mine)
        }
        for scope in ({nid: [(FIRST_PLACE, LAST_PLACE)] for nid in range(1, mine)}, partly):
            for token in ("word", "n7"):
                question = replace(ANY, query=Term(token), scope=scope, limit=20)
                assert await index.find(question) == oracle.find(said, question)
        spans = [(place, place) for place in range(1, 1_500, 2)]
        question = replace(ANY, query=Term("word"), scope={3: spans, 4: spans}, limit=20)
        in_one = [replace(one, room_nid=3 + one.event_nid % 2) for one in said[:1_600]]
        await index.write([replace(one, version=6) for one in in_one], [])
        assert await index.find(question) == oracle.find(in_one, question)


async def test_what_is_written_while_somebody_searches_is_seen_by_the_next(
    elasticsearch: ElasticsearchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with filled(elasticsearch.cluster()) as index:
        await index.write([document(1, 5, "word")], [])
        write = index._bulk

        async def late(lines: Sequence[bytes]) -> list[Refused]:
            assert await found(index, "word") == [1]
            return await write(lines)

        monkeypatch.setattr(index, "_bulk", late)
        await index.write([document(2, 5, "word")], [])
        assert await found(index, "word") == [2, 1]


async def test_a_cluster_that_is_not_there() -> None:
    index = ElasticIndex(Cluster(urls=("http://127.0.0.1:1",), timeout_s=1))
    with pytest.raises(TierFault) as raised:
        await index.find(ANY)
    assert not isinstance(raised.value, TierLost)
    await index.close()


async def test_months_that_are_not_written_any_more_are_merged(elasticsearch: ElasticsearchServer) -> None:
    """But the newest, and those that were just written; nothing else is found or counted for that."""
    received = [1_700_000_000_000 + month * 31 * 86_400_000 for month in range(3)]
    async with filled(elasticsearch.cluster()) as index:
        said = [replace(document(nid, 5, "word"), received_ms=received[nid % 3]) for nid in range(1, 25)]
        for at in range(0, len(said), 3):
            await index.write(said[at : at + 3], [])
            await index.find(ANY)  # which makes it a segment of its own
        there = await index.find(ANY), await index.count(), await index.census()
        assert await index.tidy() == 0
        assert await index.tidy() == 2
        assert await index.tidy() == 0
        assert (await index.find(ANY), await index.count(), await index.census()) == there
        segments = await index._tidying._segments()
        assert [segments[index._names.index(time_ms)] == 1 for time_ms in received] == [True, True, False]
        for one in said[::3]:
            await index.write([replace(one, version=6)], [])
            await index.find(ANY)
        assert await index.tidy() == 0
        assert await index.tidy() == 1
        assert await index.tidy() == 0
