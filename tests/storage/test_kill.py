"""`kill -9` at random moments under load: what was acknowledged is there, once."""

from __future__ import annotations

import random
from pathlib import Path

import aiohttp
import pytest

from tests.kit.acknowledged import Accounts, Backups, Files, Messages, OneTimeKeys, Receipts, ToDevice
from tests.kit.load import Kind, Load
from tests.kit.process import ServerProcess


def senders(count: int) -> list[Messages]:
    first = Messages("u0")
    return [first, *(Messages(f"u{number}", first) for number in range(1, count))]


async def kill_again_and_again(folder: Path, kinds: list[Kind], *, times: int, seed: int) -> None:
    chance = random.Random(seed)
    server = ServerProcess(folder)
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            load = Load(server, session, kinds)
            await load.begin()
            for _ in range(times):
                await server.run_for(0.1 + chance.random() * 0.6)
                await server.kill()
                await server.start()
                await load.check()
            await server.run_for(0.3)
            await load.end()
            for kind in kinds:
                if isinstance(kind, ToDevice):
                    await kind.finish()
            assert all(steps > times for steps in load.steps), load.steps
    finally:
        await server.stop()


def everything() -> list[Kind]:
    messages = Messages("u0")
    return [messages, Accounts(), OneTimeKeys(), ToDevice(), Receipts(messages), Files(), Backups()]


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_by_a_kill(folder: Path) -> None:
    """T-O6: an answer of success means durable. Events are there once, in their sender's order."""
    await kill_again_and_again(folder, [*senders(4)], times=3, seed=1)


@pytest.mark.slow
async def test_nothing_of_any_kind_is_lost_by_a_kill(folder: Path) -> None:
    """T-O6, T-F10: accounts, keys (none handed out twice), messages to devices, receipts, files, backups."""
    await kill_again_and_again(folder, everything(), times=3, seed=3)


@pytest.mark.deep
async def test_nothing_acknowledged_is_lost_by_sixty_kills(folder: Path) -> None:
    """T-O6: the same, for long."""
    await kill_again_and_again(folder, [*senders(4)], times=60, seed=2)


@pytest.mark.deep
async def test_nothing_of_any_kind_is_lost_by_thirty_kills(folder: Path) -> None:
    """T-O6, T-F10: the same, for long."""
    await kill_again_and_again(folder, everything(), times=30, seed=4)
