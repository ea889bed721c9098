"""What operators do to rooms and users whose messages lie in the archive alone: looked at, taken out, held, erased."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.parquet as pq
import pytest

from search.archive.erasing import ArchiveEraser
from search.archive.keeping import Keeper
from tests.admin.people import owner_of
from tests.admin.test_exports import bodies_of, exported, taken, verified
from tests.admin.test_legal_holds import HOLDS, hold
from tests.admin.test_media import ADMIN, PNG, uploaded
from tests.admin.test_user_erasure import ERASURES, erased, files_with, scrubbed
from tests.kit.archives import bodies, job, objects
from tests.kit.clock import FakeClock
from tests.kit.elasticsearch import ElasticsearchServer
from tests.kit.hdfs import USER, running_hdfs
from tests.kit.postgres import PostgresForTests
from tests.kit.s3 import ACCESS, BUCKET, SECRET, s3_store
from tests.kit.server import RunningServer, config_for_tests, running_server
from tests.kit.until import until
from tests.search.archive.test_bodies import EMPTY, WITH_CANARY, Place, place, read, texts

__all__ = ["place"]
pytestmark = pytest.mark.slow

CANARY = "xylophonquark"
DAY_MS = 86_400_000
SCRIPT = Path(__file__).parents[3] / "docs" / "verify_receipt.py"


async def _count(server: RunningServer, sql: str) -> int:
    return int(await server.db.fetchval(sql))


def _keeper(server: RunningServer) -> Keeper:
    eraser = server.hansa.base.keepers["archive"]
    assert isinstance(eraser, ArchiveEraser)
    return eraser.keeper


async def test_media_of_a_room_are_found(place: Place) -> None:
    """T-J4: what a room shows is listed and barred, though its events say so in the archive alone."""
    async with place.running() as server:
        owner = await owner_of(server)
        room = await owner.create_room()
        ids = [await uploaded(owner, PNG + bytes(number)) for number in range(2)]
        await owner.send(room, "a", msgtype="m.image", url=f"mxc://hansa.test/{ids[0]}")
        await owner.send(room, "b", msgtype="m.image", url="mxc://elsewhere.test/abc")
        await owner.send(room, "c", msgtype="m.image", url=f"mxc://hansa.test/{ids[1]}")
        assert (await job(server, "run"))["messages"] == 3
        assert await _count(server, EMPTY) == 2
    async with place.running() as server:
        owner = await server.login("owner")
        shown = (await owner.get(ADMIN + "/room/{}/media", room)).ok()
        assert sorted(shown["local"]) == sorted(f"mxc://hansa.test/{one}" for one in ids)
        assert shown["remote"] == ["mxc://elsewhere.test/abc"]
    for path in objects(place.folder, ".parquet"):
        path.unlink()
    async with place.running() as server:
        owner = await server.login("owner")
        shown = (await owner.get(ADMIN + "/room/{}/media", room)).ok()
        assert len(shown["local"]) == 2 and shown["remote"] == []
        assert (await owner.post(ADMIN + "/room/{}/media/quarantine", room)).ok() == {"num_quarantined": 2}


async def test_purged_history_goes(place: Place) -> None:
    """T-G11: with its bodies in the archive, whose file is rewritten; what stays is read as before."""
    room, ids = await place.said()
    async with place.running() as server:
        owner = await owner_of(server)
        body = {"delete_local_events": True, "purge_up_to_event_id": ids[3]}
        path = "/_synapse/admin/v1/purge_history/{}"
        purge_id = (await owner.post(path, room, body=body)).ok()["purge_id"]
        status = "/_synapse/admin/v1/purge_history_status/{}"

        async def is_done() -> bool:
            return bool((await owner.get(status, purge_id)).ok()["status"] == "complete")

        await until(is_done)
        alice = await server.login("alice")
        assert await bodies(alice, "harbour") == texts(6)[:2:-1]
        assert await read(alice, room) == texts(6)[3:]
        await job(server, "compact")
    async with place.running() as server:
        alice = await server.login("alice")
        assert await read(alice, room) == texts(6)[3:]
        assert await bodies(alice, "harbour") == texts(6)[:2:-1]
        name = await server.db.fetchval("SELECT name FROM archive_files")
        assert ids[1].encode() not in _unpacked(place.folder / "archive" / f"{name}.parquet")
        owner = await server.login("owner")
        (await owner.delete("/_synapse/admin/v1/rooms/{}", room, body={"purge": True})).ok()

        async def is_gone() -> bool:
            await job(server, "compact")
            return (
                objects(place.folder, ".parquet") == []
                or await _count(server, "SELECT count(*) FROM archive_files") == 0
            )

        await until(is_gone)


async def test_an_export_has_them(place: Place, tmp_path: Path) -> None:
    """T-G11: whole, and verified by the script alone; from the damaged file nothing is made up."""
    room, ids = await place.said()
    async with place.running() as server:
        owner = await owner_of(server)
        folder = await taken(owner, await exported(owner, kind="room", target=room), tmp_path / "out")
        assert bodies_of(folder) == texts(6)
        code, said = await verified(folder)
        assert code == 0, said
        part = await exported(owner, kind="room", target=room, from_event=ids[1], to_event=ids[3])
        assert bodies_of(await taken(owner, part, tmp_path / "part")) == texts(6)[1:4]


async def test_what_is_held_survives_compaction(place: Place, tmp_path: Path) -> None:
    """T-J15: redacted while held, it leaves the archive as ever, and the database has it until the release."""
    async with place.running() as server:
        owner, alice = await owner_of(server), await server.user("alice")
        room = await alice.create_room()
        held = await alice.send(room, "canarybird")
        for text in texts(3):
            await alice.send(room, text)
        await job(server, "run")
        assert await _count(server, WITH_CANARY) == 0
        hold_id = await hold(owner, "user", alice.user_id)
    async with place.running() as server:
        owner, alice = await server.login("owner"), await server.login("alice")
        (await alice.put("/rooms/{}/redact/{}/t1", room, held)).ok()
        assert await bodies(alice, "canarybird") == []
        await job(server, "compact")
        assert await _count(server, WITH_CANARY) == 1
        await server.db.execute("UPDATE event_erasures SET redacted_ts = 0")
    async with place.running() as server:
        owner, alice = await server.login("owner"), await server.login("alice")
        export_id = await exported(owner, kind="room", target=room, as_sent=True)
        assert "canarybird" in bodies_of(await taken(owner, export_id, tmp_path / "out"))
        assert (await alice.get("/rooms/{}/event/{}", room, held)).ok()["content"] == {}
        (await owner.post(HOLDS + "/{}/release", hold_id, body={"reason": "closed"})).ok()
    async with place.running() as server:

        async def is_erased() -> bool:
            return await _count(server, WITH_CANARY) == 0

        await until(is_erased)


async def test_messages_expire(database_dsn: str, tmp_path: Path) -> None:
    """T-G11: also those that lie in the archive alone; while that can't be read they wait, and go once it can."""
    place, clock = Place(database_dsn, tmp_path, "[rooms]\nretention = true\n"), FakeClock()
    async with place.running(clock) as server:
        alice = await server.user("alice")
        wish: dict[str, Any] = {"type": "m.room.retention", "content": {"max_lifetime": 2 * DAY_MS}}
        room = await alice.create_room(initial_state=[wish])
        for text in ("canarybird", *texts(3)):
            await alice.send(room, text)
        assert sum((await _keeper(server).run(is_forced=True)).values()) == 4
        assert await _count(server, EMPTY) == 3
    (path,) = objects(tmp_path, ".parquet")
    path.rename(tmp_path / "away")
    clock.advance(3 * 86_400)
    async with place.running(clock) as server:
        alice = await server.login("alice")
        newest = await alice.send(room, "newest")
        for _ in range(3):
            clock.advance(301)
            assert (await read(alice, room))[-1] == "newest"
        assert await _count(server, EMPTY) == 3
        (tmp_path / "away").rename(path)
        assert (await _keeper(server).verify()).lost == []

        async def has_expired() -> bool:
            clock.advance(301)
            return await read(alice, room) == ["newest"] and await _count(server, EMPTY) == 0

        await until(has_expired)
        assert (await alice.get("/rooms/{}/event/{}", room, newest)).ok()["content"]["body"] == "newest"
        assert await _count(server, WITH_CANARY) == 0


