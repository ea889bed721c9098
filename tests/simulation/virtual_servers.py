"""Servers of the production code in a virtual world: they start, crash at any statement, and start again."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from yarl import URL

from homeserver.app import Hansa
from homeserver.assembly.base import World
from homeserver.config import Config, Listener
from homeserver.web.dns import Service
from tests.kit.federation import signer_of
from tests.kit.server import Client, config_for_tests
from tests.simulation.no_words import NoWords
from tests.simulation.virtual_database import VirtualDatabase
from tests.simulation.virtual_loop import VirtualLoop
from tests.simulation.virtual_network import Side, VirtualNetwork, exchange

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Opens a server's database, in each of its lives the same.
OpenDatabase = Callable[[], VirtualDatabase]
EPOCH_MS = 1_800_000_000_000


class VirtualClock:
    """The loop's time. `ahead_ms` is how wrong the wall clock of this server is; it may be changed at any time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return EPOCH_MS + int(self._loop.time() * 1000) + self.ahead_ms

    def monotonic_s(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SeededRandomness:
    """Implements `homeserver.runtime.ids.Randomness` from a seed."""

    def __init__(self, seed: str) -> None:
        self._chance = random.Random(seed)

    def token(self, size: int = 32) -> str:
        return base64.urlsafe_b64encode(self.bytes(size)).rstrip(b"=").decode("ascii")

    def letters(self, count: int) -> str:
        return "".join(self._chance.choice(_LETTERS) for _ in range(count))

    def bytes(self, size: int) -> bytes:
        return self._chance.randbytes(size)

    def fraction(self) -> float:
        return self._chance.random()


class NoDns:
    async def services(self, name: str) -> list[Service]:
        return []

    async def addresses(self, host: str) -> list[str]:
        return []


class _CutOff(Side):
    """A server's way out, until the server is no more."""

    is_dead = False

    async def request(self, *args: Any, **options: Any) -> Any:
        if self.is_dead:
            await asyncio.get_running_loop().create_future()
        answer = await super().request(*args, **options)
        if self.is_dead:
            await asyncio.get_running_loop().create_future()
        return answer


@functools.cache
def _config() -> Config:
    """As the tests have it, read once; each server has its own folder in its place."""
    with tempfile.TemporaryDirectory() as folder:
        return config_for_tests(Path(folder))


class VirtualServer:
    """One server, through its lives. `name` is `localhost:PORT`."""

    def __init__(
        self, network: VirtualNetwork, open_database: OpenDatabase, folder: Path, port: int, seed: str
    ) -> None:
        self.network = network
        self.name = f"localhost:{port}"
        self.clock = VirtualClock(network.loop)
        self.is_up = False
        self.is_starting = False
        self.crashes = 0
        self._open_database = open_database
        self._port = port
        self._seed = seed
        self._words = NoWords()
        folder.mkdir()
        self._config = self._configured(folder)
        self.hansa: Hansa
        self.db: VirtualDatabase
        self._side: _CutOff

    def _configured(self, folder: Path) -> Config:
        listeners = (Listener(port=0, apis=("client",)), Listener(port=self._port, apis=("federation",)))
        plain = _config()
        return replace(
            plain,
            server_name=self.name,
            data_dir=folder,
            media=replace(plain.media, store_path=folder / "media"),
            archive=replace(plain.archive, store_path=folder / "archive"),
            listeners=listeners,
        )

    async def start(self) -> None:
        self.is_starting = True
        try:
            await self._start()
        finally:
            self.is_starting = False

    async def _start(self) -> None:
        self.db = self._open_database()
        self.db.on_crash = self._crashed
        self._side = _CutOff(self.network, self.name)
        randomness = SeededRandomness(f"{self._seed} {self.name} {self.crashes}")
        world = World(
            clock=self.clock,
            randomness=randomness,
            db=self.db,
            outgoing=self._side,
            dns=NoDns(),
            words=self._words.engine,
        )
        self.hansa = Hansa(self._config, world, signer_of(self.name))
        await self.hansa.start()
        self.is_up = True

    def crash(self, statements: int = 0, *, answered: bool = False) -> None:
        """Ends it at once, or with its statement so many from now; `answered`: that one is done, and nobody hears."""
        self.db.cut(statements, "after" if answered else "before")

    def _crashed(self) -> None:
        self.is_up = False
        self.crashes += 1
        self._side.is_dead = True
        self.network.note("crash", self.name)
        self.network.hang_up([self._port, self._client_port])
        for task in list(self.hansa.tasks._running):
            task.cancel()

    @property
    def _client_port(self) -> int:
        return int(self.hansa.addresses[0][1])

    async def restart(self) -> None:
        """A new process on what was committed."""
        await self.start()
        self.network.note("restart", self.name)

    async def stop(self) -> None:
        if self.is_up:
            await self.hansa.stop()
        await self.db.close()

    def client(self, token: str | None = None) -> Client:
        session: Any = _Session(self)
        return Client(session, "http://client", token=token)

    async def user(self, localpart: str) -> Client:
        """A newly registered user."""
        client = self.client()
        body = {"username": localpart, "password": "correct horse battery", "auth": {"type": "m.login.dummy"}}
        account = (await client.post("/register", body=body)).ok()
        client.token, client.user_id = account["access_token"], account["user_id"]
        client.device_id = account["device_id"]
        return client


class _Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.content_type = headers.get("Content-Type", "").partition(";")[0]
        self._body = body

    async def read(self) -> bytes:
        return self._body


class _Session:
    """As much of aiohttp's client as `tests.kit.server.Client` uses."""

    def __init__(self, server: VirtualServer) -> None:
        self._server = server

    @contextlib.asynccontextmanager
    async def request(
        self, method: str, url: URL, *, data: bytes | None, headers: Mapping[str, str], allow_redirects: bool
    ) -> AsyncIterator[_Answer]:
        server = self._server
        loop = server.network.loop
        reply = await exchange(loop, server._client_port, method, url.raw_path_qs, headers, data, server.network)
        yield _Answer(reply.status, reply.headers, reply.body)
