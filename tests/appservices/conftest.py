"""A bridge, and a server that has its registration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.kit.bridge import AS_TOKEN, BridgeForTests, bridge_for_tests
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import a_moment


class World:
    """`running` starts the server, again and again on the same database."""

    def __init__(self, dsn: str, folder: Path, bridge: BridgeForTests) -> None:
        self._dsn = dsn
        self.folder = folder
        self.bridge = bridge
        self.clock = FakeClock()
        self.files = [bridge.register(folder)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RunningServer]:
        paths = ", ".join(f'"{path}"' for path in self.files)
        toml = f"[appservices]\nregistration_paths = [{paths}]\n"
        async with running_server(self._dsn, clock=self.clock, toml=toml) as server:
            yield server

    async def pass_time(self, seconds: float) -> None:
        for _ in range(5):
            self.clock.advance(seconds / 5)
            await a_moment()


@pytest.fixture
async def world(database_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    async with bridge_for_tests() as bridge:
        yield World(database_dsn, tmp_path, bridge)


def bridge_client(server: RunningServer, token: str = AS_TOKEN) -> Client:
    """Calls with the bridge's token; `as_user` of a request's query says as whom."""
    client = server.anonymous()
    client.token = token
    return client


async def ghost(server: RunningServer, localpart: str, **body: object) -> str:
    """Registers a user of the bridge; its id."""
    made = {"type": "m.login.application_service", "username": localpart, "inhibit_login": True, **body}
    user_id: str = (await bridge_client(server).post("/register", body=made)).ok()["user_id"]
    return user_id
