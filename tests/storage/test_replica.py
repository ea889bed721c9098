"""A replica of the database: it is never taken for the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from homeserver.core.errors import Unavailable
from homeserver.runtime.clock import SystemClock
from homeserver.storage.database import Database
from homeserver.storage.embedded import EmbeddedPostgres
from homeserver.storage.migrate import migrate
from homeserver.storage.only_server import OnlyServer
from tests.kit.clock import HastyClock

pytestmark = pytest.mark.slow


@pytest.fixture
async def replica(folder: Path) -> AsyncIterator[str]:
    """The DSN of one that follows nobody, and answers as any other."""
    server = EmbeddedPostgres(folder / "postgres", SystemClock())
    db = await Database.connect(await server.start())
    await migrate(db)
    await db.close()
    await server.stop()
    (folder / "postgres" / "standby.signal").touch()
    try:
        yield await server.start()
    finally:
        await server.stop()


async def test_nobody_reads_from_a_replica(replica: str) -> None:
    """T-O4: it may lag behind what was acknowledged, and its lock holds off nobody."""
    plain = await asyncpg.connect(replica)
    assert await plain.fetchval("SELECT pg_is_in_recovery()") is True
    assert await plain.fetchval("SELECT count(*) FROM users") == 0
    await plain.close()
    with pytest.raises(Unavailable, match="only a replica"):
        await Database.connect(replica)
    with pytest.raises(Unavailable, match="only a replica"):
        await OnlyServer(replica, HastyClock(), on_rival=lambda: None).take()
