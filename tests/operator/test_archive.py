"""`hansa archive`: asks the running server, shows what came of it, and says what is wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from homeserver.cli import run_command
from homeserver.operator import archive
from tests.kit.archives import bodies
from tests.kit.server import running_server

pytestmark = pytest.mark.slow


async def _typed(*arguments: str) -> int:
    return await asyncio.to_thread(run_command, ["archive", *arguments])


def _data(out: str) -> str:
    """What a command printed, among the log lines of the server in this process."""
    lines = out.splitlines()
    return "\n".join(lines[next(at for at, line in enumerate(lines) if line in ("[", "{")) :])


async def test_commands(
    database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HANSA_DATABASE__DSN", database_dsn)
    monkeypatch.setenv("HANSA_ARCHIVE__STORE_PATH", str(tmp_path))
    async with running_server(database_dsn, toml=f'[archive]\nstore_path = "{tmp_path}"\n') as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        gone = await alice.send(room, "harbour one")
        await alice.send(room, "harbour two")
        await bodies(alice, "harbour")
        capsys.readouterr()
        assert await _typed("run") == 0 and "nothing was due" in capsys.readouterr().err
        assert await _typed("run", "--now") == 0
        month = await server.db.fetchval("SELECT month FROM archive_files")
        assert f"{month}  2 messages\n" in capsys.readouterr().out
        assert await _typed("status") == 0
        assert f"{month}  2 messages in 1 files" in capsys.readouterr().out
        await alice.put("/rooms/{}/redact/{}/{}", room, gone, "t1")
        assert await bodies(alice, "harbour") == ["harbour two"]
        assert await _typed("status", "--json") == 0
        (state,) = json.loads(_data(capsys.readouterr().out))
        assert (state["month"], state["hidden"], state["damage"]) == (month, 1, [])
        assert await _typed("compact") == 0 and "1 files rewritten\n" in capsys.readouterr().out
        assert await _typed("verify", "--json") == 0
        assert json.loads(_data(capsys.readouterr().out))["damaged"] == []
        assert await _typed("explain", "harbour") == 0
        assert "1 messages; " in (told := capsys.readouterr().out) and "bytes read of 1 files" in told
        assert await _typed("room", room, "--never") == 0
        assert await _typed("restore", month) == 0 and "1 messages are back" in capsys.readouterr().out
        assert await _typed("status") == 0 and "restored" in capsys.readouterr().out
        assert await _typed("run", "--now") == 0
        assert await bodies(alice, "harbour") == ["harbour two"]


async def test_what_is_wrong_is_said(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HANSA_DATABASE__DSN", database_dsn)
    monkeypatch.setattr(archive, "PATIENCE_S", 0.1)
    assert await _typed("run", "--month", "March") == 1
    assert "a month is written like 2025-03" in capsys.readouterr().err
    assert await _typed("verify") == 1
    assert "hint: start the server" in capsys.readouterr().err
    assert await _typed("room", "!nothing:example.org", "--never") == 1
    assert await _typed("room", "!nothing:example.org") == 2
    assert await _typed("status") == 0
