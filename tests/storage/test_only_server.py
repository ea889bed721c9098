"""Two servers on one database: the second doesn't start, and who lost its hold stops."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from homeserver.core.errors import Unavailable
from homeserver.storage.migrate import WrongDatabase
from homeserver.storage.only_server import OnlyServer
from tests.kit.clock import HastyClock
from tests.kit.until import SOON_S

_CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'hansa, the only server' AND datname = current_database()
"""


async def cut(dsn: str) -> None:
    """Ends the connections that hold the database, as a restart does."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(_CUT)
    await connection.close()


async def test_the_second_server_does_not_start(database_dsn: str) -> None:
    """T-O21: two writers would each extend rooms from their own memory."""
    first = OnlyServer(database_dsn, HastyClock(), on_rival=lambda: None)
    second = OnlyServer(database_dsn, HastyClock(), on_rival=lambda: None)
    await first.take()
    with pytest.raises(WrongDatabase, match="another Hansa"):
        await second.take()
    await first.give_back()
    await second.take()
    await second.give_back()


async def test_a_lost_hold_is_taken_anew(database_dsn: str) -> None:
    """T-O21: after a restart of the database."""
    server = OnlyServer(database_dsn, HastyClock(), on_rival=lambda: None)
    await server.take()
    await cut(database_dsn)
    await server.keep()
    rival = OnlyServer(database_dsn, HastyClock(), on_rival=lambda: None)
    with pytest.raises(WrongDatabase):
        await rival.take()
    server.check()
    await server.give_back()


async def test_who_lost_it_to_another_stops(database_dsn: str) -> None:
    """T-O21"""
    told = asyncio.Event()
    server = OnlyServer(database_dsn, HastyClock(), on_rival=told.set)
    rival = OnlyServer(database_dsn, HastyClock(), on_rival=lambda: None)
    await server.take()
    await cut(database_dsn)
    await rival.take()
    keeping = asyncio.create_task(server.keep())
    async with asyncio.timeout(SOON_S):
        await told.wait()
    with pytest.raises(WrongDatabase):
        server.check()
    keeping.cancel()
    await rival.give_back()


async def test_no_answer_is_told_as_such() -> None:
    server = OnlyServer("postgresql:///hansa?host=%2Fnowhere", HastyClock(), on_rival=lambda: None)
    with pytest.raises(Unavailable):
        await server.take()
