"""The same archive in each store: found as before, mended, restored, erased."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.archives import bodies, job, search
from tests.kit.hdfs import USER, running_hdfs
from tests.kit.s3 import ACCESS, BUCKET, SECRET, s3_store
from tests.kit.server import running_server

pytestmark = pytest.mark.slow


async def _scene(dsn: str, toml: str, objects: Path | None) -> None:
    """`objects` is where one file at least can be damaged."""
    async with running_server(dsn, toml=toml) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        texts = [f"harbour {number} of word{number % 3}" for number in range(12)]
        ids = [await alice.send(room, text) for text in texts]
        assert (await search(alice, "harbour"))["count"] == 12
        result = await job(server, "run")
        assert result.get("messages") == 12, result
        expected = await bodies(alice, "word1")
        assert expected == texts[10::-3][:4]
        if objects is not None:
            for path in objects.rglob("*.terms"):
                path.unlink()
            found = await search(alice, "word1")
            assert found.get("org.hansa.partial") or found["count"] == 4
            assert (await job(server, "verify"))["repaired"]
            assert await bodies(alice, "word1") == expected
        await alice.put("/rooms/{}/redact/{}/{}", room, ids[1], "t1")
        assert await bodies(alice, "word1") == expected[:-1]
        assert (await job(server, "compact"))["files"] == 1
        assert await bodies(alice, "word1") == expected[:-1]
        (month,) = result["months"]
        assert (await job(server, "restore", month))["messages"] == 11
        assert await bodies(alice, "word1") == expected[:-1]


@pytest.mark.programs("versitygw")
async def test_in_s3(database_dsn: str) -> None:
    async with s3_store() as store:
        toml = f"""
[archive]
store = "s3"
[archive.s3]
bucket = "{BUCKET}"
endpoint = "{store.endpoint}"
access_key_id = "{ACCESS}"
secret_access_key = "{SECRET}"
"""
        await _scene(database_dsn, toml, store.folder)


@pytest.mark.programs("hdfs")
async def test_in_hdfs(database_dsn: str) -> None:
    async with running_hdfs() as running:
        toml = f"""
[archive]
store = "hdfs"
[archive.hdfs]
endpoint = "{running.endpoint}"
folder = "/hansa"
user = "{USER}"
"""
        await _scene(database_dsn, toml, None)


async def test_hdfs_that_is_away(database_dsn: str) -> None:
    """Nothing leaves the hot index, the answer is whole, and the job says what is wrong."""
    toml = '[archive]\nstore = "hdfs"\n[archive.hdfs]\nendpoint = "http://127.0.0.1:9"\n'
    async with running_server(database_dsn, toml=toml) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        await alice.send(room, "harbour")
        assert "error" in await job(server, "run")
        assert await bodies(alice, "harbour") == ["harbour"]
