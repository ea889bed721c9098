"""An identity server, as small as the specification lets it be."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from homeserver.core.identifiers import ServerName
from homeserver.core.signing import Signer, encode_base64
from tests.kit.listening import listening
from tests.kit.requests_heard import RequestsHeard

_PEPPER = "pepper"


class IdentityServer:
    """Knows addresses, promises invites and signs for them."""

    def __init__(self) -> None:
        self.port = 0
        self.known: dict[str, str] = {}
        self.invites: list[dict[str, Any]] = []
        self.unbound: list[tuple[str, dict[str, Any]]] = []
        self.is_key_valid = True
        self.heard = RequestsHeard("identity")
        self._signer = Signer(ServerName("identity.test"), "ed25519:0", b"\x05" * 32)

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def signed(self, mxid: str, token: str) -> dict[str, Any]:
        """What it gives to whom an invited address turned out to belong."""
        return self._signer.sign_json({"mxid": mxid, "token": token})

    @web.middleware
    async def hear(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.heard.hear(request.method, request.rel_url.raw_path_qs, await request.read(), request.headers)
        return await handler(request)

    async def hash_details(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer secret"
        return web.json_response({"lookup_pepper": _PEPPER, "algorithms": ["none", "sha256"]})

    async def lookup(self, request: web.Request) -> web.Response:
        [asked] = (await request.json())["addresses"]
        found = {}
        for address, mxid in self.known.items():
            digest = hashlib.sha256(f"{address} email {_PEPPER}".encode()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked:
                found[asked] = mxid
        return web.json_response({"mappings": found})

    async def store_invite(self, request: web.Request) -> web.Response:
        self.invites.append(await request.json())
        key = {
            "public_key": encode_base64(self._signer.verify_key),
            "key_validity_url": f"https://{self.name}/_matrix/identity/v2/pubkey/isvalid",
        }
        return web.json_response({"token": "promise", "public_keys": [key], "display_name": "c...@h..."})

    async def is_valid(self, request: web.Request) -> web.Response:
        mine = request.query["public_key"] == encode_base64(self._signer.verify_key)
        return web.json_response({"valid": mine and self.is_key_valid})

    async def bind(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["sid"] != "proved":
            return web.json_response({"errcode": "M_SESSION_NOT_VALIDATED", "error": "no"}, status=400)
        self.known["carol@hansa.test"] = body["mxid"]
        return web.json_response({"medium": "email", "address": "carol@hansa.test", "mxid": body["mxid"]})

    async def unbind(self, request: web.Request) -> web.Response:
        self.unbound.append((request.headers["Authorization"], await request.json()))
        return web.json_response({})


@asynccontextmanager
async def identity_server(tls: ssl.SSLContext) -> AsyncIterator[IdentityServer]:
    """Listens on a free port of the loopback. Raises AssertionError at its end if a request was ill-formed."""
    server = IdentityServer()
    app = web.Application(middlewares=[server.hear])
    base = "/_matrix/identity/v2"
    app.router.add_get(base + "/hash_details", server.hash_details)
    app.router.add_post(base + "/lookup", server.lookup)
    app.router.add_post(base + "/store-invite", server.store_invite)
    app.router.add_get(base + "/pubkey/isvalid", server.is_valid)
    app.router.add_post(base + "/3pid/bind", server.bind)
    app.router.add_post(base + "/3pid/unbind", server.unbind)
    async with listening(app, tls=tls) as server.port:
        yield server
    server.heard.check()
