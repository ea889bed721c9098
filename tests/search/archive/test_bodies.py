"""Bodies that left the database: every way to read serves them from the archive, and nothing of them is ever lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from homeserver.runtime.clock import Clock
from search.archive import bodies as moved
from search.archive import catalog
from search.archive.erasing import ArchiveEraser
from tests.kit.archives import bodies, job, objects, search
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until

pytestmark = pytest.mark.slow

EMPTY = "SELECT count(*) FROM events WHERE json = ''"
WITH_CANARY = "SELECT count(*) FROM events WHERE position('canarybird'::bytea IN json) > 0"


class Place:
    """A server that is started again and again on the same database and archive."""

    def __init__(self, dsn: str, folder: Path, toml: str = "", store: str = "") -> None:
        self._dsn = dsn
        self.folder = folder
        store = store or f'store_path = "{folder}/archive"'
        self._toml = f"{toml}\n[archive]\nbodies_after_days = 0\n{store}\n"

    @asynccontextmanager
    async def running(self, clock: Clock | None = None) -> AsyncIterator[RunningServer]:
        """With nothing in memory from before."""
        async with running_server(self._dsn, toml=self._toml, clock=clock) as server:
            yield server

    async def said(self, count: int = 6) -> tuple[str, list[str]]:
        """A room in which Alice says "harbour 0" and so on; all bodies but the last are in the archive alone."""
        async with self.running() as server:
            alice = await server.user("alice")
            room = await alice.create_room()
            ids = [await alice.send(room, f"harbour {number}") for number in range(count)]
            assert (await job(server, "run"))["messages"] == count
            assert await server.db.fetchval(EMPTY) == count - 1
        return room, ids


@pytest.fixture
def place(database_dsn: str, tmp_path: Path) -> Place:
    return Place(database_dsn, tmp_path)


async def read(client: Client, room: str) -> list[str]:
    """The bodies of a room's messages, the oldest first."""
    page = (await client.get("/rooms/{}/messages", room, dir="f", limit="100")).ok()
    return [one["content"].get("body", "") for one in page["chunk"] if one["type"] == "m.room.message"]


def texts(count: int) -> list[str]:
    return [f"harbour {number}" for number in range(count)]


async def test_clients_read_them_as_before(place: Place) -> None:
    room, ids = await place.said()
    async with place.running() as server:
        alice = await server.login("alice")
        assert await read(alice, room) == texts(6)
        assert (await alice.get("/rooms/{}/event/{}", room, ids[2])).ok()["content"]["body"] == "harbour 2"
        context = (await alice.get("/rooms/{}/context/{}", room, ids[1], limit="4")).ok()
        assert context["event"]["content"]["body"] == "harbour 1"
        assert context["events_after"][0]["content"]["body"] == "harbour 2"
        joined = (await alice.get("/sync")).ok()["rooms"]["join"][room]
        shown = [one["content"]["body"] for one in joined["timeline"]["events"] if one["type"] == "m.room.message"]
        assert shown == texts(6)
        assert await bodies(alice, "harbour") == texts(6)[::-1]
        assert await server.db.fetchval(EMPTY + " AND key_nid IS NOT NULL") == 0
        assert await server.db.fetchval(EMPTY) == 5


async def test_nothing_leaves_unless_told_to(database_dsn: str, tmp_path: Path) -> None:
    async with running_server(database_dsn, toml=f'[archive]\nstore_path = "{tmp_path}/archive"\n') as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        for text in texts(3):
            await alice.send(room, text)
        assert (await job(server, "run"))["messages"] == 3
        assert await server.db.fetchval(EMPTY) == 0


async def test_a_redaction_reaches_them(place: Place) -> None:
    """T-G23: gone for everybody at once, then from the database and from every byte of the archive."""
    async with place.running() as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        gone = await alice.send(room, "canarybird")
        for text in texts(3):
            await alice.send(room, text)
        await job(server, "run")
        assert await server.db.fetchval(WITH_CANARY) == 0
    async with place.running() as server:
        alice = await server.login("alice")
        (await alice.put("/rooms/{}/redact/{}/{}", room, gone, "t1")).ok()
        assert (await alice.get("/rooms/{}/event/{}", room, gone)).ok()["content"] == {}
        assert await bodies(alice, "canarybird") == []
        assert (await job(server, "compact"))["files"] == 1
        assert not any(b"canarybird" in path.read_bytes() for path in objects(place.folder, ".terms"))
        # Until it is erased for good the database keeps what was redacted, as it does of any other.
        assert await server.db.fetchval(WITH_CANARY) == 1
        await server.db.execute("UPDATE event_erasures SET redacted_ts = 0")
    async with place.running() as server:
        alice = await server.login("alice")

        async def is_erased() -> bool:
            return bool(await server.db.fetchval(WITH_CANARY) == 0)

        await until(is_erased)
        assert await read(alice, room) == ["", *texts(3)]
        assert (await alice.get("/rooms/{}/event/{}", room, gone)).ok()["content"] == {}


async def test_an_erasure_before_the_compaction(place: Place) -> None:
    """T-G23: what is left of a redacted message is made of what the archive has."""
    room, ids = await place.said()
    async with place.running() as server:
        alice = await server.login("alice")
        (await alice.put("/rooms/{}/redact/{}/{}", room, ids[1], "t1")).ok()
        await server.db.execute("UPDATE event_erasures SET redacted_ts = 0")
    async with place.running() as server:
        alice = await server.login("alice")

        async def is_erased() -> bool:
            return bool(await server.db.fetchval("SELECT count(*) FROM event_erasures") == 0)

        await until(is_erased)
        assert await server.db.fetchval("SELECT json <> '' FROM events WHERE event_id = $1", ids[1])
        assert len(await bodies(alice, "harbour")) == 5
        await job(server, "compact")
        assert await read(alice, room) == ["harbour 0", "", *texts(6)[2:]]


