"""`hansa erase`: writes the wish down, follows the running server, prints the receipt."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from tests.admin.people import crew_of
from tests.kit.server import running_server


async def hansa(dsn: str, *arguments: str) -> tuple[int, str, str]:
    """A command as a process of its own: its exit code, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "homeserver",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HANSA_DATABASE__DSN": dsn, "HANSA_SERVER_NAME": "hansa.test"},
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.slow
async def test_erase(database_dsn: str) -> None:
    """One command, beside a running server."""
    async with running_server(database_dsn) as server:
        crew = await crew_of(server)
        room_id = await crew.user.create_room()
        event_id = await crew.user.send(room_id, "gone soon")
        code, out, err = await hansa(database_dsn, "erase", crew.user.user_id, "--because", "asked for it")
        assert code == 0, err
        receipt = json.loads(out)
        assert receipt["user_id"] == crew.user.user_id and receipt["counts"]["events"] >= 1
        assert "signatures" in receipt
        row = await server.db.fetchval("SELECT json FROM events WHERE event_id = $1", event_id)
        assert b"gone soon" not in row
        code, _, err = await hansa(database_dsn, "erase", "@nobody:hansa.test", "--because", "x")
        assert code == 1 and "there is no such user" in err
        assert (await hansa(database_dsn, "erase", crew.user.user_id))[0] == 2
