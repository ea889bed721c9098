"""A Matrix Authentication Service, as small as can be: it keeps accounts and sessions, tells the homeserver of them by
the back channel, and says what a token is good for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.kit.listening import listening
from tests.kit.server import Answered, Client

SECRET = "both-of-them-know-this"
API, DEVICE = "urn:matrix:client:api:*", "urn:matrix:client:device:"
OLD_API, OLD_DEVICE = "urn:matrix:org.matrix.msc2967.client:api:*", "urn:matrix:org.matrix.msc2967.client:device:"


class MasServer:
    """`asked` counts introspections; `answer` replaces what is said of every token; `status` of all its answers."""

    def __init__(self) -> None:
        self.port = 0
        self.asked = 0
        self.status = 200
        self.answer: Any = None
        self.tokens: dict[str, dict[str, Any]] = {}
        self.supports_device_id: list[str | None] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def said_of_itself(self) -> dict[str, Any]:
        return {
            "issuer": "https://mas.example.org/",
            "authorization_endpoint": "https://mas.example.org/authorize",
            "token_endpoint": "https://mas.example.org/oauth2/token",
            "registration_endpoint": "https://mas.example.org/oauth2/registration",
            "revocation_endpoint": "https://mas.example.org/oauth2/revoke",
            "introspection_endpoint": "https://mas.example.org/oauth2/introspect",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "fragment"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "account_management_uri": "https://mas.example.org/account/",
            "account_management_actions_supported": ["org.matrix.profile", "org.matrix.cross_signing_reset"],
        }

    async def metadata(self, request: web.Request) -> web.Response:
        return web.json_response(self.said_of_itself, status=self.status)

    async def introspect(self, request: web.Request) -> web.Response:
        """RFC 7662, for whoever knows the secret."""
        self.asked += 1
        if request.headers.get("Authorization") != f"Bearer {SECRET}":
            return web.json_response({"error": "invalid_client"}, status=401)
        form = await request.post()
        self.supports_device_id.append(request.headers.get("X-MAS-Supports-Device-Id"))
        assert form["token_type_hint"] == "access_token"
        if self.answer is not None:
            return web.json_response(self.answer, status=self.status)
        known = self.tokens.get(str(form["token"]))
        return web.json_response({"active": False} if known is None else {"active": True, **known}, status=self.status)

    def give(self, token: str, username: str, device_id: str | None, scope: str = API, **more: Any) -> None:
        """A token of an OAuth session, whose device is in its scope."""
        scope += f" {DEVICE}{device_id}" if device_id is not None else ""
        self.tokens[token] = {"username": username, "sub": f"01{username.upper()}", "scope": scope, **more}


async def call(client: Client, method: str, path: str, body: Any = None, *, secret: str | None = SECRET) -> Answered:
    """A call of the back channel, as the service makes it."""
    headers = {"Authorization": f"Bearer {secret}"} if secret is not None else {}
    return await client.request(method, f"/_synapse/mas/{path}", body=body, headers=headers)


async def sign_in(mas: MasServer, client: Client, localpart: str, device_id: str, **more: Any) -> Client:
    """Somebody signs in at the service: it tells the homeserver, and gives their app a token."""
    assert (await call(client, "POST", "provision_user", {"localpart": localpart})).status in (200, 201)
    device = {"localpart": localpart, "device_id": device_id, "display_name": "App"}
    assert (await call(client, "POST", "upsert_device", device)).status in (200, 201)
    token = f"mct_{localpart}_{device_id}"
    mas.give(token, localpart, device_id, **more)
    client.token, client.device_id = token, device_id
    return client


@asynccontextmanager
async def mas_server() -> AsyncIterator[MasServer]:
    """Listens on a free port of the loopback."""
    service, app = MasServer(), web.Application()
    app.router.add_get("/.well-known/openid-configuration", service.metadata)
    app.router.add_post("/oauth2/introspect", service.introspect)
    async with listening(app) as service.port:
        yield service
