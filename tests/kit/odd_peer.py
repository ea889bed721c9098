"""Servers that take a connection and then do as no server should: they hang, trickle, or answer what isn't JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from homeserver.core.identifiers import ServerName
from tests.kit.authority import Authority
from tests.kit.ports import free_port

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class OddPeer:
    """`asked` are the first lines of the requests that came."""

    def __init__(self, port: int) -> None:
        self.name = ServerName(f"localhost:{port}")
        self.asked: list[str] = []


async def hang(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def trickle(writer: asyncio.StreamWriter) -> None:
    """An answer that begins well, and goes on by a byte now and then."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{")
    while True:
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.write(b" ")


async def dribble(writer: asyncio.StreamWriter) -> None:
    """An answer that is as long as it should be, a byte now and then."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
    while True:
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.write(b" ")


async def break_off(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    await writer.drain()


def answering(status: str, body: bytes, *, headers: str = "") -> Behaviour:
    async def answer(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return answer


@asynccontextmanager
async def odd_peer(authority: Authority, behaviour: Behaviour) -> AsyncIterator[OddPeer]:
    """Listens with TLS at `localhost:PORT`; each connection gets one request's worth of the behaviour."""
    peer = OddPeer(free_port())
    running: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            peer.asked.append(head.split(b"\r\n")[0].decode())
            await behaviour(writer)
        writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(talk(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    port = int(peer.name.rpartition(":")[2])
    server = await asyncio.start_server(connected, "127.0.0.1", port, ssl=authority.server_context("localhost"))
    try:
        yield peer
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
