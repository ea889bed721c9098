"""The search page in a real Chromium, on a phone and a desktop: its main path, keys, what axe says, nasty strings."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import BrowserContext, Page, ViewportSize, expect

from homeserver.config import Listener
from tests.kit.browser import chromium
from tests.kit.ports import free_port
from tests.kit.server import Client, RunningServer, config_for_tests, running_server

PASSWORD = "correct horse battery"
pytestmark = [pytest.mark.slow, pytest.mark.programs("chromium")]
SIZES: dict[str, ViewportSize] = {
    "phone": {"width": 390, "height": 844},
    "desktop": {"width": 1280, "height": 800},
}
# Where to keep what the pages look like, for people who look.
SHOTS = os.environ.get("HANSA_SHOTS")
NASTY = """<img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}} harbour"""
SAID = (
    "The harbour opens at six, bring your papers",
    "Is the red crane at the harbour working again?",
    "今天港口的天气很好，晚上一起吃饭吗？",
    "港口服务器升级完成，请大家检查一下",
    "See https://ci.example.org/build/17 for the harbour build",
    "def harbour(ships): return [ship for ship in ships if ship.isWaiting]",
    "ハンザ同盟の港を歩く harbour walk",
    "مرحبا بالجميع في الميناء harbour",
    NASTY,
)


@pytest.fixture
async def server(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server whose own address is the one that the browser sees."""
    port = free_port()
    config = replace(
        config_for_tests(tmp_path), listeners=(Listener(port=port),), public_base_url=f"http://127.0.0.1:{port}"
    )
    async with running_server(database_dsn, config=config) as running:
        yield running


async def talked(server: RunningServer) -> tuple[Client, Client, str]:
    """Two people, rooms, and what they said in them."""
    alice, bob = await server.user("alice"), await server.user("bob")
    await alice.put("/profile/{}/displayname", alice.user_id, body={"displayname": "Anna Ahlers"})
    await bob.put("/profile/{}/displayname", bob.user_id, body={"displayname": "王小明"})
    pier = await alice.create_room(name="Pier", preset="public_chat")
    office = await bob.create_room(name="Harbour office 港口办公室", preset="public_chat")
    await bob.join(pier)
    await alice.join(office)
    for number, text in enumerate(SAID):
        await (alice, bob)[number % 2].send((pier, office)[number % 3 == 1], text)
    for number in range(24):
        await bob.send(pier, f"Ship number {number} has left the harbour")
    return alice, bob, pier


async def keep(page: Page, name: str) -> None:
    if SHOTS:
        await page.screenshot(path=str(Path(SHOTS) / f"search-{name}.png"), full_page=True)


async def sign_in(server: RunningServer, context: BrowserContext, url: str) -> Page:
    page = await context.new_page()
    await page.goto(server.base_url + url)
    await page.get_by_label("User name").fill("alice")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("searchbox")).to_be_visible()
    return page


async def flaws(page: Page) -> list[str]:
    """What axe finds that keeps people from using the page."""
    results: Any = await Axe().run(page)
    return [f"{one['id']}: {node['html'][:120]}" for one in results.response["violations"] for node in one["nodes"]]


@pytest.mark.parametrize("size", SIZES)
async def test_somebody_searches(server: RunningServer, size: str) -> None:
    """T-I22, T-B14: log-in, results in context, filters, more pages; what is said is text, never markup."""
    _, _, pier = await talked(server)
    async with chromium() as context:
        page = await sign_in(server, context, "/_hansa/search?q=harbour")
        await page.set_viewport_size(SIZES[size])
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: complaints.append("a script ran"))
        await page.goto(f"{server.base_url}/_hansa/search")
        await expect(page.get_by_role("searchbox")).to_be_focused()
        await keep(page, f"{size}-empty")
        assert await flaws(page) == []
        await page.keyboard.type("harbour")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("32 messages")
        assert await page.locator(".messages article").count() == 20
        await expect(page.locator(".message mark").first).to_have_text("harbour")
        assert await flaws(page) == []
        await keep(page, f"{size}-results")
        fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert await page.evaluate(fits)
        await page.keyboard.press("Escape")
        await page.locator("h1").click()
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await expect(page.locator(".messages article").nth(1)).to_be_focused()
        await page.keyboard.press("n")
        await expect(page.locator(".text").get_by_text("<script>alert(2)</script>")).to_be_visible()
        assert await page.locator(".messages article").count() == 12
        link = await page.locator("a.when").first.get_attribute("href") or ""
        assert link.startswith("https://matrix.to/#/%21") and "/%24" in link
        await page.goto(f"{server.base_url}/_hansa/search?q=harbour")
        if size == "phone":
            await page.get_by_text("Narrow down").first.click()
        await page.get_by_role("link", name="Harbour office 港口办公室").last.click()
        await expect(page.get_by_role("status")).to_have_text("4 messages")
        await page.locator(".chip.on").click()
        await expect(page.get_by_role("status")).to_have_text("32 messages")
        await page.get_by_role("searchbox").fill("港口")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("3 messages")
        await page.get_by_role("button", name="Tell me of new ones").click()
        await expect(page.get_by_text("You will be told of new ones.")).to_be_visible()
        assert await flaws(page) == []
        await keep(page, f"{size}-chinese")
        await page.goto(f"{server.base_url}/_hansa/search")
        await expect(page.get_by_role("heading", name="Saved searches")).to_be_visible()
        assert await flaws(page) == []
        await keep(page, f"{size}-saved")
        await page.get_by_role("button", name="End 港口").click()
        await expect(page.get_by_role("heading", name="Saved searches")).to_have_count(0)
        await page.get_by_role("searchbox").fill("has:wings")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("character 5")
        await page.get_by_role("searchbox").fill("zeppelin")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("Nothing found")
        assert await flaws(page) == []
        assert pier and not [text for text in complaints if "400" not in text]


async def test_a_reader_of_chinese(server: RunningServer) -> None:
    await talked(server)
    async with chromium("zh-CN") as context:
        page = await context.new_page()
        await page.goto(f"{server.base_url}/_hansa/search?q=%E6%B8%AF%E5%8F%A3")
        await page.get_by_label("用户名").fill("alice")
        await page.get_by_label("密码").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("3 条消息")
        assert await flaws(page) == []
        await keep(page, "zh")


async def test_others_find_nothing_of_it(server: RunningServer) -> None:
    """T-G8: without an account there is no search; with one, of one's own rooms alone."""
    await talked(server)
    await server.user("eve")
    answer = await server.anonymous().request("GET", "/_hansa/search?q=harbour", follow=False)
    assert answer.status == 303 and answer.headers["Location"].startswith("/_hansa/login?next=%2F_hansa%2Fsearch")
    async with chromium() as context:
        page = await context.new_page()
        await page.goto(f"{server.base_url}/_hansa/search?q=harbour")
        await page.get_by_label("User name").fill("eve")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_have_text("Nothing found")
