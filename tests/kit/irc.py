"""A real IRC server (ngircd), a client of it, and heisenbridge between it and a homeserver."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.conftest import BRIDGE
from tests.kit.ports import free_port

READY_S = 60.0


async def _listening(port: int) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


@asynccontextmanager
async def running_ngircd(folder: Path) -> AsyncIterator[int]:
    """The port it listens on."""
    port = free_port()
    config = folder / "ngircd.conf"
    config.write_text(
        f"[Global]\nName = irc.hansa.test\nInfo = test\nListen = 127.0.0.1\nPorts = {port}\n"
        "[Options]\nDNS = no\nIdent = no\nPAM = no\n[Limits]\nMaxConnectionsIP = 0\nMaxNickLength = 30\n"
    )
    program = shutil.which("ngircd")
    assert program is not None
    server = await asyncio.create_subprocess_exec(
        program,
        "--nodaemon",
        "--config",
        str(config),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _listening(port)
        yield port
    finally:
        server.kill()
        await server.wait()


class IrcClient:
    """Somebody on IRC."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, line: str) -> None:
        self._writer.write(f"{line}\r\n".encode())
        await self._writer.drain()

    async def hear(self, part: str) -> str:
        """The next line that holds this."""
        async with asyncio.timeout(READY_S):
            while True:
                line = (await self._reader.readline()).decode()
                assert line, "the IRC server has hung up"
                if line.startswith("PING"):
                    await self.say(line.replace("PING", "PONG").strip())
                if part in line:
                    return line.strip()


@asynccontextmanager
async def irc_client(port: int, nick: str) -> AsyncIterator[IrcClient]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = IrcClient(reader, writer)
    await client.say(f"NICK {nick}")
    await client.say(f"USER {nick} 0 * :{nick}")
    await client.hear(" 001 ")
    try:
        yield client
    finally:
        writer.close()


def registration(folder: Path, port: int) -> Path:
    """Heisenbridge's file, which it shares with the homeserver."""
    file = folder / "heisenbridge.yaml"
    given = {
        "id": "heisenbridge",
        "url": f"http://127.0.0.1:{port}",
        "as_token": "as-token-of-heisenbridge",
        "hs_token": "hs-token-of-heisenbridge",
        "rate_limited": False,
        "sender_localpart": "heisenbridge",
        "namespaces": {"users": [{"regex": "@irc_.*", "exclusive": True}], "aliases": [], "rooms": []},
    }
    file.write_text(json.dumps(given))
    file.chmod(0o600)
    return file


@asynccontextmanager
async def running_heisenbridge(file: Path, port: int, homeserver: str, owner: str) -> AsyncIterator[None]:
    log = (file.parent / "heisenbridge.log").open("wb")
    bridge = await asyncio.create_subprocess_exec(
        str(BRIDGE),
        "-vv",
        "-c",
        str(file),
        "-l",
        "127.0.0.1",
        "-p",
        str(port),
        "-o",
        owner,
        homeserver,
        stdout=log,
        stderr=log,
    )
    try:
        await _listening(port)
        yield
    finally:
        if bridge.returncode is None:
            bridge.terminate()
            await bridge.wait()
        log.close()


@asynccontextmanager
async def running_bot(folder: Path, homeserver: str, user_id: str, token: str) -> AsyncIterator[None]:
    """A bot on mautrix-python, see tests/kit/mautrix_bot.py."""
    with (folder / "bot.log").open("wb") as log:
        bot = await asyncio.create_subprocess_exec(
            str(BRIDGE.parent / "python"),
            str(Path(__file__).parent / "mautrix_bot.py"),
            homeserver,
            user_id,
            token,
            stdout=log,
            stderr=log,
            env={},
        )
        try:
            yield
        finally:
            if bot.returncode is None:
                bot.kill()
            await bot.wait()
