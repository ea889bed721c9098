"""Forgotten passwords, and registering with an address, in a real Chromium: on a phone and a desktop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page, expect

from tests.api.test_email import add_address
from tests.kit.browser import chromium, server_for_browsers
from tests.kit.mail import mail_config, post_office

NEW = "another horse, another battery"
SHOTS = os.environ.get("HANSA_SHOTS")
pytestmark = [pytest.mark.slow, pytest.mark.programs("chromium")]


async def is_fine(page: Page, name: str) -> None:
    """Axe finds nothing serious, and nothing is cut off."""
    if SHOTS is not None:
        await page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)
    found: Any = (await Axe().run(page)).response
    assert not [one["id"] for one in found["violations"] if one["impact"] in ("serious", "critical")], name
    assert not await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"), name


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
async def test_somebody_forgot_the_password(database_dsn: str, tmp_path: Path, width: int, scheme: Any) -> None:
    async with (
        post_office() as office,
        server_for_browsers(database_dsn, tmp_path, toml=mail_config(office)) as server,
        chromium() as context,
    ):
        alice = await server.user("alice")
        await add_address(server, office, alice, "alice@mail.test")
        page = await context.new_page()
        await page.set_viewport_size({"width": width, "height": 800})
        await page.emulate_media(color_scheme=scheme)
        await page.goto(f"{server.base_url}/_hansa/login")
        await page.get_by_role("link", name="Forgot your password?").click()
        await is_fine(page, f"forgotten-{width}")
        await page.get_by_label("E-mail address").fill("alice@mail.test")
        await page.get_by_role("button", name="Send a link").click()
        await page.get_by_label("New password").fill(NEW)
        await page.get_by_role("button", name="Set the password").click()
        await expect(page.get_by_role("alert")).to_contain_text("has not been opened")
        await is_fine(page, f"forgotten-password-{width}")
        mail = await context.new_page()
        await mail.goto(server.base_url + (await office.next(2)).link)
        await expect(mail.get_by_role("heading", level=1)).to_have_text("Address confirmed")
        await page.get_by_label("New password").fill(NEW)
        await page.get_by_role("button", name="Set the password").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("The new password is set")
        await is_fine(page, f"forgotten-done-{width}")
        await page.get_by_role("link", name="Sign in").click()
        await page.get_by_label("User name").fill("alice")
        await page.get_by_label("Password").fill(NEW)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your account")


async def test_a_newcomer_with_an_address_reads_chinese(database_dsn: str, tmp_path: Path) -> None:
    async with post_office() as office:
        chosen: Any = {"toml": mail_config(office), "registration": 'email = "required"'}
        async with server_for_browsers(database_dsn, tmp_path, **chosen) as server, chromium("zh-CN") as context:
            page = await context.new_page()
            await page.goto(f"{server.base_url}/_hansa/register")
            await is_fine(page, "register-email-zh")
            await page.get_by_label("电子邮件地址").fill("ming@mail.test")
            await page.get_by_role("button", name="发送链接").click()
            await is_fine(page, "register-zh")
            mail = await context.new_page()
            await mail.goto(server.base_url + (await office.next()).link)
            await page.get_by_label("用户名").fill("xiaoming")
            await page.get_by_label("密码").fill(NEW)
            await page.get_by_role("button", name="创建账户").click()
            await expect(page.get_by_text("@xiaoming:hansa.test")).to_be_visible()
