"""A spam rule asks for a captcha, and our own registration page leads through it, in a real Chromium."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.admin.people import PASSWORD, Crew
from tests.admin.spam.test_rules_over_http import latest, put, rule
from tests.browser.test_sign_in_pages import open_app
from tests.kit.browser import chromium
from tests.kit.canned import answer, canned
from tests.kit.server import RunningServer

pytestmark = [pytest.mark.slow, pytest.mark.programs("chromium")]
PATIENCE_MS = 60_000
ODD = rule('sender.localpart.re2("^bot[0-9]+$")', {"kind": "captcha"}, when=("registration",))


async def test_who_seems_odd_works_first(server: RunningServer, crew: Crew) -> None:
    """On the way into an app; others are asked for nothing; the decision is recorded as ever."""
    await put(crew, "odd", ODD)
    async with canned(lambda head: answer(b"back", "Content-Type: text/plain")) as waiting, chromium() as context:
        callback = f"http://127.0.0.1:{waiting.port}/cb"
        _, page = await open_app(server, context, callback, prompt="create")
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        await page.get_by_label("User name").fill("bot7")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Make an account").click()
        await expect(page.get_by_role("alert")).to_contain_text("your device has to work", timeout=PATIENCE_MS)
        assert (await crew.owner.get("/profile/{}", "@bot7:hansa.test")).status == 404
        await expect(page.get_by_label("User name")).to_have_value("bot7")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Make an account").click()
        await expect(page.get_by_text("@bot7:hansa.test")).to_be_visible(timeout=PATIENCE_MS)
        await page.get_by_role("button", name="Allow").click()
        await page.wait_for_url(callback + "**")
        assert not [text for text in complaints if "Content Security Policy" in text]
    assert (await server.login("bot7", PASSWORD)).user_id == "@bot7:hansa.test"
    assert {one["sender"] for one in await latest(crew)} == {"@bot7:hansa.test"}


async def test_who_does_not_seem_odd_is_asked_for_nothing(server: RunningServer, crew: Crew) -> None:
    await put(crew, "odd", ODD)
    async with chromium() as context:
        page = await context.new_page()
        await page.goto(f"{server.base_url}/_hansa/register")
        assert await page.locator("script").count() == 0
        await page.get_by_label("User name").fill("somebody")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Make an account").click()
        await expect(page.get_by_text("@somebody:hansa.test")).to_be_visible(timeout=PATIENCE_MS)


async def test_without_a_script_nobody_gets_past(server: RunningServer, crew: Crew) -> None:
    """Sending the form again and again, as a program would, makes no account."""
    await put(crew, "odd", ODD)
    async with chromium(scripts=False) as context:
        page = await context.new_page()
        await page.goto(f"{server.base_url}/_hansa/register")
        for _ in range(3):
            await page.get_by_label("User name").fill("bot8")
            await page.get_by_label("Password").fill(PASSWORD)
            await page.get_by_role("button", name="Make an account").click()
            await expect(page.get_by_role("alert")).to_contain_text("your device has to work", timeout=PATIENCE_MS)
    assert (await crew.owner.get("/profile/{}", "@bot8:hansa.test")).status == 404
