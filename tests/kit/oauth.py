"""A client of the OAuth 2.0 API, and a browser without scripts that fills in our pages."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.kit.server import Answered, Client, RunningServer

VERIFIER = "v" * 64
REDIRECT = "https://app.example.org/callback"
METADATA = {
    "client_uri": "https://app.example.org/",
    "client_name": "Example",
    "redirect_uris": [REDIRECT, "https://app.example.org/other?x=1"],
    "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
    "response_types": ["code"],
    "token_endpoint_auth_method": "none",
    "application_type": "web",
}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def challenge_of(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def scope(device_id: str) -> str:
    return f"openid urn:matrix:client:api:* urn:matrix:client:device:{device_id}"


class App:
    """An app that people let into their account."""

    def __init__(self, server: RunningServer) -> None:
        self._client = server.anonymous()
        self.client_id = ""

    async def register(self, **changes: Any) -> Answered:
        answer = await self._client.request("POST", "/_hansa/oauth/register", body={**METADATA, **changes})
        if answer.status == 201:
            self.client_id = answer.json["client_id"]
        return answer

    def request(self, **changes: str | None) -> str:
        """The address to open in a browser."""
        asked: dict[str, str | None] = {
            "response_type": "code",
            "response_mode": "fragment",
            "client_id": self.client_id,
            "redirect_uri": REDIRECT,
            "scope": scope("DEVICE"),
            "state": "a state",
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
            **changes,
        }
        return "/_hansa/oauth/authorize?" + urlencode({key: value for key, value in asked.items() if value is not None})

    async def post(self, path: str, **form: str) -> Answered:
        data = urlencode(form).encode()
        return await self._client.request("POST", f"/_hansa/oauth/{path}", data=data, headers=FORM)

    async def token(self, code: str, **changes: str) -> Answered:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "client_id": self.client_id,
            "code_verifier": VERIFIER,
            **changes,
        }
        return await self.post("token", **form)

    async def refresh(self, refresh_token: str, **changes: str) -> Answered:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": self.client_id, **changes}
        return await self.post("token", **form)


class Browser:
    """Keeps a cookie and the page that it shows."""

    def __init__(self, server: RunningServer) -> None:
        self._client: Client = server.anonymous()
        self.cookie: str | None = None
        self.headers: dict[str, str] = {}
        self.page = Answered(0, {}, b"")

    @property
    def text(self) -> str:
        return self.page.body.decode()

    async def open(self, path: str) -> Answered:
        """A page, past redirects that stay here."""
        return await self._go("GET", path)

    async def submit(self, path: str, **fields: str) -> Answered:
        """Sends the page's form with its hidden fields; the answer, past redirects that stay here."""
        # Forms for passkeys are sent by their script alone.
        plain = re.sub(r"<form[^>]*data-passkey.*?</form>", "", self.text, flags=re.DOTALL)
        hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', plain)
        form = {html.unescape(name): html.unescape(value) for name, value in hidden} | fields
        return await self._go("POST", path, urlencode(form).encode())

    async def send_file(self, path: str, content: bytes, content_type: str, **fields: str) -> Answered:
        """Sends a form with a file, and the page's code unless another is given."""
        [code, *_] = re.findall(r'name="form_code" value="([^"]*)"', self.text)
        parts = [
            f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
            for name, value in ({"form_code": code} | fields).items()
        ]
        about = f'Content-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: {content_type}\r\n\r\n'
        body = b"".join(b"--limit\r\n%b\r\n" % part for part in (*parts, about.encode() + content)) + b"--limit--\r\n"
        return await self._go("POST", path, body, {"Content-Type": "multipart/form-data; boundary=limit"})

    async def sign_in(self, name: str, password: str = "correct horse battery") -> Answered:
        return await self.submit("/_hansa/login", username=name, password=password)

    async def _go(self, method: str, path: str, data: bytes | None = None, kind: Mapping[str, str] = FORM) -> Answered:
        own = {"Cookie": self.cookie} if self.cookie else {}
        headers = {**self.headers, **(kind if data is not None else {}), **own}
        self.page = await self._client.request(method, path, data=data, headers=headers, follow=False)
        if "Set-Cookie" in self.page.headers:
            jar: SimpleCookie = SimpleCookie(self.page.headers["Set-Cookie"])
            [(name, morsel)] = jar.items()
            self.cookie = f"{name}={morsel.value}" if morsel.value else None
        location = self.page.headers.get("Location", "")
        if self.page.status == 303 and location.startswith("/"):
            return await self._go("GET", location)
        return self.page


def told(answer: Answered) -> dict[str, str]:
    """What a redirect back to the app says."""
    assert answer.status == 303, (answer.status, answer.body)
    parts = urlsplit(answer.headers["Location"])
    return {key: values[0] for key, values in parse_qs(parts.fragment or parts.query).items()}
