"""Connections with TLS: counted from the moment they are there, with a time for their handshake.

asyncio's own server gives a handshake a minute, and tells of a connection only when it has ended: whoever opened many
and said nothing took the files that this process may have open, and with them those of the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Coroutine
from typing import Any

import structlog

from homeserver.runtime.clock import Clock
from homeserver.web.connections import GuardedServer

log = structlog.get_logger()

_BACKLOG = 1024
# After the system had no file left for one more.
_REST_S = 1.0


class TlsDoor:
    """Where a listener with TLS is entered. `open` it once, `close` it at the end."""

    def __init__(
        self, server: GuardedServer, tls: ssl.SSLContext, clock: Clock, *, handshake_seconds_max: float
    ) -> None:
        self._server = server
        self._tls = tls
        self._clock = clock
        self._seconds_max = handshake_seconds_max
        self._listening: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, address: str, port: int) -> list[tuple[str, int]]:
        """Listens on every address that this name has; port 0 chooses one. Raises OSError."""
        found = await asyncio.get_running_loop().getaddrinfo(
            address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        try:
            for family, kind, protocol, _, place in dict.fromkeys(found):
                self._listening.append(_bound(family, kind, protocol, place))
        except OSError as error:
            self._close_sockets()
            raise OSError(error.errno, f"can't listen on {address}, port {port}: {error.strerror}") from None
        for listening in self._listening:
            self._start(self._accept(listening))
        return [listening.getsockname()[:2] for listening in self._listening]

    async def close(self) -> None:
        """Lets nobody in any more. Who is in stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._close_sockets()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                made, peer = await loop.sock_accept(listening)
            except ConnectionError:
                continue  # gone before it was looked at
            except OSError as error:
                log.warning("no_more_connections", error=error.strerror)
                await self._clock.sleep(_REST_S)
                continue
            conversation = self._server.expected(str(peer[0]))
            if conversation is None:
                made.close()
                continue
            self._start(self._let_in(made, conversation))

    async def _let_in(self, made: socket.socket, conversation: asyncio.Protocol) -> None:
        try:
            with contextlib.suppress(OSError):  # no TLS, none that we speak, none in time
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: conversation,
                    made,
                    ssl=self._tls,
                    ssl_handshake_timeout=self._seconds_max,
                    ssl_shutdown_timeout=self._seconds_max,
                )
        finally:
            self._server.expected_no_more(conversation)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _close_sockets(self) -> None:
        for listening in self._listening:
            listening.close()
        self._listening.clear()


def _bound(family: int, kind: int, protocol: int, place: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(place)
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
