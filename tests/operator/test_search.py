"""`hansa search` beside a running server."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from homeserver.cli import run_command
from homeserver.operator import search as operated
from tests.kit.server import config_for_tests, running_server
from tests.search.test_search import ids

pytestmark = pytest.mark.slow
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[")


async def test_an_operator_looks_after_the_index(
    database_dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-O7"""
    config = config_for_tests(tmp_path, f'[database]\ndsn = "{database_dsn}"')

    async def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        file = str(tmp_path / "hansa.toml")
        code = await asyncio.to_thread(run_command, ["--config", file, "search", *words])
        said = capsys.readouterr()
        # The server of this process has its log lines there as well.
        printed = [line for line in said.out.splitlines(keepends=True) if not LOG_LINE.match(line)]
        return code, "".join(printed), said.err

    monkeypatch.setattr(operated, "SERVER_WAIT_S", 120.0)
    async with running_server(database_dsn, config=config) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        for number in range(5):
            await alice.send(room, f"word {number}")
        assert len(await ids(alice, "word")) == 5  # all is in the index
        code, out, _ = await run("status", "--json")
        assert code == 0 and json.loads(out)["events"] == 5 and json.loads(out)["generation"] == 0
        code, out, err = await run("verify")
        assert (code, out) == (0, "") and "5 events" in err
        code, out, err = await run("reindex")
        assert (code, out, err) == (0, "", "the new index answers\n")
        code, out, _ = await run("status")
        assert code == 0 and "generation 1" in out and "events        5" in out
        code, out, _ = await run("verify", "--json", "--repair")
        assert code == 0 and json.loads(out) == {"groups": 1, "events": 5, "damages": [], "left": []}
    monkeypatch.setattr(operated, "SERVER_WAIT_S", 0.0)
    code, _, err = await run("reindex")
    assert code == 1 and "hint: it is done once the server runs" in err
    code, out, _ = await run("explain", "--json", 'harb* "red pier"')
    assert code == 0 and json.loads(out)["tree"] == ["all of", "  prefix harb", "  phrase red pier"]
    code, _, err = await run("explain", "has:wings")
    assert code == 1 and "character 5" in err
