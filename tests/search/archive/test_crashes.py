"""A crash at any step of archiving leaves the old or the new: every message is found, once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeserver.runtime.clock import SystemClock
from search.archive import catalog, moving
from search.archive.keeping import Keeper
from search.archive.moving import Mover
from search.archive.tiers import HotTiers
from tests.kit.archives import bodies, job, objects, search
from tests.kit.server import Client, config_for_tests, running_server
from tests.kit.until import SOON_S

pytestmark = pytest.mark.slow


class Crash(BaseException):
    """No handler of errors sees it, as none sees a power failure."""


async def _settled(client: Client, term: str) -> list[str]:
    """What is found once what was cut short is ended."""
    async with asyncio.timeout(SOON_S):
        while "org.hansa.partial" in await search(client, term):
            await SystemClock().sleep(0.1)
    return await bodies(client, term)


@pytest.mark.parametrize("step", ["_put", "_read_back", "_commit", "let_go", "set_cold", "in let_go"])
async def test_a_crash_loses_nothing(
    database_dsn: str, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-O7: in each step of the first archiving, then again of one that takes in later messages."""
    config = replace(config_for_tests(tmp_path), data_dir=tmp_path)
    monkeypatch.setattr(moving, "STEP", 3)
    texts: list[str] = []
    room, calls = "", 0

    async def crash(*_: Any, **__: Any) -> None:
        raise Crash

    for number in range(2):
        async with running_server(database_dsn, config=config) as server:
            alice = await (server.login("alice") if number else server.user("alice"))
            room = room or await alice.create_room()
            assert await _settled(alice, "harbour") == texts[::-1] or not texts
            for at in range(7):
                texts.append(f"harbour {number} {at}")
                await alice.send(room, texts[-1])
            assert await bodies(alice, "harbour") == texts[::-1]
            keeper = _keeper(server)
            with monkeypatch.context() as patch:
                if step == "set_cold":
                    patch.setattr(catalog, "set_cold", crash)
                elif step == "in let_go":
                    calls = 0
                    whole = HotTiers.let_go

                    async def second(self: Any, documents: Any, whole: Any = whole) -> None:
                        nonlocal calls
                        calls += 1
                        if calls == 2:
                            raise Crash
                        await whole(self, documents)

                    patch.setattr(HotTiers, "let_go", second)
                else:
                    patch.setattr(Mover, step, crash)
                with pytest.raises(Crash):
                    await keeper.run(is_forced=True)
    async with running_server(database_dsn, config=config) as server:
        alice = await server.login("alice")
        assert await _settled(alice, "harbour") == texts[::-1]
        assert (await job(server, "run"))["messages"] == 14
        assert await bodies(alice, "harbour") == texts[::-1]
        assert len(objects(tmp_path / "archive", ".parquet")) >= 1
        assert await server.db.fetchval("SELECT count(*) FROM archive_files WHERE is_cold") == 1


def _keeper(server: Any) -> Keeper:
    keeper = server.hansa.base.keepers["archive"].keeper
    assert isinstance(keeper, Keeper)
    return keeper


async def test_objects_of_a_crash_are_deleted(
    database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-O7: what never came to count takes no room for ever."""
    monkeypatch.setattr(moving, "UNFINISHED_MS", -1)
    config = replace(config_for_tests(tmp_path), data_dir=tmp_path)
    async with running_server(database_dsn, config=config) as server:
        alice = await server.user("alice")
        await alice.send(await alice.create_room(), "harbour")
        await bodies(alice, "harbour")
        with monkeypatch.context() as patch:

            async def crash(*_: Any, **__: Any) -> None:
                raise Crash

            patch.setattr(Mover, "_commit", crash)
            with pytest.raises(Crash):
                await _keeper(server).run(is_forced=True)
        assert len(objects(tmp_path / "archive", ".parquet")) == 1
        await _keeper(server).tidy()
        assert objects(tmp_path / "archive", ".parquet") == []
        assert await bodies(alice, "harbour") == ["harbour"]
