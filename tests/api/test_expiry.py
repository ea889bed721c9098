"""Messages that go by themselves: at a time, or after they were read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from homeserver.core.errors import NotFound
from homeserver.core.identifiers import EventId
from homeserver.rooms.expiry import AFTER_READ_KEY, AFTER_READ_MS_MAX, AT_KEY
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import a_moment, until

ON = "[rooms]\nexpiring_messages = true\n"


async def kept(server: RunningServer, event_id: str) -> dict[str, Any]:
    pdu: dict[str, Any] = json.loads(await server.db.fetchval("SELECT json FROM events WHERE event_id = $1", event_id))
    return dict(pdu["content"])


def is_gone(server: RunningServer, clock: FakeClock, event_id: str) -> Any:
    async def gone() -> bool:
        clock.advance(1.1)
        return await kept(server, event_id) == {}

    return gone


async def pass_time(clock: FakeClock, seconds: int) -> None:
    for _ in range(seconds):
        clock.advance(1)
        await a_moment()


async def read(client: Client, room_id: str, event_id: str, kind: str = "m.read") -> None:
    (await client.post("/rooms/{}/receipt/{}/{}", room_id, kind, event_id)).ok()


async def test_at_a_time(database_dsn: str) -> None:
    """T-C13, T-G11: gone for clients by a redaction, for searches, from the database and with its file."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock, toml=ON) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        await bob.join(room_id)
        upload = await alice.request("POST", "/_matrix/media/v3/upload", data=b"a file", query={"filename": "a.txt"})
        uri = upload.ok()["content_uri"]
        event_id = await alice.send(room_id, "shortlived", url=uri, **{AT_KEY: clock.now_ms() + 5_000})
        stays = await alice.send(room_id, "longlived")
        since = (await bob.sync())["next_batch"]
        await pass_time(clock, 2)
        assert (await bob.get("/rooms/{}/event/{}", room_id, event_id)).ok()["content"]["body"] == "shortlived"
        await until(is_gone(server, clock, event_id))
        shown = (await bob.get("/rooms/{}/event/{}", room_id, event_id)).ok()
        assert shown["content"] == {} and shown["unsigned"]["redacted_because"]["sender"] == alice.user_id
        timeline = (await bob.sync(since=since))["rooms"]["join"][room_id]["timeline"]["events"]
        assert [event["type"] for event in timeline] == ["m.room.redaction"]
        assert (await kept(server, stays))["body"] == "longlived"
        wanted = {"search_categories": {"room_events": {"search_term": "shortlived", "keys": ["content.body"]}}}
        assert (await bob.post("/search", body=wanted)).ok()["search_categories"]["room_events"]["count"] == 0

        async def has_no_file() -> bool:
            clock.advance(61)
            return bool(await server.db.fetchval("SELECT count(*) FROM media") == 0)

        await until(has_no_file)
        assert await server.db.fetchval("SELECT count(*) FROM event_expiries") == 0


async def test_after_reading(database_dsn: str) -> None:
    """T-F15: the sender's own receipt and private ones begin nothing; a public one of another does."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock, toml=ON) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        await bob.join(room_id)
        event_id = await alice.send(room_id, "burn after reading", **{AFTER_READ_KEY: 3_000})
        later = await alice.send(room_id, "later", **{AFTER_READ_KEY: 3_000})
        await read(alice, room_id, later)
        await read(bob, room_id, later, "m.read.private")
        await pass_time(clock, 6)
        assert (await kept(server, event_id))["body"] == "burn after reading"
        await read(bob, room_id, event_id)
        await pass_time(clock, 1)
        assert (await kept(server, event_id))["body"] == "burn after reading"
        await until(is_gone(server, clock, event_id))
        assert (await kept(server, later))["body"] == "later"


async def test_over_a_restart(database_dsn: str) -> None:
    """What was wished and what was read are known after a restart."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock, toml=ON) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        await bob.join(room_id)
        at = await alice.send(room_id, "at", **{AT_KEY: clock.now_ms() + 60_000})
        burning = await alice.send(room_id, "burning", **{AFTER_READ_KEY: 60_000})
        await read(bob, room_id, burning)
    async with running_server(database_dsn, clock=clock, toml=ON) as server:
        await pass_time(clock, 2)
        assert (await kept(server, at))["body"] == "at"
        clock.advance(60)
        await until(is_gone(server, clock, at))
        await until(is_gone(server, clock, burning))


async def test_only_where_the_server_lets_it(database_dsn: str) -> None:
    """Off unless an operator says so; a rule may have a message expire all the same, and a hold keeps it."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        alice = await server.user("alice")
        room_id = await alice.create_room()
        event_id = await alice.send(room_id, "stays", **{AT_KEY: clock.now_ms() + 1_000})
        ruled, held = await alice.send(room_id, "ruled"), await alice.send(room_id, "held")
        expiry = server.hansa.rooms.expiry
        for wanted in (ruled, held):
            await expiry.expire_event_at(EventId(wanted), clock.now_ms() + 1_000)
        sql = "INSERT INTO legal_holds VALUES ('a', 'room', $1, 'x', 'x', 0)"
        await server.db.execute(sql, room_id)
        await pass_time(clock, 4)
        assert (await kept(server, held))["body"] == "held"
        await server.db.execute("UPDATE legal_holds SET released_ts = 1")
        await until(is_gone(server, clock, ruled))
        await until(is_gone(server, clock, held))
        assert (await kept(server, event_id))["body"] == "stays"
        create = await server.db.fetchval("SELECT event_id FROM events ORDER BY event_nid LIMIT 1")
        for wanted in (create, "$nowhere"):
            with pytest.raises(NotFound):
                await expiry.expire_event_at(EventId(wanted), 0)


@pytest.mark.parametrize(
    "wish",
    [
        {AT_KEY: "soon"},
        {AT_KEY: -1},
        {AT_KEY: True},
        {AFTER_READ_KEY: 0},
        {AFTER_READ_KEY: AFTER_READ_MS_MAX + 1},
        {AFTER_READ_KEY: [1]},
    ],
)
async def test_nonsense_is_no_wish(database_dsn: str, wish: dict[str, Any]) -> None:
    async with running_server(database_dsn, toml=ON) as server:
        alice = await server.user("alice")
        await alice.send(await alice.create_room(), "stays", **wish)
        await server.hansa.rooms.expiry.run()
        assert await server.db.fetchval("SELECT count(*) FROM event_expiries") == 0
