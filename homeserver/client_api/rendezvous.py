"""Meeting points for signing in by a QR code. spec: MSC4108 and what follows it, MSC4388; unstable prefixes"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate

import msgspec
import orjson

from homeserver.accounts.rendezvous import PAYLOAD_BYTES_MAX, Rendezvous, Session
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError, MissingParam
from homeserver.web.endpoint import Access, Answer, Json, Request, endpoint

_PATH = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"
_DATA_PATH = "/_matrix/client/unstable/io.element.msc4388/rendezvous"
# JSON may spell a byte with six.
_DATA_BODY_BYTES_MAX = 6 * PAYLOAD_BYTES_MAX + 1_024
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


class DataBody(msgspec.Struct, frozen=True):
    data: str


class NextDataBody(msgspec.Struct, frozen=True):
    data: str
    sequence_token: str


class DataRendezvousEndpoints:
    """The same in JSON, which the scanning device finds by the server's address and an id (MSC4388)."""

    def __init__(self, rendezvous: Rendezvous) -> None:
        self._rendezvous = rendezvous

    @endpoint("GET", _DATA_PATH, access=Access.NONE, spec=_SPEC)
    async def discover(self) -> Json:
        return {"create_available": True}

    @endpoint(
        "POST",
        _DATA_PATH,
        access=Access.NONE,
        limit="rendezvous",
        spec=_SPEC,
        body_bytes_max=_DATA_BODY_BYTES_MAX,
    )
    async def create(self, body: DataBody) -> Json:
        session = self._rendezvous.create(body.data.encode())
        return {"id": session.session_id, "sequence_token": session.etag, **self._ends(session)}

    @endpoint("GET", _DATA_PATH + "/{session_id}", access=Access.NONE, spec=_SPEC)
    async def read(self, request: Request, session_id: str) -> Json:
        # What strangers wrote is for scripts that asked for it, not for a browser's window.
        if request.headers.get("Sec-Fetch-Dest", "empty") != "empty" or (
            request.headers.get("Sec-Fetch-Mode") == "navigate"
        ):
            raise Forbidden("a meeting point is not a page")
        session = self._rendezvous.get(session_id)
        return {"data": session.payload.decode(), "sequence_token": session.etag, **self._ends(session)}

    @endpoint(
        "PUT",
        _DATA_PATH + "/{session_id}",
        access=Access.NONE,
        spec=_SPEC,
        body_bytes_max=_DATA_BODY_BYTES_MAX,
    )
    async def replace(self, session_id: str, body: NextDataBody) -> Json:
        if self._rendezvous.get(session_id).etag != body.sequence_token:
            raise MatrixError(
                "somebody else has written meanwhile", status=409, errcode="IO_ELEMENT_MSC4388_CONCURRENT_WRITE"
            )
        session = self._rendezvous.replace(session_id, body.data.encode(), body.sequence_token)
        return {"sequence_token": session.etag}

    @endpoint("DELETE", _DATA_PATH + "/{session_id}", access=Access.NONE, spec=_SPEC)
    async def delete(self, session_id: str) -> Json:
        self._rendezvous.delete(session_id)
        return {}

    def _ends(self, session: Session) -> Json:
        """Clients read how long; those of the proposal's earlier text read until when."""
        return {"expires_in_ms": self._rendezvous.left_ms(session), "expires_ts": session.ends_ms}


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
