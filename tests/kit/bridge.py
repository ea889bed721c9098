"""An application service for tests: keeps what it is told, answers as it was told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.kit.listening import listening
from tests.kit.requests_heard import RequestsHeard
from tests.kit.until import SOON_S

AS_TOKEN, HS_TOKEN = "as-secret", "hs-secret"


class BridgeForTests:
    """`status` is what transactions are answered with; `lives` what is answered elsewhere, by path."""

    def __init__(self) -> None:
        self.port = 0
        self.status = 200
        self.is_silent = False
        self.is_legacy = False
        self.transactions: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self.asked: list[str] = []
        self.lives: dict[str, Any] = {}
        self.before_answer: Callable[[str], Any] | None = None
        self.heard = RequestsHeard("application-service")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def register(self, folder: Path, name: str = "irc", /, **changed: Any) -> Path:
        """Writes a registration file."""
        given: dict[str, Any] = {
            "id": name,
            "url": self.url,
            "as_token": AS_TOKEN if name == "irc" else f"{AS_TOKEN}-{name}",
            "hs_token": HS_TOKEN,
            "sender_localpart": f"_{name}_bot",
            "namespaces": {
                "users": [{"exclusive": True, "regex": f"@_{name}_.*"}],
                "aliases": [{"exclusive": True, "regex": f"#_{name}_.*"}],
                "rooms": [],
            },
            "rate_limited": False,
            **changed,
        }
        file = folder / f"{name}.yaml"
        file.write_text(json.dumps(given))  # JSON is YAML
        file.chmod(0o600)
        return file

    async def next(self) -> dict[str, Any]:
        """The body of the next transaction."""
        return (await self.next_numbered())[1]

    async def next_numbered(self) -> tuple[str, dict[str, Any]]:
        async with asyncio.timeout(SOON_S):
            return await self.transactions.get()

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next so many events, from however many transactions."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            found += (await self.next())["events"]
        return found

    async def handle(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {HS_TOKEN}":
            return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)
        path = request.rel_url.raw_path
        self.heard.hear(request.method, request.rel_url.raw_path_qs, await request.read(), request.headers)
        if self.is_legacy and path.startswith("/_matrix/app/v1/"):
            return web.json_response({"errcode": "M_UNRECOGNIZED"}, status=404)
        if "/transactions/" in path:
            self.transactions.put_nowait((path.rpartition("/")[2], await request.json()))
            if self.is_silent:
                await asyncio.Event().wait()
            return web.json_response({}, status=self.status)
        self.asked.append(request.rel_url.raw_path_qs)
        if self.before_answer is not None:
            await self.before_answer(path)
        answer = self.lives.get(path)
        return web.json_response(answer if answer is not None else {}, status=200 if answer is not None else 404)


@asynccontextmanager
async def bridge_for_tests() -> AsyncIterator[BridgeForTests]:
    """Listens on a free port of the loopback. Raises AssertionError at its end if a request was ill-formed."""
    bridge = BridgeForTests()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", bridge.handle)
    async with listening(application, grace_s=0.1) as bridge.port:
        yield bridge
    bridge.heard.check()
