"""The pages for signing in, in a real Chromium: found by what a screen reader finds, working without scripts."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.kit.browser import chromium
from tests.kit.canned import answer, canned
from tests.kit.oauth import VERIFIER, App, challenge_of, scope
from tests.kit.server import RunningServer

PASSWORD = "correct horse battery"
pytestmark = [pytest.mark.slow, pytest.mark.programs("chromium")]


async def open_app(server: RunningServer, context: BrowserContext, callback: str, **more: str) -> tuple[App, Page]:
    """An app of this machine sends the reader to our pages."""
    app = App(server)
    await app.register(application_type="native", redirect_uris=["http://127.0.0.1/cb"])
    page = await context.new_page()
    asked = {
        "response_type": "code",
        "response_mode": "query",
        "client_id": app.client_id,
        "redirect_uri": callback,
        "scope": scope("BROWSER"),
        "state": "s",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
        **more,
    }
    await page.goto(f"{server.base_url}/_hansa/oauth/authorize?{urlencode(asked)}")
    return app, page


async def test_somebody_lets_an_app_in(server: RunningServer) -> None:
    """T-I22: cookies and forms work in a browser, redirects to the app included; nothing else is loaded or run."""
    await server.user("alice")
    async with canned(lambda head: answer(b"back", "Content-Type: text/plain")) as waiting, chromium() as context:
        callback = f"http://127.0.0.1:{waiting.port}/cb"
        app, page = await open_app(server, context, callback)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        await page.get_by_label("User name").fill("alice")
        await page.get_by_label("Password").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("wrong")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Let Example into your account?")
        await page.get_by_role("button", name="Allow").click()
        await page.wait_for_url(callback + "**")
        code = page.url.partition("code=")[2].partition("&")[0]
        tokens = (await app.token(code, redirect_uri=callback)).ok()
        assert tokens["token_type"] == "Bearer"
        await page.goto(f"{server.base_url}/_hansa/account")
        await expect(page.get_by_role("listitem").filter(has_text="BROWSER")).to_be_visible()
        [cookie] = await context.cookies()
        assert cookie["httpOnly"] and cookie["sameSite"] == "Lax"
        await page.get_by_role("button", name="Sign out BROWSER").click()
        await expect(page.get_by_role("listitem").filter(has_text="BROWSER")).to_have_count(0)
        assert (await app.refresh(tokens["refresh_token"])).status == 400
        assert not [text for text in complaints if "Content Security Policy" in text]


async def test_a_newcomer_reads_chinese(server: RunningServer) -> None:
    async with canned(lambda head: answer()) as waiting, chromium("zh-CN") as context:
        _, page = await open_app(server, context, f"http://127.0.0.1:{waiting.port}/cb", prompt="create")
        await expect(page.locator("html")).to_have_attribute("lang", "zh")
        await page.get_by_label("用户名").fill("xiaoming")
        await page.get_by_label("密码").fill(PASSWORD)
        await page.get_by_role("button", name="创建账户").click()
        await expect(page.get_by_text("@xiaoming:hansa.test")).to_be_visible()
        await page.get_by_role("button", name="拒绝").click()
        await page.wait_for_url("**/cb?error=access_denied**")


async def test_every_field_has_a_name_and_every_page_a_heading(server: RunningServer) -> None:
    """What people who don't see the page need: labels, headings, the language, no small-print traps."""
    await server.user("alice")
    async with chromium() as context:
        page = await context.new_page()
        await page.goto(f"{server.base_url}/_hansa/login")
        await page.get_by_label("User name").fill("alice")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your account")
        actions = ("cross_signing_reset", "account_deactivate", "devices_list")
        paths = ("register", "link", "account", *(f"account?action=org.matrix.{action}" for action in actions))
        for path in paths:
            await page.goto(f"{server.base_url}/_hansa/{path}")
            assert await page.get_by_role("heading", level=1).count() == 1
            assert await page.locator("html").get_attribute("lang") == "en"
            for field in await page.locator("input:not([type=hidden])").all():
                assert await field.evaluate("field => field.labels.length") == 1
            assert await page.locator("script").count() == 0
