"""A program that takes a room's deliveries, checks their signature as its author would, and answers as it was told."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.kit.listening import listening
from tests.kit.until import SOON_S


class WebhookReceiver:
    """`statuses` are what it answers next, 200 afterwards; `secret` is what the server told its owner."""

    def __init__(self) -> None:
        self.port = 0
        self.secret = ""
        self.statuses: list[int] = []
        self.deliveries: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def next(self) -> tuple[str, dict[str, Any]]:
        """The number of the next delivery that arrives, and what it says."""
        async with asyncio.timeout(SOON_S):
            return await self.deliveries.get()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        signed = request.headers["X-Hansa-Timestamp"].encode() + b"." + body
        expected = hmac.new(self.secret.encode(), signed, hashlib.sha256).hexdigest()
        assert request.headers["X-Hansa-Signature"] == f"sha256={expected}"
        self.deliveries.put_nowait((request.headers["X-Hansa-Delivery"], json.loads(body)))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@asynccontextmanager
async def webhook_receiver() -> AsyncIterator[WebhookReceiver]:
    """Listens on a free port of the loopback."""
    receiver = WebhookReceiver()
    application = web.Application()
    application.router.add_post("/hook", receiver.handle)
    async with listening(application, grace_s=0.1) as receiver.port:
        yield receiver
