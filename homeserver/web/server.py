"""From an HTTP request to an endpoint's answer: route, name the caller, limit, parse, call, answer.

`except Exception` stands here once: whatever an endpoint lets through is our fault, a 500 without details, and logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import orjson
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from homeserver.core import canonical_json
from homeserver.core.errors import (
    Forbidden,
    LimitExceeded,
    MatrixError,
    MissingToken,
    TooLarge,
    Unavailable,
    UnknownToken,
    Unrecognized,
)
from homeserver.core.identifiers import ServerName
from homeserver.runtime.clock import Clock
from homeserver.runtime.logging import bind_request, bound_request
from homeserver.web.admission import SpaceRooms, admitted
from homeserver.web.binding import Binding
from homeserver.web.compression import compressed, encoding_for, is_worth_it
from homeserver.web.connections import Connections, GuardedServer, client_address, network_of
from homeserver.web.endpoint import Access, Answer, Caller, Endpoint, Handler, Operator, endpoints_of
from homeserver.web.older_spellings import older_spellings
from homeserver.web.rate_limits import RateLimiter
from homeserver.web.router import Router
from homeserver.web.tls_door import TlsDoor

log = structlog.get_logger()

_PARSED_INLINE_BYTES = 32_768

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": (
        "X-Requested-With, Content-Type, Authorization, Date, Range, If-Range, If-Match, If-None-Match, "
        "Tus-Resumable, Upload-Checksum, Upload-Length, Upload-Metadata, Upload-Offset, X-HTTP-Method-Override"
    ),
    "Access-Control-Expose-Headers": (
        "ETag, Location, Accept-Ranges, Content-Range, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, "
        "Tus-Checksum-Algorithm, Upload-Length, Upload-Offset, Upload-Expires"
    ),
}
# When a client whom we couldn't serve may come again.
RETRY_AFTER_S = 2
# The longest that a reader may take nothing of an answer in pieces.
STALL_S = 60.0
# What is read of a body before its handler asks for it: large files come in few pieces.
_READ_AHEAD_BYTES = 256 * 1024
# Which program this is, not which version of which library.
_SERVER = {"Server": "Hansa"}
_ALWAYS = {**CORS, **_SERVER}
_JSON_HEADERS = {**_ALWAYS, "Content-Type": "application/json", "Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebLimits:
    """What one request or caller may use of the server."""

    body_bytes_max: int = 1024 * 1024
    body_seconds_max: float = 30.0
    header_bytes_max: int = 16 * 1024
    head_seconds_max: float = 10.0
    request_seconds_max: float = 60.0
    json_depth_max: int = 100
    open_requests_per_user_max: int = 100
    keepalive_s: float = 60.0
    stall_seconds_max: float = STALL_S
    shutdown_seconds_max: float = 10.0
    compresses: bool = True


class Authenticator(Protocol):
    """Names the holder of an access token. Implemented by accounts."""

    async def authenticate(self, token: str, request: HttpRequest) -> Caller:
        """Raises UnknownToken (with soft_logout where the session can be refreshed)."""
        ...


class ServerAuthenticator(Protocol):
    """Names the server that signed a request. Implemented by federation."""

    async def authenticate(
        self, method: str, target: str, authorization: Sequence[str], content: Callable[[], Awaitable[Any]]
    ) -> ServerName:
        """`target` is path and query as they were sent; `content` reads and parses the body (None without one).

        Raises MatrixError: 401 where the signature isn't shown to be right, Forbidden for servers not talked with.
        """
        ...


class RequestMetrics(Protocol):
    """Told of each request's end. Implemented by runtime.metrics."""

    def request_ended(self, endpoint: str, method: str, status: int, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What all listeners of a process share: how many may come in, whether they may leave something here."""

    connections: Connections = field(default_factory=lambda: Connections(most=10_000, per_address=1_000))
    # Raises Unavailable while nothing can be kept (the disk is nearly full).
    check_room: Callable[[], None] = lambda: None
    # Whether this is the secret of the authentication service beside this server; nobody's, where there is none.
    is_service: Callable[[str], bool] = lambda token: False
    # Begins the id that each request has in the log.
    name: str = "r"
    numbers: Iterator[int] = field(default_factory=itertools.count)
    # How many bytes are added to a compressed answer: at random, each time.
    padding: Callable[[], int] = lambda: 0


@dataclass(frozen=True, slots=True)
class _Route:
    declared: Endpoint
    handler: Handler
    binding: Binding


@dataclass(slots=True)
class _Asked:
    """Who asks, and a body that had to be parsed to know that."""

    key: str
    caller: Caller | None = None
    origin: ServerName | None = None
    content: Any = None


class HttpRequest:
    """The request as handlers and the authenticator see it."""

    __slots__ = ("_limit", "_raw", "_seconds", "address")

    def __init__(self, raw: web.BaseRequest, address: str, body_bytes_max: int, seconds: float) -> None:
        self._raw = raw
        self.address = address
        self._limit = body_bytes_max
        self._seconds = seconds

    @property
    def network(self) -> str:
        return network_of(self.address)

    @property
    def headers(self) -> Mapping[str, str]:
        return self._raw.headers

    @property
    def raw_query(self) -> Mapping[str, str]:
        return self._raw.rel_url.query

    @property
    def query_string(self) -> str:
        return self._raw.raw_path.partition("?")[2].partition("#")[0]

    @property
    def path(self) -> str:
        return self._raw.rel_url.raw_path

    def access_token(self) -> str | None:
        """From the Authorization header, or the query string that older clients use."""
        header = self._raw.headers.get("Authorization")
        if header is not None:
            scheme, _, token = header.partition(" ")
            return token.strip() if scheme.lower() == "bearer" and token.strip() else None
        if "access_token" in self._raw.rel_url.raw_query_string:
            return self._raw.rel_url.query.get("access_token")
        return None

    async def stream(self) -> AsyncIterator[bytes]:
        size = self._raw.content_length or 0
        if size > self._limit:
            raise TooLarge(f"the body may have {self._limit} bytes")
        received = 0
        async for piece in self._raw.content.iter_any():
            received += len(piece)
            if received > self._limit:
                raise TooLarge(f"the body may have {self._limit} bytes")
            yield piece

    async def body(self) -> bytes:
        """The whole body. Raises TooLarge; MatrixError (408) when it comes too slowly."""
        raw = self._raw
        if not raw.body_exists:
            return b""
        size = raw.content_length
        if size is not None and size > self._limit:
            raise TooLarge(f"the body may have {self._limit} bytes")
        try:
            async with asyncio.timeout(self._seconds):
                return b"".join([piece async for piece in self.stream()])
        except TimeoutError:
            raise MatrixError("the body came too slowly", status=408) from None


class WebServer:
    """Serves the endpoints that it was given. One for each set of listeners with the same APIs.

    `hidden` are endpoints (method, first path) that aren't served, whoever declares them; `spaces` says which rooms
    operators have who are bound to some.
    """

    hidden: Collection[tuple[str, str]] = ()
    # Asked for those operators who are bound to rooms.
    spaces: SpaceRooms | None = None

    def __init__(
        self,
        limiter: RateLimiter,
        clock: Clock,
        metrics: RequestMetrics,
        *,
        authenticator: Authenticator | None = None,
        servers: ServerAuthenticator | None = None,
        limits: WebLimits | None = None,
        trusted_proxies: Iterable[str] = (),
        door: Door | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._servers = servers
        self._limiter = limiter
        self._clock = clock
        self._metrics = metrics
        self._limits = limits or WebLimits()
        self._door = door or Door()
        self._router: Router[_Route] = Router()
        self._open: Counter[str] = Counter()
        self._trusted = [ipaddress.ip_network(network) for network in trusted_proxies]
        self._runner: web.ServerRunner | None = None
        self._doors: list[TlsDoor] = []
        self.endpoints: list[Endpoint] = []

    def add(self, *parts: object) -> None:
        """Takes up the endpoints that these objects' methods declare, under their older spellings too."""
        routes: list[_Route] = []
        for part in parts:
            for declared, handler in endpoints_of(part):
                if (declared.method, declared.paths[0]) in self.hidden:
                    continue
                route = _Route(declared, handler, Binding(declared, handler, self._limits.json_depth_max))
                for path in declared.paths:
                    self._router.add(declared.method, path, route)
                routes.append(route)
                self.endpoints.append(declared)
        for route in routes:
            method = route.declared.method
            for path in (older for stable in route.declared.paths for older in older_spellings(stable)):
                if not self._router.has(method, path):
                    self._router.add(method, path, route)

    async def start(self, binds: Iterable[tuple[str, int, ssl.SSLContext | None]]) -> list[tuple[str, int]]:
        """Listens on each (address, port, TLS); port 0 chooses one. The addresses it listens on."""
        server = GuardedServer(
            self._handle,
            self._door.connections,
            self._trusted,
            head_seconds_max=self._limits.head_seconds_max,
            stall_seconds_max=self._limits.stall_seconds_max,
            access_log=None,
            keepalive_timeout=self._limits.keepalive_s,
            read_bufsize=_READ_AHEAD_BYTES,
            max_line_size=self._limits.header_bytes_max,
            max_field_size=self._limits.header_bytes_max,
            auto_decompress=False,
        )
        # aiohttp waits so long twice: before it takes the bodies away, and before it cancels.
        self._runner = web.ServerRunner(server, shutdown_timeout=max(self._limits.shutdown_seconds_max / 2, 0.05))
        await self._runner.setup()
        secured: list[tuple[str, int]] = []
        for address, port, tls in binds:
            if tls is None:
                await web.TCPSite(self._runner, address, port, backlog=1024).start()
                continue
            door = TlsDoor(server, tls, self._clock, handshake_seconds_max=self._limits.head_seconds_max)
            secured += await door.open(address, port)
            self._doors.append(door)
        return [*((bound[0], bound[1]) for bound in self._runner.addresses), *secured]

    async def stop(self) -> None:
        """Stops listening and lets open requests end; those that take too long are cancelled."""
        for door in self._doors:
            await door.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        started = self._clock.monotonic_s()
        name = "unknown"
        bind_request(f"{self._door.name}-{next(self._door.numbers)}")
        try:
            if raw.method == "OPTIONS" and not self._router.has("OPTIONS", raw.raw_path.partition("?")[0]):
                return web.Response(status=204, headers=_ALWAYS)
            # As it was sent: the URL object would have normalised it.
            route, path = self._router.find(raw.method, raw.raw_path.partition("?")[0])
            name = route.declared.name or route.declared.paths[0]
            if _is_implied_head(raw, route.declared) and (
                route.declared.acts or route.declared.access not in (Access.NONE, Access.OPTIONAL)
            ):
                raise Unrecognized("this path takes GET, not HEAD", status=405)
            answer = await self._call(route, path, raw)
            response = await _respond(raw, answer)
            if self._limits.compresses and route.declared.may_be_compressed:
                await _compress(raw, response, self._door.padding())
        except MatrixError as error:
            if error.http_status >= 500:
                log.warning("request_refused", endpoint=name, status=error.http_status, error=error.message)
            response = _error(error)
        except asyncio.CancelledError:
            raise
        except (ConnectionError, HttpProcessingError):
            raise
        except Exception:
            log.exception("request_failed", endpoint=name, method=raw.method)
            response = _error(MatrixError("internal server error", status=500))
        seconds = self._clock.monotonic_s() - started
        self._metrics.request_ended(name, raw.method, response.status, seconds)
        log.debug("request_handled", endpoint=name, method=raw.method, status=response.status, seconds=seconds)
        return response

    async def _call(self, route: _Route, path: Mapping[str, str], raw: web.BaseRequest) -> Any:
        declared = route.declared
        limit = declared.body_bytes_max or self._limits.body_bytes_max
        request = HttpRequest(raw, self._address(raw), limit, self._limits.body_seconds_max)
        try:
            async with asyncio.timeout(self._seconds(declared)):
                asked = await self._asked(declared, request, raw)
                with self._counted(declared, asked), self._held(declared, raw):
                    operator = await self._operator(route, path, asked.caller, request)
                    arguments = route.binding.arguments(path, _query(raw), asked.caller, request)
                    if route.binding.wants_origin:
                        arguments["origin"] = asked.origin
                    if route.binding.wants_operator:
                        arguments["operator"] = operator
                    if route.binding.wants_body:
                        arguments["body"] = (
                            route.binding.parse_body(await request.body())
                            if asked.origin is None
                            else route.binding.convert_body(asked.content if asked.content is not None else {})
                        )
                    return await route.handler(**arguments)
        except TimeoutError:
            raise Unavailable("the request took too long") from None

    def _held(self, declared: Endpoint, raw: web.BaseRequest) -> contextlib.AbstractContextManager[None]:
        return self._door.connections.waiting(raw.protocol) if declared.waits else contextlib.nullcontext()

    @contextlib.contextmanager
    def _counted(self, declared: Endpoint, asked: _Asked) -> Iterator[None]:
        """Holds one of the requests that a caller may have open. Raises LimitExceeded, and what `check_room` does."""
        who = asked.key
        if asked.origin is None and declared.access is not Access.SERVICE:
            self._limiter.check("requests_user" if asked.caller else "requests_address", who)
        if declared.keeps_something:
            self._door.check_room()
        action = declared.limit or ("federation" if declared.access is Access.SERVER else None)
        if action is not None:
            self._limiter.check(action, who)
        if self._open[who] >= self._limits.open_requests_per_user_max:
            raise LimitExceeded("too many requests at once", retry_after_ms=1000)
        self._open[who] += 1
        try:
            yield
        finally:
            self._open[who] -= 1
            if not self._open[who]:
                del self._open[who]

    async def _asked(self, declared: Endpoint, request: HttpRequest, raw: web.BaseRequest) -> _Asked:
        if declared.access is not Access.SERVER:
            caller = await self._caller(declared, request)
            return _Asked(caller.user_id if caller else request.network, caller)
        assert self._servers is not None
        asked = _Asked("")

        async def content() -> Any:
            data = await request.body()
            asked.content = await _parsed(data) if data else None
            return asked.content

        authorization = raw.headers.getall("Authorization", [])
        asked.origin = await self._servers.authenticate(raw.method, raw.raw_path, authorization, content)
        asked.key = asked.origin
        return asked

    async def _operator(
        self, route: _Route, path: Mapping[str, str], caller: Caller | None, request: HttpRequest
    ) -> Operator | None:
        """Who acts, with their rooms, where it is for operators. Raises Forbidden where it is about other rooms."""
        declared = route.declared
        if declared.access is not Access.ADMIN:
            return None
        return await admitted(_operator(caller, request), declared.reach, route.binding.named(path), self.spaces)

    def _seconds(self, declared: Endpoint) -> float | None:
        return None if declared.timeout_s is None else min(declared.timeout_s, self._limits.request_seconds_max)

    async def _caller(self, declared: Endpoint, request: HttpRequest) -> Caller | None:
        access = declared.access
        if access is Access.NONE:
            return None
        token = request.access_token()
        if not token:
            if access is Access.OPTIONAL:
                return None
            raise MissingToken("an access token is needed")
        if access is Access.SERVICE:
            if not self._door.is_service(token):
                self._limiter.check("requests_address", request.network)
                raise MatrixError("This endpoint must only be called by MAS", status=403)
            return None
        assert self._authenticator is not None
        try:
            caller = await self._authenticator.authenticate(token, request)
        except UnknownToken:
            self._limiter.check("requests_address", request.network)
            raise
        if caller.is_locked and not declared.while_locked:
            raise UnknownToken("this account is locked", errcode="M_USER_LOCKED", extra={"soft_logout": True})
        if caller.is_guest and access not in (Access.GUEST, Access.OPTIONAL):
            raise Forbidden("guests may not do this", errcode="M_GUEST_ACCESS_FORBIDDEN")
        if access is Access.ADMIN and not (
            caller.is_admin and caller.scopes is None if declared.needs is None else caller.holds(declared.needs)
        ):
            raise Forbidden("only server administrators may do this")
        if access is not Access.ADMIN and caller.scopes is not None:
            raise Forbidden("an operator's token opens the admin API alone")
        if access is Access.ADMIN and caller.is_suspended:
            raise Forbidden("this account is suspended", errcode="M_USER_SUSPENDED")
        if caller.is_suspended and not declared.while_suspended:
            raise Forbidden("this account is suspended", errcode="M_USER_SUSPENDED")
        return caller

    def _address(self, raw: web.BaseRequest) -> str:
        forwarded = ",".join(raw.headers.getall("X-Forwarded-For", ()))
        return client_address(raw.remote or "unknown", forwarded, self._trusted)


async def _parsed(data: bytes) -> Any:
    """What another server sent, with one meaning for all parsers; large texts are parsed beside the event loop.

    Floats and large integers pass: one bad event must not cost the others of its transaction (they are for intake).
    """
    if len(data) > _PARSED_INLINE_BYTES:
        return await asyncio.to_thread(canonical_json.parse_lenient, data)
    return canonical_json.parse_lenient(data)


def _operator(caller: Caller | None, request: HttpRequest) -> Operator:
    """The caller as the operator that access was given to."""
    assert caller is not None and caller.role is not None
    return Operator(
        user_id=caller.user_id,
        role=caller.role,
        address=request.address,
        request_id=bound_request(),
        scopes=caller.scopes,
        bounds=caller.bounds,
    )


def _is_implied_head(raw: web.BaseRequest, declared: Endpoint) -> bool:
    """Whether this is a HEAD for what is declared as a GET."""
    return raw.method == "HEAD" and declared.method != "HEAD"


def _query(raw: web.BaseRequest) -> Mapping[str, str]:
    return raw.rel_url.query if raw.rel_url.raw_query_string else {}


async def _respond(raw: web.BaseRequest, answer: Any) -> web.StreamResponse:
    if isinstance(answer, Answer):
        # What says that it is for its own site is read by no other one's scripts: pages of the console.
        always = _SERVER if "Cross-Origin-Resource-Policy" in answer.headers else _ALWAYS
        headers = {**always, "Content-Type": answer.content_type, **answer.headers}
        if isinstance(answer.body, bytes):
            return web.Response(body=answer.body, status=answer.status, headers=headers)
        return await _stream(raw, answer, headers)
    if isinstance(answer, dict):
        return web.Response(body=orjson.dumps(answer), headers=_JSON_HEADERS)
    return web.Response(body=msgspec.json.encode(answer), headers=_JSON_HEADERS)


async def _compress(raw: web.BaseRequest, response: web.StreamResponse, padding: int) -> None:
    """Where the client takes it, and it saves something."""
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return
    if "ETag" in response.headers:
        return  # it names these very bytes
    if response.status != 200 or not is_worth_it(response.headers.get("Content-Type", ""), response.body):
        return
    response.headers["Vary"] = "Accept-Encoding"
    encoding = encoding_for(raw.headers.get("Accept-Encoding"))
    if encoding is not None:
        response.body = await compressed(response.body, encoding, padding)
        response.headers["Content-Encoding"] = encoding


async def _stream(raw: web.BaseRequest, answer: Answer, headers: Mapping[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=headers)
    assert not isinstance(answer.body, bytes)
    try:
        await response.prepare(raw)
        if raw.method != "HEAD":
            async for piece in answer.body:
                # A reader that takes nothing for so long doesn't hold the connection, and the file, for ever.
                async with asyncio.timeout(STALL_S):
                    await response.write(piece)
        await response.write_eof()
    except Exception as error:
        # Half an answer is out: all that can be said is that it has no end.
        log.warning("answer_broken_off", error=type(error).__name__)
        if raw.transport is not None:
            raw.transport.abort()
    finally:
        close = getattr(answer.body, "aclose", None)
        if close is not None:
            await close()
    return response


def _error(error: MatrixError) -> web.Response:
    headers = dict(_JSON_HEADERS)
    if isinstance(error, LimitExceeded):
        headers["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    elif error.http_status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return web.Response(body=orjson.dumps(error.body()), status=error.http_status, headers=headers)
