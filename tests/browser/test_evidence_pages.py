"""Legal holds, exports and retention in a real Chromium: from a room's page to each, and what each does."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.async_api import Page, expect

from tests.admin.people import PASSWORD, Crew
from tests.browser.test_console import keep, log_in
from tests.kit.browser import chromium
from tests.kit.server import RunningServer

pytestmark = [pytest.mark.slow, pytest.mark.programs("chromium")]
PATIENCE_MS = 60_000
WHY = "Reason (kept in the audit log)"


async def to_room(server: RunningServer, page: Page, room_id: str, link: str) -> None:
    """From the room's page by its link."""
    await page.goto(f"{server.base_url}/admin/rooms/{quote(room_id, safe='')}")
    await page.get_by_role("main").get_by_role("link", name=link, exact=True).click()


async def renewed(page: Page) -> None:
    """The page of a job once that is done."""
    for _ in range(PATIENCE_MS // 100):
        if await page.get_by_text("Done", exact=True).count():
            return
        await page.wait_for_timeout(100)
        await page.reload()


async def test_a_room_is_held_exported_and_let_expire(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room(name="Garden")
    await crew.user.send(room_id, "Evidence of a kind")
    async with chromium() as context:
        page = await log_in(server, context, "the-admin")
        page.set_default_timeout(PATIENCE_MS)
        await to_room(server, page, room_id, "Hold")
        await page.get_by_label(WHY).first.fill("case 12")
        await page.get_by_role("button", name="Hold").click()
        await expect(page.get_by_role("status")).to_have_text("It is held.", timeout=PATIENCE_MS)
        await page.get_by_text("Release", exact=True).first.click()
        await page.get_by_label(WHY).last.fill("case closed")
        await page.get_by_label("Your own password").fill(PASSWORD)
        await page.get_by_role("button", name="Release").click()
        await expect(page.get_by_role("status")).to_have_text("The hold is released.", timeout=PATIENCE_MS)

        await to_room(server, page, room_id, "Export")
        await page.get_by_label("Text", exact=True).check()
        await page.get_by_label(WHY).fill("case 12")
        await page.get_by_label("Your own password").fill(PASSWORD)
        await page.get_by_role("button", name="Export").click()
        await renewed(page)
        await keep(page, "export")
        async with page.expect_download(timeout=PATIENCE_MS) as waited:
            await page.get_by_role("link", name="events.txt").click()
        file = Path(await (await waited.value).path()).read_bytes()
        assert b"Evidence of a kind" in file
        await expect(page.get_by_text(hashlib.sha256(file).hexdigest())).to_be_visible(timeout=PATIENCE_MS)

        await to_room(server, page, room_id, "Retention")
        await page.get_by_label("The room's own lifetime").fill("30")
        await page.get_by_role("button", name="Preview").click()
        await renewed(page)
        await keep(page, "retention")
        await page.get_by_label(WHY).fill("agreed")
        await page.get_by_label("Your own password").fill(PASSWORD)
        await page.get_by_role("button", name="Set it for this room").click()
        await expect(page.get_by_role("status")).to_have_text("The room says so now.", timeout=PATIENCE_MS)
    said = await crew.user.get("/rooms/{}/state/m.room.retention/", room_id)
    assert said.ok() == {"max_lifetime": 30 * 86_400_000}