async def test_who_is_erased_is_in_no_byte(database_dsn: str, postgres: PostgresForTests, tmp_path: Path) -> None:
    """T-G11, T-G23, T-C13: of what the archive alone has, of its index of words and of files on their way there
    is nothing left; the receipt is verified by the script alone, and no byte of it can be changed.
    """
    place = Place(database_dsn, tmp_path, "")
    async with place.running() as server:
        owner, user = await owner_of(server), await server.user("leaving")
        room = await user.create_room(preset="public_chat")
        await owner.join(room)
        for number in range(4):
            await user.send(room, f"said {CANARY} {number}")
            await owner.send(room, f"harbour {number}")
        await owner.send(room, "the last")
        await bodies(owner, CANARY)
        await job(server, "run")
        assert await _count(server, EMPTY) == 8
    assert any(CANARY.encode() in _unpacked(path) for path in objects(tmp_path, ".parquet")), "else nothing is proved"
    async with place.running() as server:
        owner = await server.login("owner")
        assert len(await bodies(owner, CANARY)) == 4
        receipt = await erased(server, owner, "@leaving:hansa.test")
        assert receipt["counts"]["places"]["archive"] in (0, 1)  # 0: it was rewritten by itself meanwhile
        job_row = await scrubbed(owner)
        assert job_row["state"] == "complete", job_row
        assert files_with(postgres.folder, CANARY) == []
        assert files_with(tmp_path / "archive", CANARY) == []
        assert not any(CANARY.encode() in _unpacked(path) for path in objects(tmp_path, ".parquet"))
        assert await bodies(owner, CANARY) == [] and len(await bodies(owner, "harbour")) == 4
        assert [text for text in await read(owner, room) if text] == [*texts(4), "the last"]
        keys = (await server.anonymous().request("GET", "/_matrix/key/v2/server")).ok()
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    assert await _receipt_verified(tmp_path, receipt) == (0, "verified")
    for change in ({"user_id": "@other:hansa.test"}, {"done_ts": 1}, {"counts": {**receipt["counts"], "events": 0}}):
        code, said = await _receipt_verified(tmp_path, {**receipt, **change})
        assert code == 1 and said.startswith("WRONG")


