"""People who sign in at a SAML identity provider: their browsers, its forms, and the server that knows it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from tests.kit.clock import FakeClock
from tests.kit.oauth import FORM, Browser
from tests.kit.saml_idp import Asked
from tests.kit.server import Answered, RunningServer

PLACE = "/_hansa/sso/saml/campus"
OUR_PAGES = "/_hansa/sso/with/campus?next=/_hansa/account"
APP = "/_matrix/client/v3/login/sso/redirect/campus?" + urlencode({"redirectUrl": "https://app.example.org/"})


def settings_of(metadata: str, folder: Path, more: str = "") -> str:
    """Options of a server that knows the provider of this metadata, which goes into a file of the folder."""
    file = folder / "idp.xml"
    file.write_text(metadata)
    return f'[[saml]]\nid = "campus"\nname = "Campus"\nmetadata_path = "{file}"\n{more}'


def now(clock: FakeClock) -> datetime:
    return datetime.fromtimestamp(clock.now_ms() / 1000, UTC)


async def asked(browser: Browser, path: str = OUR_PAGES) -> Asked:
    """Somebody sets out: what their browser carries to the provider."""
    sent = await browser.open(path)
    assert sent.status == 303, sent.body
    assert sent.headers["Location"].startswith("https://idp.example.org/sso?")
    return Asked.read(sent.headers["Location"])


async def post(server: RunningServer, path: str, fields: dict[str, str]) -> Answered:
    """The provider's form, which comes without our cookie."""
    data = urlencode(fields).encode()
    return await server.anonymous().request("POST", path, data=data, headers=FORM, follow=False)


async def answered(server: RunningServer, answer: str, state: str, path: str = PLACE) -> Answered:
    """The form with its answer."""
    return await post(server, path, {"SAMLResponse": answer, "RelayState": state})


async def come_back(server: RunningServer, browser: Browser, answer: str, state: str) -> int:
    """Posts it, and follows to where it leads; the last page's status."""
    sent = await answered(server, answer, state)
    assert sent.status == 303 and "Set-Cookie" not in sent.headers
    return (await browser.open(sent.headers["Location"])).status
