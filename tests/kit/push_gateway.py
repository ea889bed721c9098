"""A push gateway over TLS that keeps what it is told and answers as it was told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.kit.authority import Authority
from tests.kit.listening import listening
from tests.kit.requests_heard import RequestsHeard
from tests.kit.until import SOON_S

PATH = "/_matrix/push/v1/notify"


class PushGateway:
    """`rejected`, `status` and `headers` are what it answers; while `is_silent` it never does."""

    def __init__(self) -> None:
        self.port = 0
        self.rejected: list[str] = []
        self.status = 200
        self.body: bytes | None = None
        self.headers: dict[str, str] = {}
        self.is_silent = False
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.heard = RequestsHeard("push-gateway")

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}{PATH}"

    def pusher(self, pushkey: str = "key", **data: Any) -> dict[str, Any]:
        """The body of /pushers/set."""
        return {
            "pushkey": pushkey,
            "kind": "http",
            "app_id": "org.example.app",
            "app_display_name": "App",
            "device_display_name": "Phone",
            "lang": "en",
            "data": {"url": self.url, **data},
        }

    async def next(self) -> dict[str, Any]:
        """The next notification that arrives."""
        async with asyncio.timeout(SOON_S):
            return await self.told.get()

    async def handle(self, request: web.Request) -> web.Response:
        self.heard.hear(request.method, request.rel_url.raw_path_qs, await request.read(), request.headers)
        self.told.put_nowait((await request.json())["notification"])
        if self.is_silent:
            await asyncio.Event().wait()
        body = self.body if self.body is not None else json.dumps({"rejected": self.rejected}).encode()
        return web.Response(body=body, status=self.status, headers=self.headers)


@asynccontextmanager
async def push_gateway(authority: Authority) -> AsyncIterator[PushGateway]:
    """Listens on a free port of the loopback. Raises AssertionError at its end if a request was ill-formed."""
    gateway = PushGateway()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", gateway.handle)
    async with listening(application, tls=authority.server_context("localhost"), grace_s=0.1) as gateway.port:
        yield gateway
    gateway.heard.check()
