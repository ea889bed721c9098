"""A running server for each test that asks for one; one Elasticsearch for all that do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.kit.elasticsearch import ElasticsearchServer, running_elasticsearch
from tests.kit.server import RunningServer, running_server


@pytest.fixture
async def server(database_dsn: str) -> AsyncIterator[RunningServer]:
    """The production composition on a database of its own."""
    async with running_server(database_dsn) as running:
        yield running


@pytest.fixture(scope="session")
def elasticsearch() -> Iterator[ElasticsearchServer]:
    """The node of this run. Mark the test with `programs("elasticsearch")`."""
    with running_elasticsearch() as server:
        yield server
