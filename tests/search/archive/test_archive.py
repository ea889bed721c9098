"""The cold archive of a whole server: what leaves the hot index is found as before, and mends itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from search.archive.erasing import ArchiveEraser
from tests.kit.archives import bodies, job, objects, search
from tests.kit.server import Client, RunningServer, running_server

pytestmark = pytest.mark.slow

FILES = "SELECT array_agg(name) FROM archive_files"


@pytest.fixture
async def server(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    toml = f'[archive]\nstore_path = "{tmp_path}/archive"\n'
    async with running_server(database_dsn, toml=toml) as running:
        yield running


@pytest.fixture
async def alice(server: RunningServer) -> Client:
    return await server.user("alice")


async def edit(client: Client, room: str, event_id: str, text: str) -> str:
    content = {"m.new_content": {"msgtype": "m.text", "body": text}}
    return await client.send(
        room, "* " + text, **content, **{"m.relates_to": {"rel_type": "m.replace", "event_id": event_id}}
    )


async def test_what_is_archived_is_found_as_before(server: RunningServer, alice: Client, tmp_path: Path) -> None:
    """In one order with what came since, page by page, with exact counts."""
    room = await alice.create_room()
    for number in range(7):
        await alice.send(room, f"harbour {number}")
    result = await job(server, "run")
    assert result["messages"] == 7
    assert len(objects(tmp_path, ".parquet")) == len(objects(tmp_path, ".terms")) == 1
    assert objects(tmp_path, "manifest.json")
    await alice.send(room, "harbour 7")
    assert await bodies(alice, "harbour") == [f"harbour {number}" for number in range(7, -1, -1)]
    assert await bodies(alice, '"harbour 3"') == ["harbour 3"]
    assert await bodies(alice, "harb* -5 -7 -0") == [f"harbour {number}" for number in (6, 4, 3, 2, 1)]
    body = {
        "search_categories": {"room_events": {"search_term": "harbour", "order_by": "recent", "filter": {"limit": 3}}}
    }
    texts: list[str] = []
    query: dict[str, str] = {}
    for _ in range(3):
        answer = await alice.request("POST", "/search", body=body, query=query)
        found = answer.ok()["search_categories"]["room_events"]
        texts += [one["result"]["content"]["body"] for one in found["results"]]
        assert found["count"] == 8
        query = {"next_batch": found.get("next_batch", "")}
    assert texts == [f"harbour {number}" for number in range(7, -1, -1)]


async def test_the_hot_index_lets_go(server: RunningServer, alice: Client, tmp_path: Path) -> None:
    """While the store is away the answer is partial, and has what is hot."""
    room = await alice.create_room()
    await alice.send(room, "harbour before")
    assert await bodies(alice, "harbour") == ["harbour before"]
    await job(server, "run")
    await alice.send(room, "harbour after")
    (tmp_path / "archive").rename(tmp_path / "away")
    found = await search(alice, "harbour")
    assert found["org.hansa.partial"] is True and found["count"] == 1
    (tmp_path / "away").rename(tmp_path / "archive")
    await job(server, "verify")
    assert await bodies(alice, "harbour") == ["harbour after", "harbour before"]


async def test_redactions_and_edits_of_archived_messages(server: RunningServer, alice: Client, tmp_path: Path) -> None:
    """T-G8, T-G23: gone at once, and after a compaction in no byte of the archive; edits replace."""
    room = await alice.create_room()
    kept, changed, gone = [await alice.send(room, f"{word} harbour") for word in ("kept", "changed", "canarybird")]
    await job(server, "run")
    await alice.put("/rooms/{}/redact/{}/{}", room, gone, "t1")
    await edit(alice, room, changed, "now pier")
    assert await bodies(alice, "harbour") == ["kept harbour"]
    assert len(await bodies(alice, "pier")) == 1 and await bodies(alice, "canarybird") == []
    assert (await job(server, "compact"))["files"] == 1
    assert await bodies(alice, "harbour") == ["kept harbour"] and len(await bodies(alice, "pier")) == 1
    (left,) = objects(tmp_path, ".parquet")
    held = (
        duckdb.connect().execute(f"SELECT string_agg(body || json::text || edit_json::text) FROM '{left}'").fetchall()
    )
    assert b"canarybird" not in left.read_bytes() and "canarybird" not in str(held)
    second = await edit(alice, room, kept, "once more")
    assert await bodies(alice, "harbour") == [] and len(await bodies(alice, "once")) == 1
    await alice.put("/rooms/{}/redact/{}/{}", room, second, "t2")
    assert await bodies(alice, "harbour") == ["kept harbour"] and await bodies(alice, "once") == []


@pytest.mark.parametrize("harm", ["parquet", "terms", "flip parquet", "flip terms", "cut", "manifest", "all"])
async def test_damage_is_told_and_mended(server: RunningServer, alice: Client, tmp_path: Path, harm: str) -> None:
    """T-O7: partial meanwhile, never wrong; whole again after one cycle."""
    room = await alice.create_room()
    for number in range(30):
        await alice.send(room, f"harbour {number} and word{number % 3}")
    await job(server, "run")
    expected = await bodies(alice, "word1")
    (parquet,), (terms,) = objects(tmp_path, ".parquet"), objects(tmp_path, ".terms")
    match harm:
        case "parquet" | "terms":
            (parquet if harm == "parquet" else terms).unlink()
        case "flip parquet" | "flip terms":
            path = parquet if harm == "flip parquet" else terms
            whole = path.read_bytes()
            path.write_bytes(whole[:200] + bytes(one ^ 0xFF for one in whole[200:-200]) + whole[-200:])
        case "cut":
            parquet.write_bytes(parquet.read_bytes()[:100])
        case "manifest":
            objects(tmp_path, "manifest.json")[0].unlink()
        case _:
            for path in (parquet, terms, objects(tmp_path, "manifest.json")[0]):
                path.unlink()
    found = await search(alice, "word1")
    texts = [one["result"]["content"]["body"] for one in found["results"]]
    assert found.get("org.hansa.partial") or texts == expected
    result = await job(server, "verify")
    assert len(result["repaired"]) == (0 if harm == "manifest" else 1) and result["manifests"]
    assert await bodies(alice, "word1") == expected
    assert len(objects(tmp_path, "manifest.json")) == 1
    assert (await job(server, "verify"))["damaged"] == []


async def test_a_month_comes_back(server: RunningServer, alice: Client, tmp_path: Path) -> None:
    room = await alice.create_room()
    await alice.send(room, "harbour")
    (month,) = (await job(server, "run"))["months"]
    assert (await job(server, "restore", month))["messages"] == 1
    assert await bodies(alice, "harbour") == ["harbour"]
    assert await server.db.fetchval("SELECT count(*) FROM archive_files") == 0
    assert (await job(server, "run", is_forced=False))["messages"] == 0
    assert (await job(server, "run", month))["messages"] == 1
    assert await bodies(alice, "harbour") == ["harbour"]


async def test_a_month_comes_back_once(database_dsn: str, tmp_path: Path) -> None:
    """T-O18: no later start, nor anything else, does again what was asked for once."""
    toml = f'[archive]\nstore_path = "{tmp_path}/archive"\n'
    async with running_server(database_dsn, toml=toml) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        await alice.send(room, "harbour")
        (month,) = (await job(server, "run"))["months"]
        assert (await job(server, "restore", month))["messages"] == 1
        assert (await job(server, "run", month))["messages"] == 1
        names = await server.db.fetchval(FILES)
    async with running_server(database_dsn, toml=toml) as server:
        assert (await job(server, "verify"))["files"] == 1
        assert await server.db.fetchval(FILES) == names
        assert await server.db.fetchval("SELECT count(*) FROM archive_jobs WHERE kind = 'restore'") == 1
        assert await bodies(await server.login("alice"), "harbour") == ["harbour"]


async def test_who_may_see_what_holds_in_the_archive(server: RunningServer, alice: Client) -> None:
    """T-G1, T-G23: intervals of membership are part of the question in the archive too."""
    room = await alice.create_room(
        preset="public_chat",
        initial_state=[
            {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"}}
        ],
    )
    await alice.send(room, "harbour before")
    bob = await server.user("bob")
    await bob.join(room)
    await alice.send(room, "harbour while")
    (await bob.post("/rooms/{}/leave", room)).ok()
    await alice.send(room, "harbour after")
    await job(server, "run")
    assert await bodies(bob, "harbour") == ["harbour while"]
    assert len(await bodies(alice, "harbour")) == 3


async def test_hosts_and_formatted_text(server: RunningServer, alice: Client) -> None:
    """Hot and cold alike; a file that was made before its rows were found by them is made anew by itself."""
    room = await alice.create_room()
    formatted = '<p>see <a href="https://git.example.org/x">the harbour</a></p>'
    await alice.send(room, "see", formatted_body=formatted, format="org.matrix.custom.html")
    await alice.send(room, "see http://10.0.0.1/ there")

    async def hold() -> None:
        for term, count in (("host:git.example.org", 1), ("host:example.org", 1), ("harbour", 1), ("host:10.0.0.1", 1)):
            assert len(await bodies(alice, term)) == count, term
        assert await bodies(alice, "host:0.0.1") == await bodies(alice, "host:org -see") == []

    await hold()
    await job(server, "run")
    await hold()
    files = "SELECT name, rule FROM archive_files"
    (old,) = await server.db.fetch(files)
    eraser = server.hansa.base.keepers["archive"]
    assert isinstance(eraser, ArchiveEraser)
    (file,) = eraser.keeper._shelf.files
    eraser.keeper._shelf.put(replace(file, rule=old["rule"].lstrip("0123456789")))
    await eraser.keeper.tidy()
    (new,) = await server.db.fetch(files)
    assert new["name"] != old["name"] and new["rule"] == old["rule"]
    await hold()
