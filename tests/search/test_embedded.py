"""The embedded index: it finds what a look at every document finds, and survives what happens to folders."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.hot import embedded
from search.hot.embedded import EmbeddedIndex
from search.tiers import FIRST_PLACE, LAST_PLACE, All, Document, Gone, Question, Term
from tests.kit import search_oracle as oracle

ANY = Question(
    query=All(()),
    scope={nid: [(FIRST_PLACE, LAST_PLACE)] for nid in (1, 2, 3)},
    keys=frozenset(oracle.KEYS),
    by_rank=False,
    upto=2**62,
    limit=100,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents=oracle.documents(),
    questions=st.lists(oracle.questions(), min_size=1, max_size=8),
    is_reversed=st.booleans(),
    by_interval=st.sampled_from((0, 100)),
    ties=st.sampled_from((0, embedded.TIES)),
    through=st.sampled_from((1, embedded.GONE_THROUGH_MAX)),
)
def test_it_finds_what_the_oracle_finds(
    tmp_path: Path,
    documents: Sequence[Document],
    questions: list[Question],
    is_reversed: bool,
    by_interval: int,
    ties: int,
    through: int,
) -> None:
    """T-G8: page by page, in the order that all tiers share, with exact counts; whichever way it takes."""

    async def scene() -> None:
        index = EmbeddedIndex(tmp_path / "index")
        await index.clear()
        await index.write(list(reversed(documents)) if is_reversed else documents, [])
        for question in questions:
            following: Question | None = question
            while following is not None:
                found, expected = await index.find(following), oracle.find(documents, following)
                assert found == expected
                is_full = len(found.hits) == following.limit
                following = replace(following, after=found.hits[-1].cursor) if is_full else None
        await index.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "ROOMS_BY_INTERVAL_MAX", by_interval)
        patch.setattr(embedded, "TIES", ties)
        patch.setattr(embedded, "GONE_THROUGH_MAX", through)
        asyncio.run(scene())


def document(nid: int, version: int, *tokens: str) -> Document:
    return Document(
        event_nid=nid,
        room_nid=1,
        place=nid,
        source_nid=nid,
        version=version,
        received_ms=nid,
        origin_server_ts=nid,
        event_id=f"${nid}",
        room_id="!one:a",
        sender="@alice:a",
        type="m.room.message",
        key="content.body",
        tokens=tokens,
    )


async def found(index: EmbeddedIndex, token: str) -> list[int]:
    return [hit.event_nid for hit in (await index.find(replace(ANY, query=Term(token)))).hits]


async def test_nothing_is_replaced_by_what_is_older(tmp_path: Path) -> None:
    """T-G11: a late word about an event brings nothing back."""
    index = EmbeddedIndex(tmp_path)
    assert not await index.open()
    await index.write([document(1, 5, "new")], [])
    await index.write([document(1, 4, "old")], [])
    assert (await found(index, "new"), await found(index, "old")) == ([1], [])
    await index.write([document(1, 5, "new")], [])
    assert await found(index, "new") == [1]
    await index.write([], [Gone(1, 1, 6, "$1", 1), Gone(2, 1, 6, "$2", 2)])
    await index.write([document(1, 5, "new"), document(2, 5, "new")], [])
    assert await found(index, "new") == [] and await index.count() == 0
    await index.write([document(3, 5, "new")], [])
    await index.forget_rooms([1])
    assert await found(index, "new") == [] and await index.count() == 0
    await index.close()


async def test_what_is_written_stays(tmp_path: Path) -> None:
    index = EmbeddedIndex(tmp_path)
    assert not await index.open()
    await index.adopt()
    await index.write([document(1, 5, "word")], [])
    await index.close()
    assert await index.open()
    assert await found(index, "word") == [1]
    await index.close()


@pytest.mark.parametrize("damage", ["mark", "meta", "all", "version", "segment"])
async def test_a_damaged_folder_is_made_anew(tmp_path: Path, damage: str) -> None:
    """T-O7"""
    index = EmbeddedIndex(tmp_path)
    assert not await index.open()
    await index.adopt()
    await index.write([document(1, 5, "word")], [])
    await index.close()
    match damage:
        case "mark":
            (tmp_path / "filled").unlink()
        case "version":
            (tmp_path / "filled").write_text("0.0")
        case "meta":
            (tmp_path / "meta.json").write_bytes(b"{")
        case "segment":
            for path in tmp_path.glob("*.fast"):
                path.write_bytes(b"")
        case _:
            for path in tmp_path.iterdir():
                path.unlink()
    assert not await index.open()
    assert await found(index, "word") == []
    await index.write([document(2, 5, "word")], [])
    assert await found(index, "word") == [2]
    await index.close()


async def test_an_index_that_was_never_filled_is_no_index(tmp_path: Path) -> None:
    """A crash between making it and forgetting how far the last one came loses nothing."""
    index = EmbeddedIndex(tmp_path)
    assert not await index.open()
    await index.write([document(1, 5, "word")], [])
    await index.close()
    assert not await index.open()
    await index.close()


async def test_a_server_that_stops_while_it_opens_leaves_the_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-O19: what was begun has ended when the server has: nothing is written behind its back."""
    begun, may_go_on, make = threading.Event(), threading.Event(), EmbeddedIndex._make

    def slowly(self: EmbeddedIndex) -> None:
        begun.set()
        may_go_on.wait(60)
        make(self)

    monkeypatch.setattr(EmbeddedIndex, "_make", slowly)
    index = EmbeddedIndex(tmp_path / "index")
    opening = asyncio.create_task(index.open())
    assert await asyncio.to_thread(begun.wait, 60)
    opening.cancel()
    asyncio.get_running_loop().call_later(0.05, may_go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert (tmp_path / "index").is_dir()
    await index.close()
