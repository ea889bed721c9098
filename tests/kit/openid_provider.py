"""A sign-in service that speaks OpenID Connect, as small as can be; it lets in whoever it is told to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.kit.listening import listening
from tests.kit.oauth import Browser

CLIENT_ID, CLIENT_SECRET = "hansa", "known to both"


class OpenIdService:
    """`claims` is what it will say of whoever signs in next; `wrong` replaces parts of its answers.

    `more` goes into its metadata too; `instead` replaces whole answers, by path, with a status and a body.
    With `told_apart` it says their names at its place for that alone; `takes` is how it takes our secret.
    """

    def __init__(self, now_s: int) -> None:
        self.port = 0
        self.claims: dict[str, Any] = {"sub": "4711", "preferred_username": "Alice", "name": "Alice Liddell"}
        self.wrong: dict[str, Any] = {}
        self.told_apart: dict[str, Any] | None = None
        self.takes: str | None = None
        self.more: dict[str, Any] = {}
        # Paths at which it is slow: it sends blanks until it is told to go on.
        self.slow: set[str] = set()
        self.go_on = asyncio.Event()
        self.waiting = 0
        self.instead: dict[str, tuple[int, bytes]] = {}
        self.key = ECKey.generate_key("P-256")
        self._published = self.key
        self.keys_asked = 0
        self.now_s = now_s
        self._codes: dict[str, dict[str, str]] = {}
        self._numbers = itertools.count()

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sign_in(self, url: str) -> dict[str, str]:
        """Somebody follows our redirect and signs in: what the browser carries back."""
        asked = {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}
        code = f"code{next(self._numbers)}"
        self._codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.issuer}

    @web.middleware
    async def lie(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in self.slow:
            return await self._trickle(request, handler)
        if request.path not in self.instead:
            return await handler(request)
        status, body = self.instead[request.path]
        headers = {"Location": self.issuer + "/nowhere"} if status == 302 else {}
        return web.Response(status=status, body=body, content_type="application/json", headers=headers)

    async def _trickle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Blanks are no fault in JSON."""
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        self.waiting += 1
        try:
            while not self.go_on.is_set():
                await answer.write(b" ")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.go_on.wait(), 0.02)
        finally:
            self.waiting -= 1
        said = await handler(request)
        assert isinstance(said, web.Response) and isinstance(said.body, bytes)
        await answer.write(said.body)
        return answer

    async def metadata(self, request: web.Request) -> web.Response:
        paths = {"authorization_endpoint": "/auth", "token_endpoint": "/token", "jwks_uri": "/keys"}
        if self.told_apart is not None:
            paths["userinfo_endpoint"] = "/userinfo"
        endpoints = {key: self.issuer + path for key, path in paths.items()}
        takes = {"token_endpoint_auth_methods_supported": [self.takes]} if self.takes else {}
        return web.json_response({"issuer": self.issuer, **endpoints, **takes, **self.more})

    async def userinfo(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer an access token"
        return web.json_response(self.told_apart)

    def publish(self, key: ECKey) -> None:
        """From now on it signs with this one, and says so."""
        self.key = self._published = key

    async def keys(self, request: web.Request) -> web.Response:
        self.keys_asked += 1
        return web.json_response({"keys": [self._published.as_dict(private=False)]})

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self._codes.pop(str(form["code"]))
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
        if self.takes == "client_secret_post":
            assert form["client_secret"] == CLIENT_SECRET
        else:
            said = base64.b64encode(f"{CLIENT_ID}:{quote_plus(CLIENT_SECRET)}".encode()).decode()
            assert request.headers["Authorization"] == f"Basic {said}" and "client_secret" not in form
        assert form["redirect_uri"] == asked["redirect_uri"]
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "exp": self.now_s + 300,
            "iat": self.now_s,
            "nonce": asked["nonce"],
            **self.claims,
            **self.wrong,
        }
        token = jwt.encode({"alg": "ES256"}, claims, self.key)
        return web.json_response({"id_token": token, "access_token": "an access token"})


@asynccontextmanager
async def openid_service(now_s: int) -> AsyncIterator[OpenIdService]:
    service = OpenIdService(now_s)
    app = web.Application(middlewares=[service.lie])
    app.router.add_get("/.well-known/openid-configuration", service.metadata)
    app.router.add_get("/keys", service.keys)
    app.router.add_get("/userinfo", service.userinfo)
    app.router.add_post("/token", service.token)
    async with listening(app) as service.port:
        yield service


def settings_of(service: OpenIdService) -> str:
    """What a server's configuration needs, so that people sign in there."""
    return (
        f'[[sso]]\nid = "work"\nname = "Work"\nissuer = "{service.issuer}"\nclient_id = "{CLIENT_ID}"\n'
        f'client_secret = "{CLIENT_SECRET}"\n[federation]\nallow_ip_ranges = ["127.0.0.0/8"]\n'
    )


async def arrive(service: OpenIdService, browser: Browser, path: str, **changes: str) -> None:
    """Follows the redirect, signs in there, and comes back."""
    sent = await browser.open(path)
    assert sent.status == 303, sent.body
    back = {**service.sign_in(sent.headers["Location"]), **changes}
    await browser.open("/_hansa/sso/callback?" + urlencode(back))
