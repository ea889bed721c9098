"""Services of the tests' own that listen over HTTP."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def listening(
    app: web.Application, *, tls: ssl.SSLContext | None = None, grace_s: float = 60.0
) -> AsyncIterator[int]:
    """The free port of the loopback on which it listens. `grace_s`: how long open requests may take at the end."""
    runner = web.AppRunner(app, shutdown_timeout=grace_s)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
