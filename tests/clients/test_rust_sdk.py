"""The engine of Element X (matrix-rust-sdk with its room list, timeline and encryption) on sliding sync."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import RUST_SCENE
from tests.kit.process import ServerProcess
from tests.kit.server import Client

PASSWORD = "correct horse battery"
ROOMS = 30
SCENE_S = 600.0  # more than the scene's own patience, which says what it waited for

pytestmark = [pytest.mark.rust, pytest.mark.slow]


async def _register(session: aiohttp.ClientSession, base_url: str, name: str) -> Client:
    client = Client(session, base_url)
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    client.token = (await client.post("/register", body=body)).ok()["access_token"]
    return client


async def test_two_clients_meet_talk_and_survive_a_crash(tmp_path: Path) -> None:
    """Discovery, a growing window over many rooms, an invite, encryption both ways, and a position after `kill -9`."""
    server = ServerProcess(tmp_path)
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            alice = await _register(session, server.base_url, "alice")
            await _register(session, server.base_url, "bob")
            for number in range(ROOMS):
                await alice.send(await alice.create_room(name=f"room {number}"), "moin")
        scene = await asyncio.create_subprocess_exec(
            str(RUST_SCENE), server.base_url, "alice", "bob", PASSWORD, str(ROOMS),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert scene.stdin is not None and scene.stdout is not None and scene.stderr is not None
            seen: list[str] = []
            try:
                async with asyncio.timeout(SCENE_S):
                    async for line in scene.stdout:
                        seen.append(line.decode().strip())
                        if seen[-1] == "restart":
                            await server.kill()
                            await server.start()
                            scene.stdin.write(b"go on\n")
                            await scene.stdin.drain()
                    reason = (await scene.stderr.read()).decode()
            except TimeoutError:
                pytest.fail(f"the scene didn't end within {SCENE_S:.0f} s; seen: {seen}")
            if await scene.wait() != 0 or reason:
                pytest.fail(f"seen: {seen}\n{reason}", pytrace=False)
            assert seen == ["rooms", "invited", "joined", "talked", "restart", "survived"]
        finally:
            if scene.returncode is None:
                scene.kill()
            await scene.wait()
    finally:
        await server.kill()
