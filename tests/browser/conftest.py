"""What tests in a browser begin with; a file may say otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.admin.people import Crew, crew_of
from tests.kit.browser import server_for_browsers
from tests.kit.server import RunningServer


@pytest.fixture
async def server(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server whose own address is the one that the browser sees."""
    async with server_for_browsers(database_dsn, tmp_path) as running:
        yield running


@pytest.fixture
async def crew(server: RunningServer) -> Crew:
    """An owner, an admin, a moderator, an auditor and a plain user."""
    return await crew_of(server)
