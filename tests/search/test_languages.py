"""Every script: what is said is found, and nothing else is."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from search.analyser import analyse
from search.hot.embedded import EmbeddedIndex
from search.query import parse
from search.tiers import Document
from tests.kit import search_oracle as oracle
from tests.kit.search_languages import QUERIES, TEXTS
from tests.search.test_embedded import ANY, document


def documents() -> list[Document]:
    found = []
    for number, text in enumerate(TEXTS):
        analysed = analyse(text)
        found.append(replace(document(number, 1, *analysed.tokens), extras=analysed.extras))
    return found


@pytest.fixture(scope="module")
def said() -> list[Document]:
    return documents()


@pytest.mark.parametrize(("query", "numbers"), QUERIES)
def test_what_a_query_finds(query: str, numbers: frozenset[int], said: list[Document]) -> None:
    parsed = parse(query)
    assert parsed is not None
    assert {hit.event_nid for hit in oracle.find(said, replace(ANY, query=parsed.query)).hits} == numbers


def test_the_set_is_wide() -> None:
    """More than 200 queries, in more than 20 scripts."""
    scripts = {unicodedata.name(char).partition(" ")[0] for query, _ in QUERIES for char in query if char.isalpha()}
    assert len(QUERIES) >= 200 and len(scripts - {"FULLWIDTH", "HALFWIDTH", "MATHEMATICAL"}) >= 30


async def test_the_index_finds_the_same(tmp_path: Path) -> None:
    """Recall 100 %, precision 100 %."""
    index = EmbeddedIndex(tmp_path)
    assert not await index.open()
    await index.write(documents(), [])
    for query, numbers in QUERIES:
        parsed = parse(query)
        assert parsed is not None
        found = await index.find(replace(ANY, query=parsed.query))
        assert {hit.event_nid for hit in found.hits} == numbers, query
        assert found.count == len(numbers), query
    await index.close()
