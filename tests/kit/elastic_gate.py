"""A gate before a node of Elasticsearch, as clouds have it: TLS, a key that it asks for, and bad days of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
from aiohttp import web

from search.hot.elastic import Cluster
from tests.kit.authority import Authority
from tests.kit.listening import listening

_HOP = frozenset({"connection", "content-encoding", "content-length", "host", "transfer-encoding"})


class ElasticGate:
    """`delay_s` is how much later it hands on what it is asked; `is_shut` refuses all for a while, as 503."""

    def __init__(self, node_url: str, api_key: str | None) -> None:
        self._node_url = node_url
        self._api_key = api_key
        self._client: aiohttp.ClientSession | None = None
        self.port = 0
        self.delay_s = 0.0
        self.is_shut = False
        self.asked = 0
        self.turned_away = 0

    def cluster(self, cluster: Cluster, *, scheme: str = "http") -> Cluster:
        """The same by way of this gate."""
        return replace(cluster, urls=(f"{scheme}://127.0.0.1:{self.port}",), api_key=self._api_key)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked += 1
        if self._api_key is not None and request.headers.get("Authorization") != f"ApiKey {self._api_key}":
            self.turned_away += 1
            return web.json_response({"error": {"type": "security_exception"}, "status": 401}, status=401)
        if self.is_shut:
            return web.Response(status=503, text="no node behind this gate")
        await asyncio.sleep(self.delay_s)
        if self._client is None:
            self._client = aiohttp.ClientSession()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        async with self._client.request(
            request.method, f"{self._node_url}{request.raw_path}", headers=headers, data=body
        ) as answer:
            handed = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            return web.Response(status=answer.status, headers=handed, body=await answer.read())

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


@asynccontextmanager
async def elastic_gate(
    node_url: str, *, api_key: str | None = None, authority: Authority | None = None
) -> AsyncIterator[ElasticGate]:
    """Listens on a free port of the loopback; over TLS where an authority vouches for it."""
    gate = ElasticGate(node_url, api_key)
    app = web.Application(client_max_size=200 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", gate.handle)
    tls: ssl.SSLContext | None = authority.server_context("127.0.0.1") if authority is not None else None
    async with listening(app, tls=tls, grace_s=0.1) as gate.port:
        try:
            yield gate
        finally:
            await gate.close()
