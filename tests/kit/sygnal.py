"""A real Sygnal, with the push service of a browser behind it that keeps what arrives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.kit.authority import Authority
from tests.kit.listening import listening
from tests.kit.ports import free_port
from tests.kit.until import SOON_S

PYTHON = os.environ.get("HANSA_SYGNAL_PYTHON", "")
READY_S = 60.0
PATH = "/_matrix/push/v1/notify"
APP_ID = "org.example.web"
_PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
_POINT = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


class Sygnal:
    """`gone`: the browsers that have unsubscribed. `told`: browser and urgency of what its push service got."""

    def __init__(self, port: int, service_port: int, told: asyncio.Queue[tuple[str, str]], gone: set[str]) -> None:
        self._port = port
        self._service_port = service_port
        self._told = told
        self.gone = gone

    def pusher(self, browser: str) -> dict[str, Any]:
        """The body of /pushers/set, as a web client sends it."""
        key = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*_POINT)
        endpoint = f"http://127.0.0.1:{self._service_port}/{browser}"
        url = f"https://localhost:{self._port}{PATH}"
        return {
            "pushkey": urlsafe_b64encode(key).decode().rstrip("="),
            "kind": "http",
            "app_id": APP_ID,
            "app_display_name": "Web",
            "device_display_name": browser,
            "lang": "en",
            "data": {"url": url, "endpoint": endpoint, "auth": urlsafe_b64encode(os.urandom(16)).decode()},
        }

    async def next(self) -> tuple[str, str]:
        """Which browser was told, and how urgently."""
        async with asyncio.timeout(SOON_S):
            return await self._told.get()


@asynccontextmanager
async def sygnal(folder: Path, authority: Authority) -> AsyncIterator[Sygnal]:
    """Behind a proxy that speaks TLS, as it is run everywhere."""
    told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    gone: set[str] = set()

    async def subscription(request: web.Request) -> web.Response:
        browser = request.match_info["browser"]
        told.put_nowait((browser, request.headers["Urgency"]))
        return web.Response(status=410 if browser in gone else 201)

    service = web.Application()
    service.router.add_post("/{browser}", subscription)
    port = free_port()
    async with listening(service, grace_s=0.1) as service_port, _process(folder, port), aiohttp.ClientSession() as http:

        async def forward(request: web.Request) -> web.Response:
            url, body = f"http://127.0.0.1:{port}{request.path}", await request.read()
            async with http.post(url, data=body, headers={"Content-Type": request.content_type}) as answer:
                return web.Response(status=answer.status, body=await answer.read())

        proxy = web.Application()
        proxy.router.add_post(PATH, forward)
        async with listening(proxy, tls=authority.server_context("localhost"), grace_s=0.1) as proxy_port:
            yield Sygnal(proxy_port, service_port, told, gone)


@asynccontextmanager
async def _process(folder: Path, port: int) -> AsyncIterator[None]:
    key, config = folder / "vapid.pem", folder / "sygnal.yaml"
    key.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(*_PEM))
    app = {"type": "webpush", "vapid_private_key": str(key), "vapid_contact_email": "push@example.org"}
    settings = {
        "log": {"setup": {"version": 1}, "access": {}},
        "http": {"bind_addresses": ["127.0.0.1"], "port": port},
        "apps": {APP_ID: app},
    }
    config.write_text(json.dumps(settings))  # JSON is YAML
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        "-m",
        "sygnal.sygnal",
        env={**os.environ, "SYGNAL_CONF": str(config)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(READY_S), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"http://127.0.0.1:{port}/health") as answer:
                        if answer.status == 200:
                            break
                except aiohttp.ClientConnectionError:
                    assert process.returncode is None, "Sygnal has ended"
                await asyncio.sleep(0.05)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
