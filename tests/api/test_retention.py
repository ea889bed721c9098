"""Messages expire where a room or the server says so."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.rooms.retention import RetentionTimes
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until

DAY_S = 86_400


async def said(client: Client, room_id: str) -> list[str]:
    chunk = (await client.get("/rooms/{}/messages", room_id, dir="b", limit=50)).ok()["chunk"]
    return [event["content"].get("body") for event in chunk if event["type"] == "m.room.message"]


async def test_a_rooms_messages_expire(database_dsn: str) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock, toml="[rooms]\nretention = true") as server:
        alice = await server.user("alice")
        await receive_when_said(server)
        wish: dict[str, Any] = {"type": "m.room.retention", "content": {"max_lifetime": 3 * DAY_S * 1000}}
        room_id, other = await alice.create_room(initial_state=[wish], name="Town"), await alice.create_room()
        old = await alice.send(room_id, "old")
        for room in (room_id, other):
            await alice.send(room, "kept for some time")
        since = (await alice.sync())["next_batch"]
        clock.advance(2 * DAY_S)
        await alice.send(room_id, "new")
        assert len(await said(alice, room_id)) == 3
        clock.advance(2 * DAY_S)
        await alice.send(room_id, "newest")
        clock.advance(1)
        await until(has_looked_for(alice, room_id, clock, ["newest", "new"]))
        assert await said(alice, other) == ["kept for some time"]
        (await alice.get("/rooms/{}/event/{}", room_id, old)).refused(404, "M_NOT_FOUND")
        assert (await alice.get("/rooms/{}/state/m.room.name", room_id)).ok()["name"] == "Town"
        rows = await server.db.fetch("SELECT json FROM events")
        assert not any(b'"old"' in row["json"] for row in rows), "what was said is gone from storage"
        timeline = (await alice.sync(since=since))["rooms"]["join"][room_id]["timeline"]["events"]
        assert [event["content"]["body"] for event in timeline] == ["new", "newest"]


async def receive_when_said(server: RunningServer) -> None:
    """The database's clock doesn't follow the test's: as with events of the time before it was noted."""
    await server.db.execute("ALTER TABLE events ALTER COLUMN received_ms DROP DEFAULT")


async def test_a_claimed_time_keeps_nothing(database_dsn: str) -> None:
    """T-H10: neither the message that claims it, nor those that came after it."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock, toml="[rooms]\nretention = true") as server:
        alice = await server.user("alice")
        await receive_when_said(server)
        wish: dict[str, Any] = {"type": "m.room.retention", "content": {"max_lifetime": 3 * DAY_S * 1000}}
        room_id = await alice.create_room(initial_state=[wish])
        claiming = await alice.send(room_id, "of a time to come")
        await alice.send(room_id, "old")
        later = "UPDATE events SET received_ms = origin_server_ts, origin_server_ts = 2^52 WHERE event_id = $1"
        await server.db.execute(later, claiming)
        clock.advance(4 * DAY_S)
        await alice.send(room_id, "newest")
        await until(has_looked_for(alice, room_id, clock, ["newest"]))


def has_looked_for(client: Client, room_id: str, clock: FakeClock, wanted: list[str]) -> Any:
    async def has_looked() -> bool:
        clock.advance(301)
        return await said(client, room_id) == wanted

    return has_looked


@pytest.mark.parametrize(
    ("default", "least", "most", "wish", "expected"),
    [
        (0, 0, 0, None, 0),
        (0, 0, 0, 0, 0),
        (0, 0, 0, 7, 7),
        (9, 0, 0, None, 9),
        (9, 0, 0, 7, 7),
        (0, 10, 0, 7, 10),
        (0, 0, 5, 7, 5),
        (0, 0, 5, None, 5),
        (3, 10, 5, None, 3),
    ],
)
def test_how_long(default: int, least: int, most: int, wish: int | None, expected: int) -> None:
    assert RetentionTimes(default=default, least=least, most=most).of(wish) == expected