@pytest.mark.programs("elasticsearch")
async def test_who_is_erased_is_in_no_byte_of_elasticsearch(
    database_dsn: str, postgres: PostgresForTests, tmp_path: Path, elasticsearch: ElasticsearchServer
) -> None:
    """T-G11, T-G23, T-C13: neither of its segments nor of its log."""
    prefix = elasticsearch.cluster().prefix
    toml = f'[search]\nengine = "elasticsearch"\n[search.elasticsearch]\nurls = ["{elasticsearch.url}"]\n'
    config = config_for_tests(tmp_path, f'{toml}index_prefix = "{prefix}"\n')
    async with running_server(database_dsn, config=config) as server:
        owner, user = await owner_of(server), await server.user("leaving")
        room = await user.create_room(preset="public_chat")
        await owner.join(room)
        for number in range(4):
            await user.send(room, f"said {CANARY} {number}")
            await owner.send(room, f"harbour {number}")
        assert len(await bodies(owner, CANARY)) == 4
        assert files_with(elasticsearch.data, CANARY), "else nothing is proved"
        held = await _folders(elasticsearch, prefix)
        assert held, "else nothing is proved"
        await erased(server, owner, "@leaving:hansa.test")
        assert (await scrubbed(owner))["state"] == "complete"

        async def is_gone() -> bool:
            # Its segments pack words, so that they can't be looked for: no file of an index that had them is left.
            left = held & {path.name for path in elasticsearch.data.glob("**/indices/*")}
            return not left and files_with(elasticsearch.data, CANARY) == []

        await until(is_gone, within_s=60)
        assert files_with(elasticsearch.data.parent / "logs", CANARY) == []
        assert files_with(postgres.folder, CANARY) == [] and files_with(tmp_path, CANARY) == []
        assert await bodies(owner, CANARY) == [] and len(await bodies(owner, "harbour")) == 4


async def _folders(node: ElasticsearchServer, prefix: str) -> set[str]:
    """What the folders of these indices are called."""
    url = f"{node.url}/_cat/indices/{prefix}*?format=json&h=uuid"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return {one["uuid"] for one in await answer.json()}


def _unpacked(path: Path) -> bytes:
    """All texts of a file, as they were before they were compressed."""
    table = pq.read_table(path, columns=["body", "event_id", "json"])
    words = [one.encode() for name in ("body", "event_id") for one in table.column(name).to_pylist()]
    return b"\n".join([*table.column("json").to_pylist(), *words])


async def _receipt_verified(folder: Path, receipt: dict[str, Any]) -> tuple[int, str]:
    """What the script says last, run by itself: without this repository in its path."""
    (folder / "receipt.json").write_text(json.dumps(receipt))
    command = [sys.executable, "-I", str(SCRIPT), str(folder / "receipt.json"), "--keys", str(folder / "keys.json")]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=folder)
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode().splitlines()[-1]


