"""Who waits for whom: in one order, and where two wait for each other all the same, one of them goes on."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from homeserver.core.errors import Unavailable
from homeserver.core.events import Draft
from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage.database import Database
from tests.kit.server import running_server


@pytest.mark.slow
async def test_of_two_that_wait_for_each_other_one_goes_on(database: Database) -> None:
    """T-E19: the other is told to try again, as when the database is away, and not that something is broken."""
    await database.execute("CREATE TABLE pair (name text PRIMARY KEY, n integer)")
    await database.execute("INSERT INTO pair VALUES ('a', 0), ('b', 0)")
    both_have_one = asyncio.Barrier(2)

    async def take(first: str, second: str) -> None:
        async with database.transaction() as tx:
            await tx.execute("UPDATE pair SET n = n + 1 WHERE name = $1", first)
            await both_have_one.wait()
            await tx.execute("UPDATE pair SET n = n + 1 WHERE name = $1", second)

    ended = await asyncio.gather(take("a", "b"), take("b", "a"), return_exceptions=True)
    assert [type(one) for one in ended if one is not None] == [Unavailable]
    assert await database.fetchval("SELECT array_agg(n) FROM pair") == [1, 1]


async def test_who_has_a_rooms_turn_waits_for_no_turn(database_dsn: str) -> None:
    """T-E19: neither for that of the same room, which would never come, nor for another's; it shows at once."""
    async with running_server(database_dsn) as server:
        alice = await server.user("alice")
        rooms = [RoomId(await alice.create_room()) for _ in range(2)]
        writer = server.hansa.rooms.writer
        draft = Draft(type="x", sender=UserId(str(alice.user_id)), content={}, origin_server_ts=1)
        for room_id in rooms:
            with pytest.raises(AssertionError, match="turn"):
                async with asyncio.timeout(5):
                    await writer.exclusively(rooms[0], partial(writer.send, room_id, draft))
        await alice.send(rooms[0], "goes on")
