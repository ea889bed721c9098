"""The profile's page in a real Chromium, on a phone and a desktop, in both languages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page, expect

from tests.api.test_media import picture
from tests.kit.browser import chromium
from tests.kit.server import RunningServer

SHOTS = os.environ.get("HANSA_SHOTS")
pytestmark = [pytest.mark.slow, pytest.mark.programs("chromium")]


async def is_fine(page: Page, name: str) -> None:
    """Axe finds nothing serious, and nothing is cut off."""
    if SHOTS is not None:
        await page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)
    found: Any = (await Axe().run(page)).response
    assert not [one["id"] for one in found["violations"] if one["impact"] in ("serious", "critical")], name
    assert not await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"), name


async def open_profile(page: Page, server: RunningServer, labels: tuple[str, str, str]) -> None:
    """As clients open it: with the action in the address of the account's page."""
    await page.goto(f"{server.base_url}/_hansa/account?action=org.matrix.profile")
    user, password, sign_in = labels
    await page.get_by_label(user).fill("alice")
    await page.get_by_label(password).fill("correct horse battery")
    await page.get_by_role("button", name=sign_in, exact=True).click()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")])
async def test_somebody_changes_the_profile(server: RunningServer, tmp_path: Path, width: int, scheme: Any) -> None:
    alice = await server.user("alice")
    field = "org.example.team"
    await alice.put("/profile/{}/" + field, alice.user_id, body={field: {"name": "red", "since": [2020, "x" * 300]}})
    file = tmp_path / "me.png"
    file.write_bytes(picture(600, 400))
    async with chromium() as context:
        page = await context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        await page.set_viewport_size({"width": width, "height": 800})
        await page.emulate_media(color_scheme=scheme)
        await open_profile(page, server, ("User name", "Password", "Sign in"))
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your profile")
        await is_fine(page, f"profile-{width}-{scheme}")
        await page.get_by_label("Display name").fill("Alice Wonder")
        await page.get_by_role("button", name="Save the name").click()
        await expect(page.get_by_role("status")).to_have_text("Saved.")
        await page.get_by_label("Choose a picture").set_input_files(str(file))
        await page.get_by_role("button", name="Use this picture").click()
        shown = page.get_by_role("img", name="Your picture")
        await expect(shown).to_be_visible()
        await page.wait_for_function("document.querySelector('img.picture').naturalWidth > 0")
        await page.get_by_label("Where you are").select_option("Europe/Berlin")
        await page.get_by_role("button", name="Save the time zone").click()
        await expect(page.get_by_label("Where you are")).to_have_value("Europe/Berlin")
        await page.get_by_text("Add a field", exact=True).click()
        await page.get_by_label("Name of the field").fill("org.example.about")
        await page.get_by_label("Value", exact=True).fill("[1, 2]")
        await page.get_by_label("The value is JSON").check()
        await is_fine(page, f"profile-adding-{width}-{scheme}")
        await page.get_by_role("button", name="Add the field").click()
        await expect(page.get_by_label("org.example.about (JSON)")).to_be_visible()
        await page.get_by_role("button", name=f"Remove {field}").click()
        await expect(page.get_by_label(f"{field} (JSON)")).to_have_count(0)
        await is_fine(page, f"profile-filled-{width}-{scheme}")
        assert not [text for text in complaints if "Content Security Policy" in text]
    found = (await alice.get("/profile/{}", alice.user_id)).ok()
    assert found["displayname"] == "Alice Wonder" and found["avatar_url"].startswith("mxc://hansa.test/")
    assert (found["m.tz"], found["org.example.about"]) == ("Europe/Berlin", [1, 2])


async def test_somebody_reads_it_in_chinese(server: RunningServer) -> None:
    """A refusal too; and without a script."""
    await server.user("alice")
    async with chromium("zh-CN", scripts=False) as context:
        page = await context.new_page()
        await page.set_viewport_size({"width": 360, "height": 800})
        await open_profile(page, server, ("用户名", "密码", "登录"))
        await expect(page.get_by_role("heading", level=1)).to_have_text("您的个人资料")
        await page.get_by_label("显示名称").fill("小明")
        await page.get_by_role("button", name="保存名称").click()
        await expect(page.get_by_role("status")).to_have_text("已保存。")
        await page.get_by_text("添加字段", exact=True).click()
        await page.get_by_label("字段名").fill("org.example.x")
        await page.get_by_label("值", exact=True).fill("{")
        await page.get_by_label("值为 JSON").check()
        await page.get_by_role("button", name="添加此字段").click()
        await expect(page.get_by_role("alert")).to_have_text("值不是 JSON。")
        await expect(page.get_by_label("字段名")).to_have_value("org.example.x")
        if SHOTS is not None:
            await page.screenshot(path=f"{SHOTS}/profile-zh.png", full_page=True)
