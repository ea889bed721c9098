"""Two servers that know each other's authority."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.postgres import PostgresForTests
from tests.kit.server import RunningServer


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def here(postgres: PostgresForTests, authority: Authority) -> AsyncIterator[RunningServer]:
    async with postgres.fresh() as dsn, federated_server(dsn, authority) as server:
        yield server


@pytest.fixture
async def there(postgres: PostgresForTests, authority: Authority) -> AsyncIterator[RunningServer]:
    async with postgres.fresh() as dsn, federated_server(dsn, authority) as server:
        yield server
