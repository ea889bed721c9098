"""A real relay for calls, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.kit.ports import free_port

READY_S = 60.0


class Relay:
    """A running coturn."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def relays_for(self, username: str, password: str) -> bool:
        """Whether it relays packets for somebody with these credentials."""
        command = ["turnutils_uclient", "-u", username, "-w", password, "-y", "-c", "-n", "1", "-p", str(self.port)]
        client = await asyncio.create_subprocess_exec(
            *command, "127.0.0.1", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await client.communicate()
        return client.returncode == 0 and b"Total lost packets 0" in said


@asynccontextmanager
async def running_coturn(folder: Path, secret: str) -> AsyncIterator[Relay]:
    port = free_port()
    options = (
        f"-n --use-auth-secret --static-auth-secret={secret} --realm=hansa.test --listening-ip=127.0.0.1 "
        f"--relay-ip=127.0.0.1 --listening-port={port} --no-tls --no-dtls --no-cli --allow-loopback-peers "
        f"--log-file=stdout --pidfile={folder}/pid --db={folder}/db"
    )
    server = await asyncio.create_subprocess_exec(
        "turnserver", *options.split(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(READY_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield Relay(port)
    finally:
        server.kill()
        await server.wait()
