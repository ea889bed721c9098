"""A server of a test that doesn't come up says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.process import ServerProcess


async def test_a_server_that_ends_by_itself_shows_its_log(tmp_path: Path) -> None:
    process = ServerProcess(tmp_path, toml="no_such_option = true")
    with pytest.raises(AssertionError) as caught:
        await process.start()
    assert "ended by itself, exit code" in str(caught.value)
    assert "no_such_option" in str(caught.value)


async def test_a_server_that_does_not_serve_in_time_shows_its_log(tmp_path: Path) -> None:
    process = ServerProcess(tmp_path)
    (tmp_path / "hansa.log").write_text("the database is not ready yet")
    with pytest.raises(AssertionError) as caught:
        await process.ready(within_s=0.2)
    assert "does not serve after 0.2 s, exit code None" in str(caught.value)
    assert "the database is not ready yet" in str(caught.value)
