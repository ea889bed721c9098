"""A captcha of somebody else's on our own pages, in a real Chromium: the service is one of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.async_api import Page, expect

from tests.kit.browser import chromium, server_for_browsers
from tests.kit.canned import answer, canned
from tests.kit.mail import mail_config, post_office
from tests.kit.server import RunningServer

PASSWORD = "correct horse battery"
pytestmark = [pytest.mark.slow, pytest.mark.programs("chromium")]
# As services of this kind do: a box in an element of this class, whose answer is a field of the form around it.
WIDGET = b"""
for (const place of document.querySelectorAll(".g-recaptcha")) {
  const box = document.createElement("button");
  box.type = "button";
  box.style.padding = "1rem";
  box.textContent = "I am no robot (" + place.dataset.sitekey + ")";
  const solved = document.createElement("input");
  solved.type = "hidden";
  solved.name = "g-recaptcha-response";
  box.onclick = () => { solved.value = "solved"; box.textContent = "Solved"; };
  place.append(box, solved);
}
"""


@asynccontextmanager
async def guarded_server(database_dsn: str, folder: Path, more: str = "") -> AsyncIterator[RunningServer]:
    """A server whose newcomers solve a captcha."""

    def say(head: str) -> bytes:
        if head.startswith("GET /api.js"):
            return answer(WIDGET, "Content-Type: text/javascript")
        return answer(b'{"success": true}' if head.startswith("POST /verify") else b"{}", "Connection: close")

    async with canned(say) as service:
        at = f"http://127.0.0.1:{service.port}"
        toml = (
            f'[captcha]\nsite_key = "public"\nsecret = "secret"\nverify_url = "{at}/verify"\n'
            f'script_url = "{at}/api.js"\nscript_sources = ["{at}/"]\n'
            f'[federation]\nallow_ip_ranges = ["127.0.0.0/8"]\n{more}'
        )
        async with server_for_browsers(database_dsn, folder, toml=toml) as server:
            yield server


def complaints_of(page: Page) -> list[str]:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    return complaints


async def test_a_newcomer_solves_it(database_dsn: str, tmp_path: Path) -> None:
    """T-I14: without it there is no account. The page loads nothing but what the operator named."""
    async with guarded_server(database_dsn, tmp_path) as server, chromium() as context:
        page = await context.new_page()
        complaints = complaints_of(page)
        await page.goto(f"{server.base_url}/_hansa/register")
        await page.get_by_label("User name").fill("alice")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Make an account").click()
        await expect(page.get_by_role("alert")).to_contain_text("captcha")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="I am no robot (public)").click()
        await page.get_by_role("button", name="Make an account").click()
        await expect(page.get_by_text("@alice:hansa.test")).to_be_visible()
        assert not [text for text in complaints if "Content Security Policy" in text]
        elsewhere = await page.request.get(f"{server.base_url}/_hansa/login")
        assert "127.0.0.1" not in elsewhere.headers["content-security-policy"]


async def test_a_client_that_shows_none_has_a_page(database_dsn: str, tmp_path: Path) -> None:
    """The stage's fallback; the client goes on with the session alone."""
    async with guarded_server(database_dsn, tmp_path) as server, chromium() as context:
        client = server.anonymous()
        body = {"username": "alice", "password": PASSWORD}
        session = (await client.post("/register", body=body)).json["session"]
        page = await context.new_page()
        complaints = complaints_of(page)
        stage = "/_matrix/client/v3/auth/m.login.recaptcha/fallback/web?" + urlencode({"session": session})
        await page.goto(server.base_url + stage)
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_role("alert")).to_contain_text("not right")
        await page.get_by_role("button", name="I am no robot (public)").click()
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Done")
        assert not [text for text in complaints if "Content Security Policy" in text]
        last = {"auth": {"type": "m.login.dummy", "session": session}}
        assert (await client.post("/register", body={**body, **last})).ok()["user_id"] == "@alice:hansa.test"


async def test_a_client_that_asks_for_no_mail_has_a_page(database_dsn: str, tmp_path: Path) -> None:
    """T-I7: the stage m.login.email.identity; not before the link was opened."""
    async with (
        post_office() as office,
        server_for_browsers(
            database_dsn, tmp_path, toml=mail_config(office), registration='email = "required"'
        ) as server,
        chromium() as context,
    ):
        client = server.anonymous()
        body = {"username": "alice", "password": PASSWORD}
        session = (await client.post("/register", body=body)).json["session"]
        page = await context.new_page()
        stage = "/_matrix/client/v3/auth/m.login.email.identity/fallback/web?" + urlencode({"session": session})
        await page.goto(server.base_url + stage)
        await page.get_by_label("E-mail address").fill("alice@mail.test")
        await page.get_by_role("button", name="Send a link").click()
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_role("alert")).to_contain_text("has not been opened")
        await client.get((await office.next()).link)
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Done")
        auth = {"auth": {"session": session}}
        assert (await client.post("/register", body={**body, **auth})).ok()["user_id"] == "@alice:hansa.test"
