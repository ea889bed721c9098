"""The one way out: every request to a server, gateway or page that others named goes through this client.

Invariant: no connection is made to an address that the filter denies, whatever a name resolved to before; time, size,
redirects and connections are bounded on every call; no proxy, cookie or credential of this machine is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import BadHttpMessage
from yarl import URL

from homeserver.web.addresses import AddressFilter

Reason = Literal["unreachable", "timeout", "refused_address", "too_large", "tls"]

_CONNECT_S = 10.0
_KEPT_OPEN_S = 60.0
_DNS_CACHED_S = 10
_PIECE_BYTES = 65_536
# What speaks another protocol there (mail, shells) might take what it gets for orders: the ports that browsers
# refuse as well, and that of Redis.
_OTHERS_PORTS = (
    "7 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 "
    "111 113 115 117 119 123 135 137 139 143 161 179 389 427 465 512 513 514 515 526 530 531 "
    "532 540 548 554 556 563 587 601 636 989 990 993 995 1719 1720 1723 2049 3659 4045 4190 "
    "5060 5061 6000 6379 6566 6665 6666 6667 6668 6669 6679 6697 10080 "
)
PORTS_REFUSED = frozenset(map(int, _OTHERS_PORTS.split()))
_REDIRECTS = (301, 302, 303, 307, 308)
# Meant for the one server that was asked, and for nobody it points at.
_CREDENTIALS = ("authorization", "cookie", "proxy-authorization")
_USUAL = {"User-Agent": "Hansa", "Accept-Encoding": "identity"}


class OutgoingError(Exception):
    """There is no usable answer. `reason` is for decisions, the text for people; no part of an answer is in it."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class OutgoingAnswer:
    """A whole answer, whatever its status. `headers` is case-insensitive; `url` is the last one after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


@dataclass(frozen=True, slots=True)
class OutgoingStream:
    """An answer whose body comes in pieces. Reading raises OutgoingError, also for one byte too many."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingLimits:
    """What the client as a whole may use."""

    connections_max: int = 512
    connections_per_host_max: int = 8
    header_bytes_max: int = 16_384
    headers_max: int = 100


class Outgoing(Protocol):
    """What users of the client need; a simulation has its own."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float,
        response_bytes_max: int,
        connect_to: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        redirects_max: int = 0,
    ) -> OutgoingAnswer: ...

    def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float,
        response_bytes_max: int,
        connect_to: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        redirects_max: int = 0,
    ) -> contextlib.AbstractAsyncContextManager[OutgoingStream]: ...

    async def close(self) -> None: ...


@functools.cache
def _system_authorities() -> ssl.SSLContext:
    """Those of this machine: read once, nothing changes them."""
    return ssl.create_default_context()


class OutgoingClient:
    """Implements Outgoing. One for the process, made in the composition root; `close` at the end.

    `ca_path` names authorities that are trusted beside the system's. Certificates are always verified.
    """

    def __init__(
        self, addresses: AddressFilter, *, ca_path: Path | None = None, limits: OutgoingLimits | None = None
    ) -> None:
        self._addresses = addresses
        self._limits = limits or OutgoingLimits()
        self._tls = _system_authorities()
        if ca_path is not None:
            self._tls = ssl.create_default_context()
            self._tls.load_verify_locations(ca_path)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Ends all connections. The client may not be used afterwards."""
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float,
        response_bytes_max: int,
        connect_to: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        redirects_max: int = 0,
    ) -> OutgoingAnswer:
        """Sends one request and reads the whole answer. Raises OutgoingError.

        `connect_to` is the host and port to connect to where these aren't the URL's; the Host header stays the URL's.
        `server_hostname` is the name that the certificate must have, where it isn't the URL's host.
        Redirects are followed only for GET and HEAD, `redirects_max` times, and never with credentials.
        """
        parsed, way = _parsed(url), _Way(connect_to, server_hostname, _redirects(method, redirects_max))
        with _as_outgoing_error():
            async with asyncio.timeout(timeout_s):
                response = await self._answer(method, parsed, {**_USUAL, **(headers or {})}, body, way)
                try:
                    read = await _whole(response, response_bytes_max)
                finally:
                    response.release()
        return OutgoingAnswer(response.status, response.headers, read, str(response.url))

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float,
        response_bytes_max: int,
        connect_to: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        redirects_max: int = 0,
    ) -> AsyncIterator[OutgoingStream]:
        """As `request`, for answers that are too large to hold: `timeout_s` covers reading them too."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        parsed, way = _parsed(url), _Way(connect_to, server_hostname, _redirects(method, redirects_max))
        with _as_outgoing_error():
            async with asyncio.timeout_at(deadline):
                response = await self._answer(method, parsed, {**_USUAL, **(headers or {})}, body, way)
        try:
            pieces = _pieces(response, response_bytes_max, deadline)
            yield OutgoingStream(response.status, response.headers, pieces, str(response.url))
        finally:
            # A connection is used again only where the answer was read to its end.
            response.release()

    async def _answer(
        self, method: str, url: URL, headers: dict[str, str], body: bytes | None, way: _Way
    ) -> aiohttp.ClientResponse:
        connect_to, server_hostname, redirects_left = way.connect_to, way.server_hostname, way.redirects_max
        while True:
            response = await self._send(method, url, headers, body, connect_to, server_hostname)
            if not redirects_left or response.status not in _REDIRECTS or not response.headers.get("Location"):
                return response
            response.release()
            redirects_left -= 1
            url = _parsed(str(url.join(URL(response.headers["Location"]))), after=url)
            headers = {name: value for name, value in headers.items() if name.lower() not in _CREDENTIALS}
            connect_to = server_hostname = None

    def _send(
        self,
        method: str,
        url: URL,
        headers: dict[str, str],
        body: bytes | None,
        connect_to: tuple[str, int] | None,
        server_hostname: str | None,
    ) -> aiohttp.client._RequestContextManager:
        named = url
        if connect_to is not None:
            url = url.with_host(connect_to[0]).with_port(connect_to[1])
            server_hostname = server_hostname or named.raw_host
        if url.port in PORTS_REFUSED:
            raise OutgoingError("refused_address", f"port {url.port} is another protocol's")
        if (literal := _literal(url.raw_host or "")) is not None and not self._addresses.is_allowed(literal):
            raise RefusedAddress
        return self._opened().request(
            method,
            url,
            data=body,
            headers={"Host": named.raw_authority, **headers},
            server_hostname=server_hostname if url.scheme == "https" else None,
            allow_redirects=False,
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._limits.connections_max,
                limit_per_host=self._limits.connections_per_host_max,
                keepalive_timeout=_KEPT_OPEN_S,
                ttl_dns_cache=_DNS_CACHED_S,
                ssl=self._tls,
                resolver=_FilteringResolver(self._addresses),
                socket_factory=self._socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                auto_decompress=False,
                trust_env=False,
                max_line_size=self._limits.header_bytes_max,
                max_field_size=self._limits.header_bytes_max,
                max_headers=self._limits.headers_max,
            )
        return self._session

    def _socket(self, address_info: Any) -> socket.socket:
        """The last word: sees the very address that is connected to."""
        family, kind, protocol, _, address = address_info
        if not self._addresses.is_allowed(str(address[0])):
            raise RefusedAddress
        made = socket.socket(family=family, type=kind, proto=protocol)
        made.setblocking(False)
        return made


@dataclass(frozen=True, slots=True)
class _Way:
    connect_to: tuple[str, int] | None
    server_hostname: str | None
    redirects_max: int


class RefusedAddress(OSError):
    """The filter denies this address."""

    def __init__(self) -> None:
        super().__init__("an address that may not be connected to")


class _FilteringResolver(AbstractResolver):
    """The system's resolver, without the addresses that are denied."""

    def __init__(self, addresses: AddressFilter) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        )
        allowed = [entry for entry in found if self._addresses.is_allowed(str(entry[4][0]))]
        if found and not allowed:
            raise RefusedAddress
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in allowed
        ]

    async def close(self) -> None:
        """Holds nothing."""


