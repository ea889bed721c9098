"""`hansa operator`: gives, lists and takes roles, and says what is wrong; a running server hears of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from homeserver.cli import run_command
from tests.admin.people import crew_of
from tests.kit.server import running_server
from tests.kit.until import until

LISTED = "/_hansa/admin/v1/operators"


@pytest.mark.slow
async def test_roles_by_command_beside_a_running_server(
    database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """T-J2, T-J16: bound to a room, then taken; the server has both in force at once, and the log has them."""
    monkeypatch.setenv("HANSA_DATABASE__DSN", database_dsn)
    monkeypatch.chdir(tmp_path)

    async def hansa(*arguments: str) -> int:
        return await asyncio.to_thread(run_command, ["operator", *arguments])

    async with running_server(database_dsn) as server:
        crew = await crew_of(server)
        user_id, room_id = crew.moderator.user_id, await crew.user.create_room()
        other = await crew.user.create_room()
        (await crew.moderator.get("/_synapse/admin/v1/rooms/{}/block", other)).ok()
        assert await hansa("grant", user_id, "moderator", "--room", room_id, "--because", "One room") == 0

        async def sees(status: int) -> bool:
            return (await crew.moderator.get("/_synapse/admin/v1/rooms/{}/block", other)).status == status

        await until(lambda: sees(403))
        (await crew.moderator.get("/_synapse/admin/v1/rooms/{}/block", room_id)).ok()
        capsys.readouterr()
        assert await hansa("list", "--json") == 0
        # The command's output is one line of JSON; the server's own log goes on meanwhile.
        told = {one["user_id"]: one for one in _listed(capsys.readouterr().out)}
        assert told[user_id] == {"user_id": user_id, "role": "moderator", "rooms": [room_id], "actions": None}
        assert await hansa("grant", user_id, "admin", "--room", room_id) == 1
        assert await hansa("grant", user_id, "moderator", "--action", "end_users") == 2
        assert await hansa("revoke", user_id) == 0
        assert await hansa("revoke", user_id) == 1
        listed = (await crew.owner.get("/_hansa/admin/v1/audit", target=user_id)).ok()["entries"]
        assert [(one["actor"], one["after"]["role"]) for one in listed[:2]] == [
            ("hansa operator", None),
            ("hansa operator", "moderator"),
        ]
        assert await hansa("revoke", crew.owner.user_id) == 1


def _listed(output: str) -> list[dict[str, object]]:
    start = output.index("[\n") if "[\n" in output else output.index("[{")
    found: list[dict[str, object]] = json.JSONDecoder().raw_decode(output[start:])[0]
    return found
