"""Requests to other servers: found, signed, bounded, and spared while they are down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from federation.discovery import Discovery, NotFound, Place
from federation.reachability import Reachability
from federation.request_signing import authorization_header
from federation.server_access import ServerAccess
from homeserver.core import canonical_json
from homeserver.core.errors import MatrixError, RemoteFault
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import Signer
from homeserver.web.outgoing import Outgoing, OutgoingAnswer, OutgoingError, OutgoingStream

Json = dict[str, Any]

ANSWER_BYTES_MAX = 10 * 1024 * 1024
_PARSED_INLINE_BYTES = 32_768
_ERROR_CHARS_MAX = 500
# Servers behind a proxy answer so when they are down; their own 500 is about the one request.
_DOWN = (502, 503, 504)
_SERVICES_TRIED_MAX = 3

# What a user may be told of another server's refusal; anything else (a 401 above all) would be taken for ours.
RELAYED_CODES = frozenset(
    "M_FORBIDDEN M_NOT_FOUND M_INCOMPATIBLE_ROOM_VERSION M_UNSUPPORTED_ROOM_VERSION M_UNABLE_TO_AUTHORISE_JOIN "
    "M_UNABLE_TO_GRANT_JOIN M_BAD_JSON M_INVALID_PARAM M_MISSING_PARAM M_TOO_LARGE M_UNRECOGNIZED M_BAD_STATE "
    "M_INVITE_BLOCKED".split()
)


class Unreachable(RemoteFault):
    """There was no answer, or none is expected before `retry_at_ms`. The text says why."""

    def __init__(self, server: ServerName, reason: str, *, retry_at_ms: int | None = None) -> None:
        super().__init__(f"{server} can't be reached: {reason}")
        self.server = server
        self.reason = reason
        self.retry_at_ms = retry_at_ms

    def as_matrix_error(self) -> MatrixError:
        """What our user is told."""
        return MatrixError(f"{self.server} can't be reached", status=502)


class FederationError(RemoteFault):
    """The server refused, or its answer isn't what it should be (status 200 and errcode M_BAD_JSON)."""

    def __init__(
        self, server: ServerName, status: int, errcode: str, message: str, *, body: Json | None = None
    ) -> None:
        super().__init__(f"{server} answers {status} {errcode}")
        self.server = server
        self.status = status
        self.errcode = errcode
        self.message = message
        self.body: Json = body or {}

    def as_matrix_error(self) -> MatrixError:
        """What our user is told: never a code that would make a client log out, nor a 5xx or 401 of somebody else's."""
        if self.errcode in RELAYED_CODES and self.status in (400, 403, 404, 413):
            extra = {key: self.body[key] for key in ("room_version",) if isinstance(self.body.get(key), str)}
            return MatrixError(self.message, errcode=self.errcode, status=self.status, extra=extra)
        return MatrixError(f"{self.server} refuses the request", status=502)

    @property
    def retry_after_ms(self) -> int | None:
        """How long a server that limits us (429) wants us to wait."""
        value = self.body.get("retry_after_ms")
        return value if self.status == 429 and type(value) is int and 0 <= value <= 3_600_000 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Time-outs and sizes where a call names none."""

    timeout_s: float = 30.0
    answer_bytes_max: int = ANSWER_BYTES_MAX


def path_of(template: str, *segments: str) -> str:
    """A path with its segments percent-encoded: `path_of("/_matrix/federation/v1/event/{}", event_id)`."""
    return template.format(*(quote(segment, safe="") for segment in segments))


class FederationClient:
    """Signed requests by server name. Each raises Unreachable or FederationError, and nothing else."""

    def __init__(
        self,
        outgoing: Outgoing,
        discovery: Discovery,
        reachability: Reachability,
        access: ServerAccess,
        signer: Signer,
        settings: ClientSettings | None = None,
    ) -> None:
        self._outgoing = outgoing
        self._discovery = discovery
        self._reachability = reachability
        self._access = access
        self._signer = signer
        self._settings = settings or ClientSettings()

    def is_failing(self, server: ServerName) -> bool:
        """Whether it could not be reached last, however long ago."""
        return self._reachability.is_failing(server)

    @property
    def server_name(self) -> ServerName:
        """Whose requests these are."""
        return self._signer.server_name

    async def get(
        self,
        destination: ServerName,
        path: str,
        *,
        query: Mapping[str, str | Sequence[str]] | None = None,
        timeout_s: float | None = None,
        response_bytes_max: int | None = None,
        also_when_down: bool = False,
    ) -> Json:
        """`path` is percent-encoded already (`path_of`). `also_when_down` tries although the server failed just now."""
        return await self._call(
            "GET", destination, path, None, query, timeout_s, response_bytes_max, also_when_down=also_when_down
        )

    async def put(
        self,
        destination: ServerName,
        path: str,
        body: Json,
        *,
        query: Mapping[str, str | Sequence[str]] | None = None,
        timeout_s: float | None = None,
        response_bytes_max: int | None = None,
        also_when_down: bool = False,
    ) -> Json:
        """`body` may hold `orjson.Fragment`s of canonical JSON, which aren't encoded again."""
        return await self._call(
            "PUT", destination, path, body, query, timeout_s, response_bytes_max, also_when_down=also_when_down
        )

    async def post(
        self,
        destination: ServerName,
        path: str,
        body: Json,
        *,
        query: Mapping[str, str | Sequence[str]] | None = None,
        timeout_s: float | None = None,
        response_bytes_max: int | None = None,
        also_when_down: bool = False,
    ) -> Json:
        return await self._call(
            "POST", destination, path, body, query, timeout_s, response_bytes_max, also_when_down=also_when_down
        )

    @asynccontextmanager
    async def download(
        self, destination: ServerName, path: str, *, timeout_s: float, response_bytes_max: int
    ) -> AsyncIterator[OutgoingStream]:
        """A GET whose answer comes in pieces (media). Reading them raises OutgoingError."""
        self._check(destination, also_when_down=False)
        places = (await self._places(destination))[:_SERVICES_TRIED_MAX]
        for place in places:
            begun = False
            try:
                async with self._outgoing.stream(
                    "GET",
                    f"https://{place.host_header}{path}",
                    headers=self._headers("GET", destination, path, place, None),
                    timeout_s=timeout_s,
                    response_bytes_max=response_bytes_max,
                    connect_to=(place.host, place.port),
                    server_hostname=place.certificate_name,
                ) as answer:
                    self._reachability.reached(destination)
                    begun = True
                    yield answer
                return
            except OutgoingError as error:
                if begun or error.reason != "unreachable" or place is places[-1]:
                    raise self._unreachable(destination, error) from None

    async def _call(
        self,
        method: str,
        destination: ServerName,
        path: str,
        body: Json | None,
        query: Mapping[str, str | Sequence[str]] | None,
        timeout_s: float | None,
        response_bytes_max: int | None,
        *,
        also_when_down: bool,
    ) -> Json:
        self._check(destination, also_when_down=also_when_down)
        target = f"{path}?{urlencode(query, doseq=True, quote_via=quote)}" if query else path
        content = canonical_json.encode(body) if body is not None else None
        answer = await self._send(
            method,
            destination,
            target,
            content,
            timeout_s or self._settings.timeout_s,
            response_bytes_max or self._settings.answer_bytes_max,
        )
        if answer.status in _DOWN:
            reason = f"it answers {answer.status}"
            raise Unreachable(
                destination, reason, retry_at_ms=self._reachability.failed(destination, reason).retry_at_ms
            )
        self._reachability.reached(destination)
        if not 200 <= answer.status < 300:
            raise _refusal(destination, answer)
        return await _parsed(destination, answer)

    def _check(self, destination: ServerName, *, also_when_down: bool) -> None:
        if not self._access.may_talk_with(destination):
            raise FederationError(destination, 403, "M_FORBIDDEN", f"this server doesn't talk with {destination}")
        retry_at_ms = self._reachability.retry_at_ms(destination)
        if retry_at_ms is not None and not also_when_down:
            raise Unreachable(destination, "it did not answer a short time ago", retry_at_ms=retry_at_ms)

    async def _places(self, destination: ServerName) -> list[Place]:
        try:
            return await self._discovery.places(destination)
        except NotFound as error:
            outage = self._reachability.failed(destination, str(error))
            raise Unreachable(destination, str(error), retry_at_ms=outage.retry_at_ms) from None

    async def _send(
        self,
        method: str,
        destination: ServerName,
        target: str,
        content: bytes | None,
        timeout_s: float,
        response_bytes_max: int,
    ) -> OutgoingAnswer:
        places = await self._places(destination)
        last: OutgoingError | None = None
        for place in places[:_SERVICES_TRIED_MAX]:
            try:
                return await self._outgoing.request(
                    method,
                    f"https://{place.host_header}{target}",
                    headers=self._headers(method, destination, target, place, content),
                    body=content,
                    timeout_s=timeout_s,
                    response_bytes_max=response_bytes_max,
                    connect_to=(place.host, place.port),
                    server_hostname=place.certificate_name,
                )
            except OutgoingError as error:
                last = error
                if error.reason != "unreachable":
                    break
        assert last is not None
        raise self._unreachable(destination, last) from None

    def _headers(
        self, method: str, destination: ServerName, target: str, place: Place, content: bytes | None
    ) -> dict[str, str]:
        headers = {
            "Host": place.host_header,
            "Authorization": authorization_header(self._signer, destination, method, target, content),
        }
        return headers if content is None else {**headers, "Content-Type": "application/json"}

    def _unreachable(self, destination: ServerName, error: OutgoingError) -> Unreachable | FederationError:
        if error.reason == "too_large":
            return FederationError(destination, 200, "M_TOO_LARGE", "the answer is too large")
        outage = self._reachability.failed(destination, f"{error.reason}: {error}")
        self._discovery.forget(destination)
        return Unreachable(destination, f"{error.reason}: {error}", retry_at_ms=outage.retry_at_ms)


def _refusal(server: ServerName, answer: OutgoingAnswer) -> FederationError:
    try:
        body = orjson.loads(answer.body) if len(answer.body) <= _PARSED_INLINE_BYTES else None
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        body = {}
    code, message = body.get("errcode"), body.get("error")
    return FederationError(
        server,
        answer.status,
        code if isinstance(code, str) and len(code) <= 100 else "M_UNKNOWN",
        message[:_ERROR_CHARS_MAX] if isinstance(message, str) else f"{server} answers {answer.status}",
        body=body,
    )


async def _parsed(server: ServerName, answer: OutgoingAnswer) -> Json:
    """Floats and large integers pass, as events of old rooms may hold them; what parsers disagree on doesn't."""
    try:
        if len(answer.body) > _PARSED_INLINE_BYTES:
            body = await asyncio.to_thread(canonical_json.parse_lenient, answer.body)
        else:
            body = canonical_json.parse_lenient(answer.body)
    except MatrixError as error:
        raise FederationError(server, answer.status, "M_BAD_JSON", error.message) from None
    if not isinstance(body, dict):
        raise FederationError(server, answer.status, "M_BAD_JSON", "the answer is no JSON object")
    return body
