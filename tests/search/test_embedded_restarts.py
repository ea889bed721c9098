"""The index across restarts of a server: nothing is lost, whatever happened to its folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.kit.server import Client, config_for_tests, running_server
from tests.search.test_search import ids


async def caught_up(client: Client, term: str) -> list[str]:
    """What is found once nothing is partial any more."""
    return await ids(client, term)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["nothing", "folder", "meta", "cursor"])
async def test_nothing_is_lost_by_a_restart(database_dsn: str, tmp_path: Path, damage: str) -> None:
    """T-O7: a damaged or missing folder is made anew and filled from the journal; what it has twice it has once."""
    config = config_for_tests(tmp_path)
    async with running_server(database_dsn, config=config) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        sent = [await alice.send(room, f"word {number}") for number in range(5)]
        (await alice.put("/rooms/{}/redact/{}/1", room, sent[0])).ok()
        assert await ids(alice, "word") == sent[:0:-1]
        late = await alice.send(room, "word at last")
        token = alice.token
    match damage:
        case "folder":
            shutil.rmtree(tmp_path / "search")
        case "meta":
            (tmp_path / "search" / "meta.json").write_bytes(b"{}")
    async with running_server(database_dsn, config=config) as server:
        alice = server.anonymous()
        alice.token = token
        if damage == "cursor":
            # As after a crash between the index's commit and the cursor's.
            await server.db.execute("UPDATE journal_cursors SET position = 1 WHERE consumer = 'search'")
        assert await caught_up(alice, "word") == [late, *sent[:0:-1]]
    async with running_server(database_dsn, config=config) as server:
        alice = server.anonymous()
        alice.token = token
        assert await caught_up(alice, "word") == [late, *sent[:0:-1]]