async def test_a_file_made_anew_has_them_again(place: Place) -> None:
    """An edit hides its message in the file; the next file has it, though the database hasn't."""
    room, ids = await place.said()
    async with place.running() as server:
        alice = await server.login("alice")
        relation = {"rel_type": "m.replace", "event_id": ids[1]}
        new = {"msgtype": "m.text", "body": "pier"}
        await alice.send(room, "* pier", **{"m.relates_to": relation, "m.new_content": new})
        assert await bodies(alice, "pier")
        assert (await job(server, "compact"))["files"] == 1
        assert await server.db.fetchval(EMPTY) == 5
    async with place.running() as server:
        alice = await server.login("alice")
        assert (await read(alice, room))[:6] == texts(6)
        assert len(await bodies(alice, "harbour")) == 5 and len(await bodies(alice, "pier")) == 1


async def test_a_month_that_comes_back_brings_them(place: Place) -> None:
    room, _ = await place.said()
    async with place.running() as server:
        month = await server.db.fetchval("SELECT month FROM archive_files")
        assert (await job(server, "restore", month))["messages"] == 6
        assert await server.db.fetchval(EMPTY) == 0
        assert (
            objects(place.folder, ".parquet") == []
            or await server.db.fetchval("SELECT count(*) FROM archive_files") == 0
        )
    async with place.running() as server:
        assert await read(await server.login("alice"), room) == texts(6)


@pytest.mark.parametrize("harm", ["flipped", "missing"])
async def test_a_damaged_file_loses_no_other_event(place: Place, harm: str) -> None:
    """T-O7: what can't be read is left out or not found, never wrong, never a fault; the file stays."""
    room, ids = await place.said()
    (path,) = objects(place.folder, ".parquet")
    whole = path.read_bytes()
    if harm == "flipped":
        path.write_bytes(bytes(one ^ 0xFF for one in whole))
    else:
        path.unlink()
    async with place.running() as server:
        alice = await server.login("alice")
        assert await read(alice, room) == ["harbour 5"]
        assert (await alice.get("/rooms/{}/event/{}", room, ids[1])).status == 404
        assert (await alice.get("/rooms/{}/context/{}", room, ids[1])).status == 404
        context = (await alice.get("/rooms/{}/context/{}", room, ids[5])).ok()
        assert context["event"]["content"]["body"] == "harbour 5"
        assert (await search(alice, "harbour")).get("org.hansa.partial")
        verdict = await job(server, "verify")
        assert verdict["lost"] and not verdict["repaired"]
        assert await server.db.fetchval(EMPTY) == 5
        path.write_bytes(whole)
        assert (await job(server, "verify"))["lost"] == []
        assert await read(alice, room) == texts(6)
        assert await bodies(alice, "harbour") == texts(6)[::-1]


async def test_a_lost_index_of_words_loses_nothing(place: Place) -> None:
    """T-O7: the events are read from the file itself, and both are made anew."""
    room, _ = await place.said()
    objects(place.folder, ".terms")[0].unlink()
    async with place.running() as server:
        alice = await server.login("alice")
        assert (await job(server, "verify"))["lost"] == []
        assert await read(alice, room) == texts(6)
        assert await bodies(alice, "harbour") == texts(6)[::-1]


class Crash(BaseException):
    """No handler of errors sees it, as none sees a power failure."""


@pytest.mark.parametrize("step", ["add_bodies", "set_bodies_moved"])
async def test_a_crash_between_the_copy_and_the_deletion(
    place: Place, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-O7: a body is in the database, or in a file that counts; what was begun is ended by the next run."""
    monkeypatch.setattr(moved, "STEP", 2)
    calls, original = 0, getattr(catalog, step)

    async def crash(*given: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2 or step == "set_bodies_moved":
            raise Crash
        await original(*given)

    async with place.running() as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        for text in texts(6):
            await alice.send(room, text)
        assert len(await bodies(alice, "harbour")) == 6
        eraser = server.hansa.base.keepers["archive"]
        assert isinstance(eraser, ArchiveEraser)
        with monkeypatch.context() as patch:
            patch.setattr(catalog, step, crash)
            with pytest.raises(Crash):
                await eraser.keeper.run(is_forced=True)
        assert await server.db.fetchval(EMPTY) == (2 if step == "add_bodies" else 5)
    async with place.running() as server:
        alice = await server.login("alice")
        assert await read(alice, room) == texts(6)
        await job(server, "run")
        assert await server.db.fetchval(EMPTY) == 5
    async with place.running() as server:
        assert await read(await server.login("alice"), room) == texts(6)


async def test_an_event_that_isnt_what_its_id_says_is_never_shown(place: Place) -> None:
    """T-O7: bytes that pass for the file's are compared with the event's hash."""
    room, ids = await place.said()
    async with place.running() as server:
        first, second = ids[1], ids[2]
        swap = "UPDATE events SET event_nid = $2 WHERE event_id = $1"
        nids = [await server.db.fetchval("SELECT event_nid FROM events WHERE event_id = $1", one) for one in ids[1:3]]
        await server.db.execute(swap, first, -1)
        await server.db.execute(swap, second, nids[0])
        await server.db.execute(swap, first, nids[1])
    async with place.running() as server:
        alice = await server.login("alice")
        assert (await alice.get("/rooms/{}/event/{}", room, first)).status == 404
        assert (await alice.get("/rooms/{}/event/{}", room, second)).status == 404