async def test_nobody_is_erased_while_what_they_said_cant_be_read(database_dsn: str, tmp_path: Path) -> None:
    """T-G11: no receipt is given; it goes on when the object is back, and it is asked for again."""
    place = Place(database_dsn, tmp_path)
    async with place.running() as server:
        owner, user = await owner_of(server), await server.user("leaving")
        room = await user.create_room(preset="public_chat")
        await owner.join(room)
        await user.send(room, f"said {CANARY}")
        await owner.send(room, "harbour")
        await job(server, "run")
        assert await _count(server, EMPTY) == 1
    (path,) = objects(tmp_path, ".parquet")
    path.rename(tmp_path / "away")
    wish = {"user_id": "@leaving:hansa.test", "reason": "asked for it"}
    async with place.running() as server:
        owner = await server.login("owner")
        erasure = (await owner.post(ERASURES, body=wish)).ok()

        async def has_failed() -> bool:
            jobs = (await owner.get("/_hansa/admin/v1/jobs")).ok()["jobs"]
            return any(one["state"] == "failed" and "archive verify" in one["error"] for one in jobs)

        await until(has_failed)
        (await owner.get(ERASURES + "/{}/receipt", erasure["id"])).refused(404, "M_NOT_FOUND")
        (tmp_path / "away").rename(path)
        assert (await job(server, "verify"))["lost"] == []
        receipt = await erased(server, owner, "@leaving:hansa.test")
        assert receipt["erasure_id"] == erasure["id"]
        assert not any(CANARY.encode() in _unpacked(path) for path in objects(tmp_path, ".parquet"))
        assert await _count(server, f"SELECT count(*) FROM events WHERE position('{CANARY}'::bytea IN json) > 0") == 0


async def _scene(place: Place, damage: Any) -> None:
    """Moved, read again after a restart, damaged and told so, put right, brought back."""
    room, ids = await place.said()
    async with place.running() as server:
        alice = await server.login("alice")
        assert await read(alice, room) == texts(6)
        assert await bodies(alice, "harbour") == texts(6)[::-1]
        name = await server.db.fetchval("SELECT name FROM archive_files")
    undo = damage(name + ".parquet")
    async with place.running() as server:
        alice = await server.login("alice")
        assert await read(alice, room) == ["harbour 5"]
        (await alice.get("/rooms/{}/event/{}", room, ids[1])).refused(404, "M_NOT_FOUND")
        verdict = await job(server, "verify")
        assert verdict["lost"] and not verdict["repaired"]
        undo()
        assert (await job(server, "verify"))["lost"] == []
        assert await read(alice, room) == texts(6)
        (await alice.put("/rooms/{}/redact/{}/t1", room, ids[1])).ok()
        assert len(await bodies(alice, "harbour")) == 5
        await job(server, "compact")
        month = await server.db.fetchval("SELECT month FROM archive_files")
        assert (await job(server, "restore", month))["messages"] == 5
        assert await _count(server, EMPTY) == 0
    async with place.running() as server:
        alice = await server.login("alice")
        assert await read(alice, room) == ["harbour 0", "", *texts(6)[2:]]


def _flip(path: Path, *others: Path) -> Any:
    """Turns every bit over; what is given back turns them back."""
    assert not others, others

    def turn() -> None:
        path.write_bytes(bytes(one ^ 0xFF for one in path.read_bytes()))

    turn()
    return turn


@pytest.mark.programs("versitygw")
async def test_bodies_in_s3(database_dsn: str, tmp_path: Path) -> None:
    """T-O7: the same in a bucket."""
    async with s3_store() as store:
        toml = f'store = "s3"\n[archive.s3]\nbucket = "{BUCKET}"\nendpoint = "{store.endpoint}"\n'
        toml += f'access_key_id = "{ACCESS}"\nsecret_access_key = "{SECRET}"\n'
        await _scene(Place(database_dsn, tmp_path, store=toml), lambda name: _flip(*store.folder.rglob(name)))


@pytest.mark.programs("hdfs")
async def test_bodies_in_hdfs(database_dsn: str, tmp_path: Path) -> None:
    """T-O7: the same in HDFS; there an object that is gone is the damage."""
    async with running_hdfs() as running:
        toml = f'store = "hdfs"\n[archive.hdfs]\nendpoint = "{running.endpoint}"\nfolder = "/hansa"\nuser = "{USER}"\n'
        place = Place(database_dsn, tmp_path, store=toml)
        room, _ = await place.said()
        async with place.running() as server:
            assert await read(await server.login("alice"), room) == texts(6)
            name = await server.db.fetchval("SELECT name FROM archive_files")
        await _move(running.endpoint, name + ".parquet", "away")
        async with place.running() as server:
            alice = await server.login("alice")
            assert await read(alice, room) == ["harbour 5"]
            assert (await job(server, "verify"))["lost"]
            await _move(running.endpoint, "away", name + ".parquet")
            assert (await job(server, "verify"))["lost"] == []
            assert await read(alice, room) == texts(6)
            month = await server.db.fetchval("SELECT month FROM archive_files")
            assert (await job(server, "restore", month))["messages"] == 6
            assert await _count(server, EMPTY) == 0


async def _move(endpoint: str, old: str, new: str) -> None:
    url = f"{endpoint}/webhdfs/v1/hansa/{old}?op=RENAME&destination=/hansa/{new}&user.name={USER}"
    async with aiohttp.ClientSession() as session, session.put(url) as answer:
        assert (await answer.json())["boolean"] is True
