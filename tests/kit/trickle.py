"""A service that takes connections, and then is slow without end, or says too much."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.kit.until import until

_EVERY_S = 0.02


class Trickle:
    """Says `first`, then `piece` again and again (nothing, where it is empty), until it ends or the other side goes."""

    def __init__(self, first: bytes, piece: bytes, *, waits: bool) -> None:
        self.port = 0
        # Connections that are open, and that there were.
        self.open = 0
        self.seen = 0
        self._first, self._piece, self._waits = first, piece, waits
        self._over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.seen += 1
        try:
            writer.write(self._first)
            gone = asyncio.create_task(self._heed(reader))
            over = asyncio.create_task(self._over.wait())
            try:
                while not gone.done() and not over.done():
                    if self._piece:
                        writer.write(self._piece)
                        await writer.drain()
                    delay = _EVERY_S if self._waits else 0
                    await asyncio.wait({gone, over}, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (gone, over):
                    task.cancel()
        except OSError:
            pass
        finally:
            writer.transport.abort()
            self.open -= 1

    async def _heed(self, reader: asyncio.StreamReader) -> None:
        """Until the other side closes."""
        with contextlib.suppress(OSError):
            while await reader.read(65_536):
                pass

    async def is_left(self) -> None:
        """Waits until nobody is connected any more."""

        async def is_so() -> bool:
            return self.open == 0

        await until(is_so)

    async def is_met_by(self, count: int) -> None:
        """Waits until so many are connected."""

        async def is_so() -> bool:
            return self.open >= count

        await until(is_so)

    def end(self) -> None:
        self._over.set()


@asynccontextmanager
async def trickling(first: bytes = b"", piece: bytes = b"", *, waits: bool = True) -> AsyncIterator[Trickle]:
    """Listens on a free port of the loopback. Without `waits` it says its piece as fast as it can."""
    service = Trickle(first, piece, waits=waits)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    try:
        service.port = server.sockets[0].getsockname()[1]
        yield service
    finally:
        service.end()
        server.close()
        await service.is_left()
