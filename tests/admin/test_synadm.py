"""synadm, the command line that operators of other servers type, drives this one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.admin.people import PASSWORD, owner_of
from tests.kit.server import Client, RunningServer

pytestmark = pytest.mark.slow


class Synadm:
    """The program with a configuration of its own."""

    def __init__(self, folder: Path, server: RunningServer, owner: Client) -> None:
        self._file = folder / "synadm.yaml"
        self._home = folder
        self._file.write_text(
            f"user: '{owner.user_id}'\ntoken: '{owner.token}'\nbase_url: {server.base_url}\n"
            "admin_path: /_synapse/admin\nmatrix_path: /_matrix\ntimeout: 30\nserver_discovery: dns\n"
            "homeserver: hansa.test\nssl_verify: true\nformat: json\n"
        )
        self._file.chmod(0o600)

    async def __call__(self, *arguments: str, ok: bool = True) -> Any:
        """What it printed, as JSON."""
        program = Path(sys.executable).with_name("synadm")
        process = await asyncio.create_subprocess_exec(
            str(program),
            "--config-file",
            str(self._file),
            "--batch",
            "-o",
            "json",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": str(self._home)},
        )
        out, err = await process.communicate()
        assert (process.returncode == 0) is ok, (arguments, out, err)
        # What it tells people stands before the answer.
        lines = out.decode().splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith(("{", "["))]
        return json.loads("\n".join(lines[starts[-1] :])) if starts else None


async def test_users(server: RunningServer, tmp_path: Path) -> None:
    owner = await owner_of(server)
    synadm = Synadm(tmp_path, server, owner)
    assert (await synadm("version"))["server_version"]
    await synadm("user", "modify", "alice", "-P", PASSWORD, "-n", "Alice", "-t", "email", "alice@example.org")
    alice = await server.login("alice")
    room = await alice.create_room(name="Den")
    details = await synadm("user", "details", "alice")
    assert details["displayname"] == "Alice" and details["threepids"][0]["address"] == "alice@example.org"
    listed = await synadm("user", "list")
    assert {one["name"] for one in listed["users"]} == {owner.user_id, alice.user_id} and listed["total"] == 2
    found = await synadm("user", "search", "ali")
    assert [one["name"] for one in found["users"]] == [alice.user_id]
    assert (await synadm("user", "membership", "--ids", "alice"))["joined_rooms"] == [room]
    assert alice.device_id in (await synadm("user", "whois", "alice"))["devices"]
    assert (await synadm("user", "shadow-ban", "alice")) == {}
    assert (await synadm("user", "details", "alice"))["shadow_banned"] is True
    await synadm("user", "shadow-ban", "-u", "alice")
    token = (await synadm("user", "login", "alice"))["access_token"]
    as_alice = server.anonymous()
    as_alice.token = token
    assert (await as_alice.get("/account/whoami")).ok()["user_id"] == alice.user_id
    await synadm("user", "password", "alice", "-p", "another password")
    await server.login("alice", "another password")
    assert "user_id" in str(await synadm("user", "3pid", "-m", "email", "alice@example.org"))
    await synadm("user", "suspend", "alice")
    assert (await synadm("user", "details", "alice"))["suspended"] is True
    await synadm("user", "suspend", "-U", "alice")
    begun = await synadm("user", "redact", "alice")
    assert (await synadm("user", "redact-status", begun["redact_id"]))["status"] in ("scheduled", "active", "complete")
    await synadm("user", "prune-devices", "alice")
    await synadm("user", "deactivate", "alice")
    assert (await synadm("user", "details", "alice"))["deactivated"] is True


async def test_registration_tokens(server: RunningServer, tmp_path: Path) -> None:
    synadm = Synadm(tmp_path, server, await owner_of(server))
    made = await synadm("regtok", "new", "-n", "sesame", "-u", "3")
    assert made["token"] == "sesame" and made["uses_allowed"] == 3
    assert [one["token"] for one in (await synadm("regtok", "list"))["registration_tokens"]] == ["sesame"]
    assert (await synadm("regtok", "details", "sesame"))["completed"] == 0
    assert (await synadm("regtok", "update", "sesame", "-u", "5"))["uses_allowed"] == 5
    await synadm("regtok", "delete", "sesame")
    assert (await synadm("regtok", "list"))["registration_tokens"] == []
