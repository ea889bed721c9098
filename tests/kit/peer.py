"""Another server, as thin as can be: it has keys, takes transactions, and signs what a test has it ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from federation.keys.documents import own_document
from federation.request_signing import authorization_header
from homeserver.core import canonical_json
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import Signer
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.metrics import Metrics
from homeserver.web.addresses import AddressFilter
from homeserver.web.endpoint import Access, Json, Request, endpoint
from homeserver.web.outgoing import OutgoingAnswer, OutgoingClient
from homeserver.web.rate_limits import RateLimiter
from homeserver.web.server import WebLimits, WebServer
from tests.kit.authority import Authority
from tests.kit.federation import signer_of
from tests.kit.ports import free_port


class Peer:
    """`transactions` are (id, body) as they came; `fails` is the status that further ones get instead of a 200;
    those that `refuses` names get a 400.

    `answers` gives the answer for a path that a test cares about.
    """

    def __init__(self, port: int, outgoing: OutgoingClient) -> None:
        self.port = port
        self.name = ServerName(f"localhost:{port}")
        self.signer: Signer = signer_of(self.name)
        self.transactions: list[tuple[str, Any]] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.fails: int | None = None
        self.refuses: Callable[[Any], bool] = lambda body: False
        self.answers: dict[str, Callable[[Any], Json]] = {}
        self.keys: Json = own_document(self.signer, [], SystemClock().now_ms() + 86_400_000)
        self.connects = 0
        self._outgoing = outgoing
        self._changed = asyncio.Event()

    @property
    def pdus(self) -> list[Any]:
        """All that came, in order."""
        return [pdu for _, body in self.transactions for pdu in body["pdus"]]

    @property
    def edus(self) -> list[Any]:
        return [edu for _, body in self.transactions for edu in body.get("edus", [])]

    async def until(self, condition: Callable[[], Any], seconds: float = 30.0) -> None:
        """Waits until something that came makes the condition true."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @endpoint("GET", "/_matrix/key/v2/server", access=Access.NONE, spec="server-server-api/#get_matrixkeyv2server")
    async def key(self) -> Json:
        self.asked.append(("GET", "/_matrix/key/v2/server", None))
        self._changed.set()
        return self.keys

    @endpoint(
        "PUT",
        "/_matrix/federation/v1/send/{txn_id}",
        access=Access.NONE,
        body_bytes_max=8 * 1024 * 1024,
        spec="server-server-api/#put_matrixfederationv1sendtxnid",
    )
    async def send(self, txn_id: str, body: Json) -> Json:
        self._changed.set()
        if self.fails is not None:
            self.asked.append(("FAILED", txn_id, body))
            raise MatrixError("the test wants it so", status=self.fails)
        if self.refuses(body):
            raise MatrixError("the test wants it so", status=400)
        self.transactions.append((txn_id, body))
        return {"pdus": {}}

    @endpoint(
        "GET",
        "/_matrix/{a}/{b}/{c}",
        "/_matrix/{a}/{b}/{c}/{d}",
        "/_matrix/{a}/{b}/{c}/{d}/{e}",
        access=Access.NONE,
        spec="",
    )
    async def get_other(self, request: Request) -> Json:
        return self._other("GET", request.path, dict(request.raw_query))

    @endpoint(
        "POST",
        "/_matrix/{a}/{b}/{c}",
        "/_matrix/{a}/{b}/{c}/{d}",
        "/_matrix/{a}/{b}/{c}/{d}/{e}",
        access=Access.NONE,
        spec="",
    )
    async def post_other(self, request: Request, body: Json) -> Json:
        return self._other("POST", request.path, body)

    @endpoint("PUT", "/_matrix/{a}/{b}/{c}/{d}/{e}", access=Access.NONE, body_bytes_max=8 * 1024 * 1024, spec="")
    async def put_other(self, request: Request, body: Json) -> Json:
        return self._other("PUT", request.path, body)

    def _other(self, method: str, path: str, sent: Any) -> Json:
        self.asked.append((method, path, sent))
        self._changed.set()
        for known, answer in self.answers.items():
            if path.startswith(known):
                return answer(sent)
        raise MatrixError("no such thing", errcode="M_NOT_FOUND", status=404)

    async def ask(
        self,
        method: str,
        server: str,
        target: str,
        body: Any = None,
        *,
        authorization: str | None = None,
        content: bytes | None = None,
    ) -> OutgoingAnswer:
        """A request signed by this peer; `authorization` and `content` replace what would be sent."""
        encoded = canonical_json.encode(body) if body is not None else None
        headers = {
            "Authorization": authorization or authorization_header(self.signer, server, method, target, encoded),
            "Content-Type": "application/json",
        }
        return await self._outgoing.request(
            method,
            f"https://{server}{target}",
            headers=headers,
            body=content if content is not None else encoded,
            timeout_s=20,
            response_bytes_max=50_000_000,
        )

    async def ask_json(self, method: str, server: str, target: str, body: Any = None) -> Any:
        """As `ask`; the JSON of a 200, and a failed test for anything else."""
        answer = await self.ask(method, server, target, body)
        assert answer.status == 200, (answer.status, answer.body)
        return json.loads(answer.body)


Start = Callable[[], Awaitable[None]]


@asynccontextmanager
async def running_peer(
    authority: Authority, *, port: int | None = None, certificate_name: str = "localhost"
) -> AsyncIterator[Peer]:
    """Listens with TLS at `localhost:PORT`, as `certificate_name`."""
    outgoing = OutgoingClient(AddressFilter(deny=[]), ca_path=authority.ca_path)
    peer = Peer(port or free_port(), outgoing)
    clock = SystemClock()
    server = WebServer(RateLimiter({}, clock), clock, Metrics(), limits=WebLimits(open_requests_per_user_max=10_000))
    server.add(peer)
    await server.start([("127.0.0.1", peer.port, authority.server_context(certificate_name))])
    try:
        yield peer
    finally:
        await server.stop()
        await outgoing.close()