def _parsed(url: str, *, after: URL | None = None) -> URL:
    """A URL as it is, without normalising. Raises OutgoingError for what isn't http(s), also after a redirect."""
    try:
        parsed = URL(url, encoded=True)
        host = parsed.raw_host
    except ValueError:
        raise OutgoingError("unreachable", "not a URL") from None
    if parsed.scheme not in ("https", "http") or not host:
        raise OutgoingError("unreachable", "only http and https URLs are fetched")
    if after is not None and after.scheme == "https" and parsed.scheme == "http":
        raise OutgoingError("tls", "a redirect leads from https to http")
    return parsed.with_user(None) if "@" in parsed.raw_authority else parsed


def _redirects(method: str, most: int) -> int:
    return most if method in ("GET", "HEAD") else 0


@functools.lru_cache(maxsize=1_000)
def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return None


async def _whole(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """The body: what has come is taken at once, as it mostly is there with the head."""
    too_large = OutgoingError("too_large", f"the answer has more than {bytes_max} bytes")
    if (response.content_length or 0) > bytes_max:
        raise too_large
    pieces, size = [], 0
    while piece := await response.content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > bytes_max:
            raise too_large
    return b"".join(pieces)


async def _pieces(response: aiohttp.ClientResponse, bytes_max: int, deadline: float) -> AsyncIterator[bytes]:
    left = bytes_max
    if (response.content_length or 0) > left:
        raise OutgoingError("too_large", f"the answer has more than {bytes_max} bytes")
    while True:
        with _as_outgoing_error():
            async with asyncio.timeout_at(deadline):
                piece = await response.content.read(_PIECE_BYTES)
        if not piece:
            return
        left -= len(piece)
        if left < 0:
            raise OutgoingError("too_large", f"the answer has more than {bytes_max} bytes")
        yield piece


@contextlib.contextmanager
def _as_outgoing_error() -> Any:
    try:
        yield
    except OutgoingError:
        raise
    except RefusedAddress as error:
        raise OutgoingError("refused_address", str(error)) from None
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        raise OutgoingError("tls", _tls_fault(error)) from None
    except TimeoutError:
        raise OutgoingError("timeout", "no answer in time") from None
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, RefusedAddress):
            raise OutgoingError("refused_address", str(error.os_error)) from None
        raise OutgoingError("unreachable", f"no connection: {error.os_error.strerror or error.os_error}") from None
    except (aiohttp.ClientResponseError, BadHttpMessage):
        raise OutgoingError("too_large", "the answer is no HTTP, or its headers are too large") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise OutgoingError("unreachable", f"no answer: {type(error).__name__}") from None


def _tls_fault(error: Exception) -> str:
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    return f"TLS: {getattr(cause, 'verify_message', '') or getattr(cause, 'reason', '') or type(cause).__name__}"
