"""Open connections: how many there may be, how long one may take to say what it wants."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from homeserver.core.errors import MatrixError

log = structlog.get_logger()

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The slowest reader: a telephone at the edge of a net of the nineties takes some times as much.
_READ_BYTES_PER_S_MIN = 1024


def network_of(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that one IPv6 subscriber gets."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def is_in(address: str, networks: Sequence[Network]) -> bool:
    try:
        parsed: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


def client_address(peer: str, forwarded: str, proxies: Sequence[Network]) -> str:
    """Whose request this is: the nearest hop that is no proxy of ours. `forwarded` is what X-Forwarded-For says."""
    hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()] if proxies else []
    address = peer
    while hops and is_in(address, proxies):
        address = hops.pop()
    return address


class Connections:
    """Counts the connections of all listeners. What is one too many is closed before it can send anything.

    What only waits for news, for somebody whose connection is lost, is ended: it would hold a place among the caller's
    open requests until there are news.
    """

    def __init__(self, *, most: int, per_address: int) -> None:
        self._most = most
        self._per_address = per_address
        self._by_network: Counter[str] = Counter()
        self._waiting: dict[object, asyncio.Task[Any]] = {}
        self.open = 0
        self.refused = 0

    def take(self, network: str | None) -> bool:
        """Whether one more may be. `network` is None for one of a proxy, who speaks for many."""
        if self.open >= self._most or (network is not None and self._by_network[network] >= self._per_address):
            self.refused += 1
            return False
        self.open += 1
        if network is not None:
            self._by_network[network] += 1
        return True

    @contextlib.contextmanager
    def waiting(self, connection: object) -> Iterator[None]:
        """For what this task does for a connection: it is cancelled when that is lost."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting[connection] = task
        try:
            yield
        finally:
            self._waiting.pop(connection, None)

    def lost(self, connection: object) -> None:
        task = self._waiting.pop(connection, None)
        if task is not None:
            task.cancel()

    def give_back(self, network: str | None) -> None:
        self.open -= 1
        if network is not None:
            self._by_network[network] -= 1
            if not self._by_network[network]:
                del self._by_network[network]


class _Conversation(RequestHandler):
    """aiohttp's side of one connection, which says in our words what is no HTTP, and waits for no reader for ever.

    aiohttp would log such bytes with a traceback, tokens in them included, and show them to whoever sent them. And it
    would keep an answer in memory for as long as whoever asked for it reads nothing.
    """

    __slots__ = ("_reading", "_stall_seconds_max")

    def __init__(self, *args: Any, stall_seconds_max: float, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._stall_seconds_max = stall_seconds_max
        self._reading: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """More lies here than the reader has taken."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        self._forget_reader()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_reader()
        super().connection_lost(exc)

    def _watch_reader(self) -> None:
        assert isinstance(self.transport, asyncio.WriteTransport)
        left = self.transport.get_write_buffer_size()
        self._reading = self._loop.call_later(self._stall_seconds_max, self._look_at_reader, self.transport, left)

    def _look_at_reader(self, transport: asyncio.WriteTransport, before: int) -> None:
        if before - transport.get_write_buffer_size() >= _READ_BYTES_PER_S_MIN * self._stall_seconds_max:
            self._watch_reader()
            return
        log.info("reader_given_up", left_bytes=transport.get_write_buffer_size())
        transport.abort()

    def _forget_reader(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            log.debug("caller_gone", kind=type(exc).__name__)
        elif status >= 500:
            log.error("connection_failed", exc_info=exc)
        else:
            log.debug("not_http", kind=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        error = MatrixError("this is no well-formed request" if status < 500 else "internal server error")
        headers = {"Content-Type": "application/json", "Server": "Hansa"}
        response = web.Response(body=orjson.dumps(error.body()), status=status, headers=headers)
        response.force_close()
        return response


class GuardedServer(web.Server):
    """aiohttp's server, which refuses connections beyond the bounds and those that stay silent."""

    def __init__(
        self,
        handler: Any,
        connections: Connections,
        proxies: Sequence[Network],
        *,
        head_seconds_max: float,
        stall_seconds_max: float,
        **settings: Any,
    ) -> None:
        super().__init__(handler, **settings)
        self._counted = connections
        self._proxies = proxies
        self._head_seconds_max = head_seconds_max
        self._settings = {**settings, "stall_seconds_max": stall_seconds_max}
        self._taken: dict[RequestHandler, str | None] = {}
        self._expected: dict[asyncio.Protocol, str | None] = {}
        self._silent: dict[RequestHandler, asyncio.TimerHandle] = {}

    def __call__(self) -> RequestHandler:
        return _Conversation(self, loop=asyncio.get_running_loop(), **self._settings)

    def expected(self, address: str) -> RequestHandler | None:
        """A conversation with somebody whose handshake is to come, and counts already. None for one too many."""
        network = self._network(address)
        if not self._counted.take(network):
            return None
        handler = self()
        self._expected[handler] = network
        return handler

    def expected_no_more(self, handler: asyncio.Protocol) -> None:
        """The handshake has ended: where it came to nothing, another one may come."""
        if handler in self._expected:
            self._counted.give_back(self._expected.pop(handler))

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if handler in self._expected:
            self._taken[handler] = self._expected.pop(handler)
        else:
            peer = transport.get_extra_info("peername")
            network = self._network(str(peer[0]) if isinstance(peer, tuple) else "")
            if not self._counted.take(network):
                transport.abort()
                return
            self._taken[handler] = network
        loop = asyncio.get_running_loop()
        self._silent[handler] = loop.call_later(self._head_seconds_max, self._close_silent, handler)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._has_spoken(handler)
        self._counted.lost(handler)
        if handler in self._taken:
            self._counted.give_back(self._taken.pop(handler))

    def _make_request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        self._has_spoken(protocol)
        return super()._make_request(message, payload, protocol, writer, task)

    def _network(self, address: str) -> str | None:
        return None if not address or is_in(address, self._proxies) else network_of(address)

    def _has_spoken(self, handler: RequestHandler) -> None:
        timer = self._silent.pop(handler, None)
        if timer is not None:
            timer.cancel()

    def _close_silent(self, handler: RequestHandler) -> None:
        """No whole request head came: later ones on this connection have the keep-alive time."""
        del self._silent[handler]
        handler.force_close()
