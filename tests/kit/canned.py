"""A server that says what it was told to say, byte by byte: for answers that no library would make."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Say = Callable[[str], bytes]


@dataclass(slots=True)
class Canned:
    """A listening server. `heard` are the requests' heads; `hangs` keeps connections open after what was said."""

    say: Say
    hangs: bool = False
    port: int = 0
    heard: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heard.append(head)
                writer.write(self.say(head))
                await writer.drain()
                if self.hangs:
                    await reader.read()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def answer(body: bytes = b"{}", *headers: str, status: int = 200) -> bytes:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def canned(
    say: Say, *, tls: ssl.SSLContext | None = None, hangs: bool = False, host: str = "127.0.0.1"
) -> AsyncIterator[Canned]:
    """Listens on a free port of the loopback. `say` gets a request's head and gives the answer's bytes."""
    server = Canned(say, hangs)
    listening = await asyncio.start_server(server.serve, host, 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
