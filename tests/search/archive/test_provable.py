"""The provable search on the archive: what the hot index is held to, with all, some or moving parts of it cold."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.archives import job
from tests.kit.search_histories import Players
from tests.kit.server import RunningServer
from tests.search.test_provable import AT_ONCE, STEPS, hold


@pytest.mark.slow
async def test_the_archive_finds_what_messages_show(server: RunningServer) -> None:
    """T-G8, T-G9: 100 histories that are cold, then 50 more whose events went to the archive while they were said."""
    players = Players(server, [await server.user(f"user{number}") for number in range(4)], 7)
    histories = await players.play(AT_ONCE, STEPS)
    assert (await job(server, "run"))["messages"] > 300
    assert await hold(players, histories) > 500
    others = Players(server, [await server.user(f"other{number}") for number in range(4)], 8)
    playing = asyncio.ensure_future(others.play(AT_ONCE // 2, STEPS))
    while not playing.done():
        assert "error" not in await job(server, "run")
        await job(server, "compact")
    later = await playing
    assert await hold(others, later) > 200
    assert await hold(players, histories) > 500


@pytest.mark.deep
async def test_two_thousand_cold_histories(server: RunningServer) -> None:
    """T-G8, T-G9: Parquet alone; minutes."""
    found = 0
    for batch in range(20):
        users = [await server.user(f"user{batch}x{number}") for number in range(4)]
        players = Players(server, users, 3_000 + batch)
        histories = await players.play(AT_ONCE, STEPS)
        assert "error" not in await job(server, "run")
        found += await hold(players, histories)
    assert found > 25_000
