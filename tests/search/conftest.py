"""A running server for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.kit.server import RunningServer, running_server


@pytest.fixture
async def server(database_dsn: str) -> AsyncIterator[RunningServer]:
    """The production composition on a database of its own."""
    async with running_server(database_dsn) as running:
        yield running
