"""The archive's files: they find what a look at every document finds, read little, and damage is never an answer."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, islice
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from bench.archive import messages, vocabulary
from search.analyser import analyse
from search.archive import building
from search.archive import words as words_module
from search.archive.columns import COLUMNS
from search.archive.evaluating import Asked, evaluate
from search.archive.postings import Packer, unpacked, unpacked_lists
from search.archive.spelling import Spelling
from search.archive.terms import Damaged
from search.archive.words import Words
from search.tiers import Document, Findings, Question, Term
from tests.kit import search_oracle as oracle
from tests.kit.archive_files import build, opened
from tests.search.test_embedded import ANY


@pytest.mark.slow
def test_a_message_of_a_small_file_takes_300_bytes(tmp_path: Path) -> None:
    """Parquet and the index of words of 14,000 messages as they are signed; a file of many isn't looked at as hard."""
    chance = random.Random(6)
    rows = list(islice(messages(0, chance, vocabulary(chance)), 14_000))

    def bytes_of(events: int) -> float:
        builder = building.Builder(tmp_path, events)
        builder.add(rows)
        built = builder.finish()
        return (built.parquet.size_bytes + built.terms.size_bytes) / len(rows)

    small = bytes_of(len(rows))
    assert small <= 300
    assert small < bytes_of(building.FEW_ROWS + 1) - 3


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents=oracle.documents(),
    questions=st.lists(oracle.questions(), min_size=1, max_size=8),
    hidden=st.frozensets(st.integers(1, 12), max_size=3),
    group_rows=st.sampled_from((1, 3, 100)),
)
def test_a_file_finds_what_the_oracle_finds(
    tmp_path: Path, documents: Sequence[Document], questions: list[Question], hidden: frozenset[int], group_rows: int
) -> None:
    """T-G8: the same hits, order and counts as the brute force, and so as the hot tiers; nothing that is hidden."""
    # Files have what events say now.
    documents = [one for one in documents if not one.later]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "GROUP_ROWS", group_rows)
        built = build(tmp_path, documents)
    file, _ = opened(tmp_path, built)
    shown = [one for one in documents if one.event_nid not in hidden]
    for question in questions:
        following: Question | None = question
        while following is not None:
            found = evaluate(file, following, BitMap64(hidden))
            assert Findings(found.hits, found.count) == oracle.find(shown, following)
            is_full = len(found.hits) == following.limit
            following = replace(following, after=found.hits[-1].cursor) if is_full else None


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=oracle.documents(), questions=st.lists(oracle.questions(), min_size=1, max_size=8))
def test_many_files_find_what_the_oracle_finds(
    tmp_path: Path, documents: Sequence[Document], questions: list[Question]
) -> None:
    """T-G8: whichever file is asked first, the pages of all together are those of the brute force; counts too."""
    documents = [one for one in documents if not one.later]
    files = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        some = [one for one in documents if one.event_nid % 3 == number]
        if some:
            files.append(opened(folder, build(folder, some))[0])
    for question in questions:
        following: Question | None = question
        while following is not None:
            asked = Asked(following)
            found = [evaluate(file, asked, BitMap64()) for file in files]
            hits = sorted((hit for one in found for hit in one.hits), key=lambda hit: hit.cursor, reverse=True)
            page = hits[: following.limit]
            assert Findings(page, sum(one.count for one in found)) == oracle.find(documents, following)
            following = replace(following, after=page[-1].cursor) if len(page) == following.limit else None
            files.reverse()


@given(st.text("abc", max_size=7), st.text("abc", max_size=7), st.sampled_from((1, 2)))
def test_spelling_is_what_the_oracle_counts(one: str, other: str, distance: int) -> None:
    assert Spelling(one, distance).is_alike(other) == (oracle.edits(one, other) <= distance)


def some(count: int) -> list[Document]:
    found = analyse(oracle.TEXTS[0])
    return [
        Document(
            event_nid=nid,
            room_nid=1,
            place=nid,
            source_nid=nid,
            version=nid,
            received_ms=nid,
            origin_server_ts=nid,
            event_id=f"$event{nid}",
            room_id="!one:a",
            sender="@alice:a",
            type="m.room.message",
            key="content.body",
            tokens=[*found.tokens, f"only{nid}"],
            extras=[*found.extras, "only", str(nid)],
        )
        for nid in range(1, count + 1)
    ]


