"""A running server for each test that asks for one, and people of every role on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.admin.people import Crew, crew_of
from tests.kit.server import RunningServer, running_server


@pytest.fixture
async def server(database_dsn: str) -> AsyncIterator[RunningServer]:
    """The production composition on a database of its own."""
    async with running_server(database_dsn) as running:
        yield running


@pytest.fixture
async def crew(server: RunningServer) -> Crew:
    """An owner, an admin, a moderator, an auditor and a plain user."""
    return await crew_of(server)
