"""A run of many files: while one is checked and let go, the next is made, in processes that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from search.archive import making
from search.archive.keeping import DAY_MS, Keeper
from search.archive.moving import Mover, NotWhole
from tests.kit.archives import bodies
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import SOON_S

pytestmark = pytest.mark.slow

MONTHS = 4
OLDER = "UPDATE events SET received_ms = received_ms - $2 WHERE event_id = $1"


@pytest.fixture
async def server(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn, toml=f'[archive]\nstore_path = "{tmp_path}/archive"\n') as running:
        yield running


async def _said(server: RunningServer, client: Client) -> list[str]:
    """Messages of so many months, in the order in which they are found."""
    room = await client.create_room()
    for month in range(MONTHS):
        event_id = await client.send(room, f"harbour {month}")
        assert await bodies(client, f"harbour {month}")
        await server.db.execute(OLDER, event_id, 62 * DAY_MS * (MONTHS - month))
    return await bodies(client, "harbour")


def _keeper(server: RunningServer) -> Keeper:
    keeper = server.hansa.base.keepers["archive"].keeper  # type: ignore[attr-defined]
    assert isinstance(keeper, Keeper)
    return keeper


async def test_the_next_file_is_made_meanwhile(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await server.user("alice")
    said = await _said(server, alice)
    commits, is_made, let_go, commit = 0, asyncio.Event(), Mover.let_go, Mover._commit

    async def counted(*given: Any) -> Any:
        nonlocal commits
        commits += 1
        if commits == 2:
            is_made.set()
        return await commit(*given)

    async def waiting(*given: Any) -> None:
        async with asyncio.timeout(SOON_S):
            await is_made.wait()
        await let_go(*given)

    monkeypatch.setattr(Mover, "_commit", counted)
    monkeypatch.setattr(Mover, "let_go", waiting)
    moved = await _keeper(server).run(is_forced=True)
    assert sum(moved.values()) == MONTHS
    assert await bodies(alice, "harbour") == said


async def test_processes_are_kept(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as files are made at once, whatever their number; none is left."""
    alice = await server.user("alice")
    said = await _said(server, alice)
    begun: list[Any] = []
    begin = making.Makers._begun

    def counted(makers: making.Makers, events: int) -> Any:
        begun.append(begin(makers, events))
        return begun[-1]

    monkeypatch.setattr(making, "PROCESS_FROM", 1)
    monkeypatch.setattr(making.Makers, "_begun", counted)
    assert sum((await _keeper(server).run(is_forced=True)).values()) == MONTHS
    assert 1 <= len(begun) <= 2
    assert all(executor._shutdown_thread for executor in begun)
    assert await bodies(alice, "harbour") == said


async def test_what_one_file_fails_at(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-O7: the other one that is under way is the old or the new; what is left is archived by the next run."""
    alice = await server.user("alice")
    said = await _said(server, alice)
    puts, put = 0, Mover._put

    async def failing(*given: Any) -> None:
        nonlocal puts
        puts += 1
        if puts == 4:
            raise NotWhole("the store took something else")
        await put(*given)

    with monkeypatch.context() as patch:
        patch.setattr(Mover, "_put", failing)
        with pytest.raises(NotWhole):
            await _keeper(server).run(is_forced=True)
    await _keeper(server).finish()
    assert await bodies(alice, "harbour") == said
    await _keeper(server).run(is_forced=True)
    assert await server.db.fetchval("SELECT count(*) FROM archive_files WHERE is_cold") == MONTHS
    assert await bodies(alice, "harbour") == said
