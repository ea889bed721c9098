"""A disk that fills up: people's writes are refused with a clear error, reads go on, and it recovers alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

from homeserver.runtime.disk import LOOK_EVERY_S
from homeserver.storage.database import Database
from homeserver.web.endpoint import Access, Endpoint
from tests.api.test_media import download, picture, upload
from tests.kit.clock import FakeClock
from tests.kit.server import RunningServer, running_server

GIB = 1024**3


class FakeDisk:
    """As much room as a test says."""

    def __init__(self) -> None:
        self.free = 10 * GIB
        self.asked: set[Path] = set()

    def free_bytes(self, folder: Path) -> int:
        self.asked.add(folder)
        return self.free


async def looked(server: RunningServer) -> None:
    await server.hansa.guard.look()


async def test_a_full_disk_leaves_the_server_readable(database_dsn: str) -> None:
    """T-O12"""
    disk = FakeDisk()
    async with running_server(database_dsn, disk=disk) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        event_id = await alice.send(room, "before")
        since = (await alice.sync())["next_batch"]
        disk.free = server.hansa.config.limits.free_disk_bytes_min - 1
        await looked(server)
        path = "/rooms/{}/send/m.room.message/{}"
        refused = await alice.put(path, room, "1", body={"body": "x"})
        assert "disk" in refused.refused(503, "M_UNKNOWN")["error"]
        assert int(refused.headers["Retry-After"]) > 0
        upload = await alice.request(
            "POST", "/_matrix/media/v3/upload", data=b"x", headers={"Content-Type": "text/plain"}
        )
        upload.refused(503, "M_UNKNOWN")
        for read in (
            await alice.get("/rooms/{}/event/{}", room, event_id),
            await alice.get("/rooms/{}/messages", room, dir="b"),
            await alice.get("/sync", since=since, timeout=0),
            await alice.post("/keys/query", body={"device_keys": {}}),
            await alice.get("/account/whoami"),
        ):
            assert read.status == 200
        assert (await server.login("alice")).token, "whoever wants to read may log in"
        disk.free = 10 * GIB
        await looked(server)
        assert (await alice.put(path, room, "1", body={"body": "x"})).status == 200


async def test_who_reads_fills_no_disk(database_dsn: str) -> None:
    """T-O12, T-K3: a picture that has yet to be made, or fetched, waits for room; what is there is given."""
    disk = FakeDisk()
    async with running_server(database_dsn, disk=disk) as server:
        alice = await server.user("alice")
        place = await upload(alice, picture(900, 900), "image/png")
        disk.free = server.hansa.config.limits.free_disk_bytes_min - 1
        await looked(server)
        path = "/_matrix/client/v1/media/thumbnail/{}/{}"
        (await alice.get(path, *place, width=32, height=32, method="crop")).refused(503, "M_UNKNOWN")
        assert (await download(alice, *place)).status == 200
        disk.free = 10 * GIB
        await looked(server)
        assert (await alice.get(path, *place, width=32, height=32, method="crop")).status == 200


async def test_the_disk_is_looked_at_by_itself(database_dsn: str) -> None:
    """T-O12: where files, media and the server's own database lie."""
    disk, clock = FakeDisk(), FakeClock()
    async with running_server(database_dsn, disk=disk, clock=clock) as server:
        config = server.hansa.config
        assert {config.data_dir, config.media.store_path} <= disk.asked
        disk.free = 1
        await server.hansa.guard.look()
        assert server.hansa.guard.is_low
        disk.free = int(config.limits.free_disk_bytes_min * 1.05)
        await server.hansa.guard.look()
        assert server.hansa.guard.is_low, "it doesn't flicker at the edge"
        disk.free = 10 * GIB
        while server.hansa.guard.is_low:
            clock.advance(LOOK_EVERY_S)
            await server.anonymous().get("/_matrix/client/versions")


def test_what_needs_room_on_the_disk() -> None:
    """T-O12: an endpoint that nobody thought of is refused, unless it only reads or is for administrators."""
    assert Endpoint("PUT", ("/x",), Access.USER, "").keeps_something
    assert not Endpoint("GET", ("/x",), Access.USER, "").keeps_something
    assert not Endpoint("DELETE", ("/x",), Access.ADMIN, "").keeps_something


FULL = """
    CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER no_room BEFORE INSERT ON events EXECUTE FUNCTION no_room();
"""


async def test_a_full_database_answers_at_once(database_dsn: str, database: Database) -> None:
    """T-O12: PostgreSQL's own error is a clean 503, not waited out as a restart is; it recovers alone."""
    async with running_server(database_dsn) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        event_id = await alice.send(room, "before")
        async with database.transaction() as tx:
            await tx.execute(FULL)
        started = server.hansa.world.clock.monotonic_s()
        answers = await asyncio.gather(
            *(alice.put("/rooms/{}/send/m.room.message/{}", room, f"full{n}", body={"n": n}) for n in range(5))
        )
        for answer in answers:
            assert "room" in answer.refused(503, "M_UNKNOWN")["error"]
        assert server.hansa.world.clock.monotonic_s() - started < 5
        assert (await alice.get("/rooms/{}/event/{}", room, event_id)).status == 200
        assert (await alice.sync())["rooms"]["join"][room]["timeline"]["events"][-1]["event_id"] == event_id
        await database.execute("DROP TRIGGER no_room ON events")
        path = "/rooms/{}/send/m.room.message/{}"
        ids = [(await alice.put(path, room, f"full{n}", body={"n": n})).ok()["event_id"] for n in range(5)]
        page = (await alice.get("/rooms/{}/messages", room, dir="b", limit=5)).ok()["chunk"]
        assert [event["event_id"] for event in reversed(page)] == ids, "each once, in order"
