"""Clients that never give up: they repeat a request until it is answered, and remember what was acknowledged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any, Protocol

import aiohttp

from tests.kit.process import ServerProcess

PASSWORD = "correct horse"
AGAIN_AFTER_S = 0.05


class Caller:
    """One account at a server that may go away at any time."""

    def __init__(self, server: ServerProcess, session: aiohttp.ClientSession, token: str | None = None) -> None:
        self.server = server
        self.session = session
        self.token = token
        self.user_id = ""
        self.device_id = ""
        self.refused_503 = 0

    async def answer(self, method: str, path: str, body: Any = None, *, data: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of the first answer that isn't "come again later"."""
        while True:
            try:
                status, found = await self.attempt(method, path, body, data)
            except (aiohttp.ClientError, TimeoutError):
                await self.server.ready()
                continue
            if status != 503:
                return status, found
            self.refused_503 += 1
            await self.server.run_for(AGAIN_AFTER_S)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        status, found = await self.answer(method, path, body)
        assert status == 200, (method, path, status, found)
        return json.loads(found)

    async def attempt(self, method: str, path: str, body: Any = None, data: bytes | None = None) -> tuple[int, bytes]:
        """Status and body, once. A 503 must say when to come again."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = self.server.base_url + (path if path.startswith("/_") else "/_matrix/client/v3" + path)
        async with self.session.request(method, url, json=body, data=data, headers=headers) as answer:
            found = await answer.read()
            if answer.status == 503:
                assert int(answer.headers["Retry-After"]) > 0 and b"errcode" in found
            return answer.status, found

    async def registered(self, name: str) -> Caller:
        """Another account. One whose acknowledgement was lost is found by its password."""
        body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        status, found = await self.answer("POST", "/register", body)
        if status == 400 and b"M_USER_IN_USE" in found:
            identifier = {"type": "m.id.user", "user": name}
            login = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
            status, found = await self.answer("POST", "/login", login)
        assert status == 200, found
        account = json.loads(found)
        other = Caller(self.server, self.session, account["access_token"])
        other.user_id, other.device_id = account["user_id"], account["device_id"]
        return other


class Kind(Protocol):
    """Something that can be acknowledged, again and again."""

    async def begin(self, anybody: Caller) -> None: ...

    async def step(self, number: int) -> None:
        """Does it once; returns when it is acknowledged."""
        ...

    async def check(self) -> None:
        """Fails the test if something acknowledged isn't there, or is there twice."""
        ...


class Load:
    """Every kind at once, each step after step until `over`."""

    def __init__(self, server: ServerProcess, session: aiohttp.ClientSession, kinds: Iterable[Kind]) -> None:
        self._anybody = Caller(server, session)
        self._kinds = list(kinds)
        self._over = asyncio.Event()
        self._may_step = asyncio.Event()
        self._may_step.set()
        self._tasks: list[asyncio.Task[None]] = []
        self.steps = [0] * len(self._kinds)

    async def begin(self) -> None:
        for kind in self._kinds:
            await kind.begin(self._anybody)
        self._tasks = [asyncio.create_task(self._work(index)) for index in range(len(self._kinds))]

    async def _work(self, index: int) -> None:
        while not self._over.is_set():
            await self._may_step.wait()
            await self._kinds[index].step(self.steps[index])
            self.steps[index] += 1

    async def check(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()
        # Nothing new begins meanwhile: what is checked would grow faster than it can be read.
        self._may_step.clear()
        for kind in self._kinds:
            await kind.check()
        self._may_step.set()

    async def end(self) -> None:
        """Lets each finish its step, then checks all."""
        self._over.set()
        await asyncio.gather(*self._tasks)
        await self.check()