@pytest.mark.slow
def test_a_rare_word_costs_little(tmp_path: Path) -> None:
    """What a question reads is what the words point to, not the file."""
    built = build(tmp_path, some(40_000))
    file, parts = opened(tmp_path, built)
    parts.bytes_read = 0
    found = evaluate(file, replace(ANY, query=Term("only17")), BitMap64())
    assert [hit.event_nid for hit in found.hits] == [17]
    assert 0 < parts.bytes_read * 4 < built.parquet.size_bytes + built.terms.size_bytes


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows.parquet", "rows.terms"])
def test_no_flipped_byte_is_an_answer(tmp_path: Path, name: str) -> None:
    """T-O7: whatever byte of a file changes, a question is answered rightly or fails; never wrongly."""
    documents = some(40)
    built = build(tmp_path, documents)
    path = tmp_path / name
    whole = path.read_bytes()
    questions = [ANY, replace(ANY, query=Term("hello")), replace(ANY, query=Term("only7"), by_rank=True)]
    expected = [oracle.find(documents, question) for question in questions]
    failures = 0
    for at in range(0, len(whole), 41):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :])
        for question, right in zip(questions, expected, strict=True):
            try:
                file, _ = opened(tmp_path, built)
                found = evaluate(file, question, BitMap64())
            except Damaged:
                failures += 1
            else:
                assert Findings(found.hits, found.count) == right
    assert failures


@pytest.mark.slow
def test_others_read_the_files_as_plain_parquet(tmp_path: Path) -> None:
    """docs/operating/archive-format.md promises these columns to every reader of Parquet."""
    build(tmp_path, some(40))
    table = f"read_parquet('{tmp_path}/rows.parquet')"
    names = [row[0] for row in duckdb.connect().execute(f"DESCRIBE SELECT * FROM {table}").fetchall()]
    assert names == list(COLUMNS)
    found = (
        duckdb.connect()
        .execute(f"SELECT sender, count(*) FROM {table} WHERE body ILIKE '%hello%' GROUP BY sender")
        .fetchall()
    )
    assert found == [("@alice:a", 40)]
    page = duckdb.connect().execute(f"SELECT event_id FROM {table} WHERE place > 10 ORDER BY place LIMIT 2").fetchall()
    assert page == [("$event11",), ("$event12",)]


_PIECES = st.sampled_from(
    [
        "grün ",
        "ﬁ\u0301x",
        "getUserName",
        "C++",
        "c#",
        "服务器",
        "好",
        "か\u3099",
        "한.",
        "ﾊﾝ",
        "，",
        "Word",
        "(word),",
        "ひらがな",
        "\u3000",
        "\u0301a",
        "a\u0308",
        "ABC-123",
        "👍🏽",
        "ǅ",
        "ถนน",
    ]
)


@given(st.lists(st.one_of(st.text(max_size=6), _PIECES, st.sampled_from(" \n\t\x1f\x85\xa0\u2003")), max_size=12))
def test_the_words_of_pieces_are_those_of_the_text(parts: list[str]) -> None:
    """What is remembered of texts never finds another thing than the analyser."""
    numbers: dict[str, int] = {}
    words = Words(lambda word: numbers.setdefault(word, len(numbers)))
    texts = ["".join(parts), "", "".join(parts[::-1]), "".join(parts)]
    for _ in range(2):
        found = words.of(texts)
        names = list(numbers)
        for at, text in enumerate(texts):
            analysed = analyse(text)
            assert {names[number] for number in found.numbers[found.texts == at]} == {
                *analysed.tokens,
                *analysed.extras,
            }
            assert found.tokens[at] == len(analysed.tokens)


@pytest.mark.slow
def test_long_and_many_texts_have_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are analysed whole, and what was forgotten in between."""
    monkeypatch.setattr(words_module, "PIECES_MAX", 20)
    numbers: dict[str, int] = {}
    words = Words(lambda word: numbers.setdefault(word, len(numbers)))
    texts = ["服务器 升级。" * 900, "one", "word " * 700, "一 二三 x", "ひらがな！カタカナ", "한국어."]
    for round_ in range(4):
        some = [*texts, *(f"only{round_}x{number}" for number in range(30))]
        found = words.of(some)
        names = list(numbers)
        for at, text in enumerate(some):
            analysed = analyse(text)
            expected = {*analysed.tokens, *analysed.extras}
            assert {names[number] for number in found.numbers[found.texts == at]} == expected
            assert found.tokens[at] == len(analysed.tokens)


@given(st.lists(st.frozensets(st.integers(0, 2**32 - 1), min_size=1, max_size=9), max_size=6))
def test_lists_of_rows_come_back(lists: list[frozenset[int]]) -> None:
    sorted_lists = [sorted(one) for one in lists]
    ends = list(accumulate((len(one) for one in lists), initial=0))
    rows = np.array([row for one in sorted_lists for row in one], np.int64)
    packer = Packer(rows, np.array(ends[:-1], np.int64))
    assert unpacked_lists(packer.packed(0, len(rows)), [len(one) for one in lists]) == sorted_lists
    for one, begin, end in zip(sorted_lists, ends, ends[1:], strict=False):
        assert unpacked(packer.packed(begin, end)).tolist() == one


@given(st.binary(max_size=20))
def test_what_is_no_list_of_rows_is_refused(data: bytes) -> None:
    """T-O7: bytes that nobody wrote are an error, or rows; nothing else."""
    with contextlib.suppress(ValueError):
        assert all(isinstance(row, int) for row in unpacked(data).tolist())
