"""`hansa hold`: sets, lists and releases holds, and says what is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from homeserver.cli import run_command
from tests.kit.postgres import PostgresForTests


@pytest.fixture
def dsn(postgres: PostgresForTests, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database that commands find."""
    loop = asyncio.new_event_loop()
    fresh = postgres.fresh()
    chosen = loop.run_until_complete(fresh.__aenter__())
    monkeypatch.setenv("HANSA_DATABASE__DSN", chosen)
    yield chosen
    loop.run_until_complete(fresh.__aexit__(None, None, None))
    loop.close()


def test_set_list_release(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """T-J16: the command leaves the same rows in the audit log as the API."""
    capsys.readouterr()
    assert run_command(["hold", "set", "@alice:example.org", "--because", "case 12"]) == 0
    hold_id = capsys.readouterr().out.strip()
    assert run_command(["hold", "set", "@alice:example.org", "--because", "case 13"]) == 1
    assert "held already" in capsys.readouterr().err
    assert run_command(["hold", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["id"], listed["kind"], listed["set_by"]) == (hold_id, "user", "hansa hold")
    assert run_command(["hold", "release", hold_id, "--because", "closed"]) == 0
    capsys.readouterr()
    assert run_command(["hold", "list"]) == 0 and capsys.readouterr().out == ""
    assert run_command(["hold", "list", "--released"]) == 0
    assert hold_id in capsys.readouterr().out
    assert run_command(["audit", "verify"]) == 0
    assert capsys.readouterr().out.startswith("2 entries, unbroken")


def test_what_is_misused(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["hold", "set", "alice", "--because", "x"]) == 2
    assert "hint: quote an id" in capsys.readouterr().err
    assert run_command(["hold", "set", "@alice:example.org"]) == 2
    assert run_command(["hold", "release", "none", "--because", "x"]) == 1
    assert "there is no such hold" in capsys.readouterr().err
