"""A running server for each test that asks for one, and who signs people in elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.kit.clock import FakeClock
from tests.kit.openid_provider import OpenIdService, openid_service
from tests.kit.saml_idp import Key
from tests.kit.server import RunningServer, running_server


@pytest.fixture
async def server(database_dsn: str) -> AsyncIterator[RunningServer]:
    """The production composition on a database of its own."""
    async with running_server(database_dsn) as running:
        yield running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def service(clock: FakeClock) -> AsyncIterator[OpenIdService]:
    """A service at which people sign in, by OpenID Connect."""
    async with openid_service(clock.now_ms() // 1000) as running:
        yield running


@pytest.fixture(scope="module")
def key() -> Key:
    """A SAML identity provider's."""
    return Key.make()


@pytest.fixture(scope="module")
def strange_key() -> Key:
    """Of nobody whom we know."""
    return Key.make()
