"""Passkeys in a real Chromium, with an authenticator that its developer tools make."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.kit.browser import chromium, server_for_browsers
from tests.kit.server import RunningServer

PASSWORD = "correct horse battery"
pytestmark = [pytest.mark.slow, pytest.mark.programs("chromium")]


@pytest.fixture
async def server(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """Reached by a name: browsers bind no passkey to an address."""
    async with server_for_browsers(database_dsn, tmp_path, host="localhost") as running:
        yield running


def at(server: RunningServer, path: str) -> str:
    return server.hansa.config.base_url + path


async def authenticator(context: BrowserContext, page: Page, *, verifies: bool = True) -> Any:
    """A device that has a finger on it."""
    tools = await context.new_cdp_session(page)
    await tools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": verifies,
        "automaticPresenceSimulation": True,
    }
    await tools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return tools


async def log_in(server: RunningServer, page: Page, password: str = PASSWORD) -> None:
    await page.goto(at(server, "/_hansa/login"))
    await page.get_by_label("User name").fill("alice")
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def add_passkey(page: Page, password: str = PASSWORD) -> None:
    form = page.locator("form", has=page.get_by_role("button", name="Add a passkey"))
    await form.get_by_label("Name of the passkey").fill("Phone")
    await form.get_by_label("Password").fill(password)
    await form.get_by_role("button", name="Add a passkey").click()


@asynccontextmanager
async def signed_in(server: RunningServer) -> AsyncIterator[tuple[BrowserContext, Page]]:
    """Alice on her account's page, with an authenticator and a passkey of it."""
    await server.user("alice")
    async with chromium() as context:
        page = await context.new_page()
        await authenticator(context, page)
        await log_in(server, page)
        await add_passkey(page)
        await expect(page.get_by_role("listitem").filter(has_text="Phone")).to_be_visible()
        yield context, page


async def sign_out(page: Page) -> None:
    await page.get_by_role("button", name="Sign out of this browser").click()
    await expect(page.get_by_label("User name")).to_be_visible()


async def test_a_passkey_alone_lets_one_in(server: RunningServer) -> None:
    async with signed_in(server) as (_, page):
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        await sign_out(page)
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_text("@alice:hansa.test")).to_be_visible()
        assert not complaints
        await page.set_viewport_size({"width": 390, "height": 844})
        form = page.locator("form", has=page.get_by_role("button", name="Remove passkey Phone"))
        await form.get_by_label("Password").fill(PASSWORD)
        await form.get_by_role("button").click()
        await expect(page.get_by_role("listitem").filter(has_text="Phone")).to_have_count(0)
        await page.goto(at(server, "/_hansa/account"))
        await sign_out(page)
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("did not work")


async def test_the_password_alone_is_not_enough_where_one_says_so(server: RunningServer) -> None:
    """A second factor that is asked for on the pages can't be passed by at another door."""
    async with signed_in(server) as (_, page):
        form = page.locator("form", has=page.get_by_role("button", name="Ask for a passkey after the password"))
        await form.get_by_label("Password").fill(PASSWORD)
        await form.get_by_role("button").click()
        await expect(page.get_by_text("Your password alone lets nobody in")).to_be_visible()
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": "alice"},
            "password": PASSWORD,
        }
        (await server.anonymous().post("/login", body=body)).refused(403, "M_FORBIDDEN")
        await page.goto(at(server, "/_hansa/account"))
        await sign_out(page)
        await log_in(server, page)
        await expect(page.get_by_role("heading", level=1)).to_have_text("One more step")
        await page.goto(at(server, "/_hansa/account"))
        await expect(page.get_by_label("User name")).to_be_visible()
        await log_in(server, page)
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_text("@alice:hansa.test")).to_be_visible()


async def test_another_ones_passkey_is_no_second_factor(server: RunningServer) -> None:
    async with signed_in(server) as (_, page):
        form = page.locator("form", has=page.get_by_role("button", name="Ask for a passkey after the password"))
        await form.get_by_label("Password").fill(PASSWORD)
        await form.get_by_role("button").click()
        await expect(page.get_by_text("Your password alone lets nobody in")).to_be_visible()
    async with chromium() as context:
        page = await context.new_page()
        await authenticator(context, page)
        await server.user("mallory")
        await page.goto(at(server, "/_hansa/login"))
        await page.get_by_label("User name").fill("mallory")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await add_passkey(page)
        await expect(page.get_by_role("listitem").filter(has_text="Phone")).to_be_visible()
        await page.goto(at(server, "/_hansa/account"))
        await sign_out(page)
        await log_in(server, page)
        await expect(page.get_by_role("heading", level=1)).to_have_text("One more step")
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_role("alert").filter(visible=True)).to_be_visible()
        await page.goto(at(server, "/_hansa/account"))
        await expect(page.get_by_label("User name")).to_be_visible()


@pytest.mark.parametrize("named", ['"bm90IGFsaWNl"', "null"])
async def test_a_passkey_alone_is_for_the_account_that_it_names(server: RunningServer, named: str) -> None:
    """W3C Web Authentication, section 7.2, step 6: nobody else's handle, and not none."""
    async with signed_in(server) as (_, page):
        await sign_out(page)
        await page.evaluate(
            """named => {
                const form = document.querySelector("form[data-passkey]");
                form.addEventListener("submit", () => {
                    if (!form.elements.response.value) return;
                    const credential = JSON.parse(form.elements.response.value);
                    credential.response.userHandle = JSON.parse(named);
                    form.elements.response.value = JSON.stringify(credential);
                });
            }""",
            named,
        )
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("did not work")


async def test_a_passkey_is_added_with_the_password_alone(server: RunningServer) -> None:
    """Whoever finds a browser open makes no way in for later."""
    await server.user("alice")
    async with chromium() as context:
        page = await context.new_page()
        await authenticator(context, page)
        await log_in(server, page)
        await add_passkey(page, "wrong")
        await expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("wrong")
        await expect(page.get_by_role("listitem").filter(has_text="Phone")).to_have_count(0)


async def test_answers_that_are_none(server: RunningServer) -> None:
    """No answer of a browser is more than refused, and each challenge counts once."""
    await server.user("alice")
    async with chromium() as context:
        page = await context.new_page()
        for response in ("", "{", "[]", '{"id": "x"}', '{"id": "!!", "response": {}}', "9" * 30_000):
            await page.goto(at(server, "/_hansa/login"))
            await page.evaluate(
                """response => {
                    const form = document.querySelector("form[data-passkey]");
                    form.elements.response.value = response || " ";
                    form.hidden = false;
                    form.submit();
                }""",
                response,
            )
            await expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("did not work")
