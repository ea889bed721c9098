"""A browser without a screen: keeps its cookie, fills in forms, and logs in with both factors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from urllib.parse import urlencode

import aiohttp
import pyotp
from yarl import URL

from tests.kit.server import Answered, RunningServer

PASSWORD = "correct horse battery"
_FORM_CODE = re.compile(r'name="form_code" value="([0-9a-f]{64})"')
_SECRET = re.compile(r'<code id="secret">([A-Z2-7]+)</code>')


class Visitor:
    """Somebody at the console."""

    def __init__(self, server: RunningServer) -> None:
        self._base_url = server.base_url
        self.cookie = ""
        self._cookie_name = "hansa-admin"
        self.secret = ""
        self.page = ""
        self.headers: dict[str, str] = {}

    async def get(self, path: str) -> Answered:
        return self._kept(await self._request("GET", path, self._headers()))

    async def post(self, path: str, fields: Mapping[str, str], *, code: str | None = None) -> Answered:
        """Sends a form with the code of the page that was seen last."""
        found = _FORM_CODE.search(self.page)
        form = {"form_code": code if code is not None else found[1] if found else "", **fields}
        headers = {**self._headers(), "Content-Type": "application/x-www-form-urlencoded"}
        return self._kept(await self._request("POST", path, headers, urlencode(form).encode()))

    async def log_in(self, name: str, password: str = PASSWORD) -> Visitor:
        """With a second factor that is set up on the way."""
        await self.get("/admin/login")
        sent = await self.post("/admin/login", {"name": name, "password": password})
        assert sent.status == 303, self.page
        await self.get("/admin/code")
        found = _SECRET.search(self.page)
        assert found, self.page
        self.secret = found[1]
        sent = await self.post("/admin/code", {"code": pyotp.TOTP(self.secret).now()})
        assert sent.status == 303, self.page
        return self

    def text(self) -> str:
        """The page that was seen last, its character references resolved."""
        return unescape(self.page)

    async def _request(self, method: str, path: str, headers: Mapping[str, str], data: bytes | None = None) -> Answered:
        url = URL(self._base_url + path, encoded=True)
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(method, url, data=data, headers=headers, allow_redirects=False) as answer,
        ):
            return Answered(answer.status, dict(answer.headers), await answer.read())

    def _headers(self) -> dict[str, str]:
        return {**self.headers, **({"Cookie": f"{self._cookie_name}={self.cookie}"} if self.cookie else {})}

    def _kept(self, answered: Answered) -> Answered:
        given = answered.headers.get("Set-Cookie", "")
        if "hansa-admin=" in given:
            self._cookie_name = given.partition("=")[0]
            self.cookie = given.partition("hansa-admin=")[2].partition(";")[0]
        if answered.body and "text/html" in answered.headers.get("Content-Type", ""):
            self.page = answered.body.decode()
        return answered
