"""That nobody waits for a second connection while they hold one."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit.server import running_server


async def test_who_holds_a_connection_asks_for_no_second_one(database_dsn: str) -> None:
    """T-E19: whichever way; on the transaction itself, after it, and in other tasks there is nothing against it."""
    async with running_server(database_dsn) as server:
        db = server.db
        async with db.transaction() as tx:
            for asked in (db.fetch, db.fetchrow, db.fetchval, db.execute):
                with pytest.raises(AssertionError, match="no second one"):
                    await asked("SELECT 1")
            with pytest.raises(AssertionError, match="no second one"):
                async with db.transaction():
                    pass
            with pytest.raises(AssertionError, match="no second one"):
                await server.hansa.rooms.rooms.rooms_of(server.hansa.people.notices.sender)
            assert await tx.fetchval("SELECT 1") == 1
            assert await asyncio.create_task(db.fetchval("SELECT 1")) == 1
        assert await db.fetchval("SELECT 1") == 1
