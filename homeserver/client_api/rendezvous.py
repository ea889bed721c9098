"""Meeting points for signing in by a QR code. spec: MSC4108, unstable prefix"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate

import orjson

from homeserver.accounts.rendezvous import PAYLOAD_BYTES_MAX, Rendezvous, Session
from homeserver.core.errors import InvalidParam, MissingParam
from homeserver.web.endpoint import Access, Answer, Request, endpoint

_PATH = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"
_SPEC = "client-server-api/#client-authentication"


class RendezvousEndpoints:
    """Nobody needs to be known here: the address of a meeting point is the right to it."""

    def __init__(self, rendezvous: Rendezvous, base_url: str) -> None:
        self._rendezvous = rendezvous
        self._base_url = base_url.rstrip("/")

    @endpoint(
        "POST",
        _PATH,
        access=Access.NONE,
        limit="rendezvous",
        spec=_SPEC,
        raw_body=True,
        body_bytes_max=PAYLOAD_BYTES_MAX,
    )
    async def create(self, request: Request) -> Answer:
        session = self._rendezvous.create(await _text(request))
        body = orjson.dumps({"url": f"{self._base_url}{_PATH}/{session.session_id}"})
        return Answer(body, status=201, headers=_headers(session))

    @endpoint("GET", _PATH + "/{session_id}", access=Access.NONE, spec=_SPEC)
    async def read(self, request: Request, session_id: str) -> Answer:
        session = self._rendezvous.get(session_id)
        if request.headers.get("If-None-Match") == session.etag:
            return Answer(b"", status=304, headers=_headers(session))
        return Answer(session.payload, content_type="text/plain", headers=_headers(session))

    @endpoint(
        "PUT",
        _PATH + "/{session_id}",
        access=Access.NONE,
        spec=_SPEC,
        raw_body=True,
        body_bytes_max=PAYLOAD_BYTES_MAX,
    )
    async def replace(self, request: Request, session_id: str) -> Answer:
        expected = request.headers.get("If-Match")
        if expected is None:
            raise MissingParam("the header If-Match is missing")
        session = self._rendezvous.replace(session_id, await _text(request), expected)
        return Answer(b"{}", status=202, headers=_headers(session))

    @endpoint("DELETE", _PATH + "/{session_id}", access=Access.NONE, spec=_SPEC)
    async def delete(self, session_id: str) -> Answer:
        self._rendezvous.delete(session_id)
        return Answer(b"", status=204)


async def _text(request: Request) -> bytes:
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "text/plain":
        raise InvalidParam("a payload is text/plain")
    return b"".join([piece async for piece in request.stream()])


def _headers(session: Session) -> Mapping[str, str]:
    return {
        "ETag": session.etag,
        "Expires": formatdate(session.ends_ms / 1000, usegmt=True),
        "Last-Modified": formatdate(session.changed_ms / 1000, usegmt=True),
        "Cache-Control": "no-store, no-transform",
        "Pragma": "no-cache",
        "X-Content-Type-Options": "nosniff",
    }
