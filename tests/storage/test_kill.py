"""`kill -9` at random moments under load: every acknowledged event is there once, in its sender's order."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.kit.process import ServerProcess

SENDERS = 4


class Load:
    """Senders in one room, who repeat a request until it is answered, and remember what was acknowledged."""

    def __init__(self, server: ServerProcess, session: aiohttp.ClientSession) -> None:
        self._server = server
        self._api = server.base_url + "/_matrix/client/v3"
        self._session = session
        self.room_id = ""
        self.tokens: list[str] = []
        self.sent: list[list[str]] = [[] for _ in range(SENDERS)]

    async def call(self, method: str, path: str, token: str | None, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._session.request(method, self._api + path, json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def begin(self) -> None:
        for number in range(SENDERS):
            body = {"username": f"u{number}", "password": "correct horse", "auth": {"type": "m.login.dummy"}}
            self.tokens.append((await self.call("POST", "/register", None, body))["access_token"])
        self.room_id = (await self.call("POST", "/createRoom", self.tokens[0], {"preset": "public_chat"}))["room_id"]
        for token in self.tokens[1:]:
            await self.call("POST", f"/join/{self.room_id}", token, {})

    async def send_until(self, over: asyncio.Event, sender: int) -> None:
        while not over.is_set():
            number = len(self.sent[sender])
            path = f"/rooms/{self.room_id}/send/m.room.message/{number}"
            try:
                answer = await self.call("PUT", path, self.tokens[sender], {"body": f"{sender} {number}"})
            except (aiohttp.ClientError, TimeoutError):
                await self._server.ready()
                continue
            self.sent[sender].append(answer["event_id"])

    async def check(self) -> None:
        """Reads the whole room back: all that was acknowledged before is in it."""
        before = [list(sent) for sent in self.sent]
        found: list[Any] = []
        query = ""
        while True:
            page = await self.call("GET", f"/rooms/{self.room_id}/messages?dir=f&limit=500{query}", self.tokens[0])
            found += [event for event in page["chunk"] if event["type"] == "m.room.message"]
            if "end" not in page:
                break
            query = f"&from={page['end']}"
        for sender, acknowledged in enumerate(before):
            own = [event for event in found if event["content"]["body"].startswith(f"{sender} ")]
            numbers = [int(event["content"]["body"].split()[1]) for event in own]
            assert numbers == list(range(len(numbers))), "an event is there twice, or out of order"
            assert [event["event_id"] for event in own][: len(acknowledged)] == acknowledged


async def kill_again_and_again(folder: Path, times: int, seed: int) -> None:
    folder.chmod(0o755)
    chance = random.Random(seed)
    server = ServerProcess(folder)
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            load = Load(server, session)
            await load.begin()
            over = asyncio.Event()
            senders = [asyncio.create_task(load.send_until(over, number)) for number in range(SENDERS)]
            for _ in range(times):
                await server.run_for(0.1 + chance.random() * 0.6)
                await server.kill()
                await server.start()
                await load.check()
            await server.run_for(0.2)
            over.set()
            await asyncio.gather(*senders)
            await load.check()
            assert all(len(sent) > times for sent in load.sent)
    finally:
        await server.stop()


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    """T-O6: an answer of success means durable."""
    await kill_again_and_again(tmp_path, times=4, seed=1)


@pytest.mark.deep
async def test_nothing_acknowledged_is_lost_by_sixty_kills(tmp_path: Path) -> None:
    """T-O6: the same, for long."""
    await kill_again_and_again(tmp_path, times=60, seed=2)
