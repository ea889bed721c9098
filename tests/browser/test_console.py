"""The console in a real Chromium, on a phone and a desktop: each page's main path, what axe says, nasty strings."""

from __future__ import annotations

import os
import re
from typing import Any

import pyotp
import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import BrowserContext, Locator, Page, ViewportSize, expect

from homeserver.web.endpoint import Endpoint
from tests.admin.console.furnished import Ids, furnish, pages_of
from tests.admin.console.test_every_page import NASTY
from tests.admin.console.visitor import Visitor
from tests.admin.people import PASSWORD, Crew
from tests.kit.browser import chromium
from tests.kit.server import RunningServer
from tests.kit.until import until

pytestmark = [pytest.mark.slow, pytest.mark.programs("chromium")]
SIZES: dict[str, ViewportSize] = {
    "phone": {"width": 390, "height": 844},
    "desktop": {"width": 1280, "height": 800},
}
# Between them, where columns have the least room.
BETWEEN = (640, 820, 900, 1010)
# Where to keep what the pages look like, for people who look.
SHOTS = os.environ.get("HANSA_SHOTS")


async def busy(crew: Crew) -> tuple[str, str]:
    """A room with something said and reported in it; its id and the event's."""
    speaker = crew.user
    await speaker.put("/profile/{}/displayname", speaker.user_id, body={"displayname": "小明 Ming"})
    room_id = await speaker.create_room(name="Garden 花园", preset="public_chat", visibility="public")
    await crew.moderator.join(room_id)
    for text in ("Good morning", "你好"):
        await speaker.send(room_id, text)
    event_id = await speaker.send(room_id, "Buy followers now at spam.example")
    await crew.moderator.post("/rooms/{}/report/{}", room_id, event_id, body={"reason": "Advertising"})
    await speaker.request("POST", "/_matrix/media/v3/upload", data=b"file", headers={"Content-Type": "image/png"})
    return room_id, event_id


def html_pages(server: RunningServer, ids: Ids) -> list[tuple[Endpoint, str]]:
    """Those that people look at."""
    return [page for page in pages_of(server, ids) if not page[1].endswith((".json", "/picture"))]


async def log_in(server: RunningServer, context: BrowserContext, name: str) -> Page:
    """By the pages alone, as somebody does it for the first time."""
    page = await context.new_page()
    await page.goto(f"{server.base_url}/admin")
    await page.get_by_label("User name").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    secret = await page.locator("#secret").text_content()
    await keep(page, "enrol")
    await page.get_by_label("Code of six digits").fill(pyotp.TOTP(secret or "").now())
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    return page


async def keep(page: Page, name: str) -> None:
    if SHOTS is not None:
        await page.evaluate("scrollTo(0, 0)")  # the navigation stays in sight, and would stand in the middle
        width = page.viewport_size["width"] if page.viewport_size else 0
        await page.screenshot(path=f"{SHOTS}/{name}-{width}.png", full_page=True)


async def serious(page: Page) -> list[str]:
    """What axe finds that keeps people from using the page."""
    found: Any = (await Axe().run(page)).response
    return [
        f"{page.url} {one['id']}: {one['nodes'][0]['html'][:200]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


async def sideways(page: Page) -> bool:
    """Whether the page has to be moved sideways to be read."""
    wide: bool = await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return wide


@pytest.mark.parametrize(("size", "scheme"), [("phone", "light"), ("desktop", "dark")])
async def test_every_page_can_be_read_by_everybody(server: RunningServer, crew: Crew, size: str, scheme: Any) -> None:
    """Axe finds nothing serious, nothing is cut off, no page breaks its own policy."""
    moderator = await Visitor(server).log_in("the-moderator")
    ids = await furnish(server, crew, "Buy 花园 followers at spam.example", moderator)
    async with chromium() as context:
        page = await log_in(server, context, "owner")
        await page.set_viewport_size(SIZES[size])
        await page.emulate_media(color_scheme=scheme)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        bad = []
        for declared, path in html_pages(server, ids):
            await page.goto(f"{server.base_url}{path}")
            bad += await serious(page)
            bad += [f"{page.url} is too wide"] if await sideways(page) else []
            assert await page.get_by_role("heading", level=1).count() == 1, path
            await keep(page, f"{scheme}{re.sub(r'[^a-z]+', '-', declared.paths[0])}")
            for width in BETWEEN if size == "desktop" else ():
                await page.set_viewport_size({"width": width, "height": 800})
                bad += [f"{page.url} is too wide for {width}"] if await sideways(page) else []
            await page.set_viewport_size(SIZES[size])
        assert not bad, "\n".join(bad)
        assert not [text for text in complaints if "Content Security Policy" in text], complaints


async def test_a_moderator_finds_what_was_reported(server: RunningServer, crew: Crew) -> None:
    """From the report to the evidence, the sender, the room and what else was said there."""
    await busy(crew)
    async with chromium() as context:
        page = await log_in(server, context, "the-moderator")
        await page.get_by_role("link", name="Reports", exact=True).click()
        await page.get_by_role("link", name="Event $").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Advertising")
        await expect(page.locator("blockquote")).to_contain_text("Buy followers now")
        await page.get_by_role("link", name="@user:hansa.test").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("小明 Ming")
        await page.get_by_role("link", name="Garden 花园").click()
        await page.get_by_role("link", name="What was said").click()
        await expect(page.get_by_text("Good morning")).to_be_visible()
        await page.get_by_role("link", name="Users", exact=True).click()
        await page.get_by_label("User id begins with").fill("the-")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("rowheader")).to_have_count(3)


async def test_a_role_is_bound_to_a_room(server: RunningServer, crew: Crew) -> None:
    """T-J2: an owner grants it on the page of operators; whoever holds it begins with what is theirs."""
    room_id = await crew.user.create_room(name="Garden 花园", preset="public_chat")
    await server.hansa.admin.rooms.overviews.write()
    async with chromium() as context:
        page = await log_in(server, context, "owner")
        await page.get_by_role("link", name="Operators").click()
        await page.locator("summary", has_text="Give a role").click()
        form = page.locator('form[action="/admin/operators"]')
        await form.locator("[name=user_id]").fill(crew.moderator.user_id)
        await form.locator("[name=role]").select_option("moderator")
        await form.locator("[name=rooms]").fill(room_id)
        await form.get_by_label("look at other servers").uncheck()
        await form.locator("[name=reason]").fill("Looks after the garden")
        await form.locator("[name=own_password]").fill(PASSWORD)
        await keep(page, "operators-1")
        await form.get_by_role("button", name="Give a role").click()
        await expect(page.get_by_role("status")).to_have_text("The role is given.")
        row = page.get_by_role("row").filter(has_text=crew.moderator.user_id)
        await expect(row.get_by_role("link", name="Garden 花园")).to_be_visible()
        await keep(page, "operators-2")
        assert not await serious(page) and not await sideways(page)
        await page.set_viewport_size(SIZES["phone"])
        assert not await serious(page) and not await sideways(page)
        await keep(page, "operators-3")
    visitor = await Visitor(server).log_in("the-moderator")
    assert (await visitor.get("/admin")).headers["Location"] == "/admin/cases"


async def test_a_phone_shows_the_menu_when_it_is_asked_for(server: RunningServer, crew: Crew) -> None:
    async with chromium() as context:
        page = await log_in(server, context, "owner")
        await page.set_viewport_size(SIZES["phone"])
        await expect(page.get_by_role("navigation")).to_be_hidden()
        await page.get_by_role("button", name="Menu").press("Enter")
        await page.get_by_role("navigation").get_by_role("link", name="Rooms").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Rooms")
        await page.get_by_role("button", name="中文").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("房间")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="跳到正文")).to_be_focused()


async def test_nasty_strings_are_only_shown(server: RunningServer, crew: Crew) -> None:
    """T-M1, T-M15: names, bodies, reasons, file names and programs run nothing and load nothing, on any page."""
    moderator = await Visitor(server).log_in("the-moderator")
    pages = [path for _, path in html_pages(server, await furnish(server, crew, NASTY, moderator))]
    async with chromium() as context:
        page = await log_in(server, context, "owner")
        alerts: list[str] = []
        page.on("dialog", lambda dialog: alerts.append(dialog.message))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for path in [*pages, f"/admin/users?q={NASTY}", "/admin/rooms?q=%3Cscript%3E"]:
            await page.goto(f"{server.base_url}{path}")
            assert await page.locator("main img:not([src^='/admin/media/']), main script").count() == 0, path
            # What a template would make of it, with what follows: random ids have such digits too.
            assert "49javascript" not in await page.locator("h1").first.inner_text(), path
        assert not alerts
        assert all(url.startswith(f"{server.base_url}/admin") for url in asked), asked


async def spam_wave(crew: Crew) -> tuple[list[str], str]:
    """A room in which somebody advertised before any rule; the rooms, and who it was."""
    spammer, rooms = crew.user, []
    for number in range(3):
        room_id = await crew.owner.create_room(name=f"Room {number}", preset="public_chat")
        await spammer.join(room_id)
        await crew.auditor.join(room_id)
        event_id = await spammer.send(room_id, f"Earn coins at https://coin{number}.example")
        (await crew.auditor.post("/rooms/{}/report/{}", room_id, event_id, body={"reason": "Advertising"})).ok()
        rooms.append(room_id)
    return rooms, spammer.user_id


async def write_and_try(page: Page, navigation: Locator) -> None:
    """A rule is checked against a message, saved as a draft, and tried on what was said."""
    await navigation.get_by_role("link", name="Spam rules").click()
    await page.get_by_role("link", name="New rule").click()
    await page.get_by_label("Id (letters, digits, - and _)").fill("coins")
    await page.get_by_label("Title, for moderators").fill("Coins for nothing")
    await page.get_by_label("Condition").fill("event.text.contains('earn coins') && size(event.domains) > 0")
    await page.get_by_label("A message to try it on (optional)").fill("Earn coins at https://coin9.example")
    await page.get_by_label("Action 1").select_option("deny")
    await page.get_by_label("What the sender is told").first.fill("No advertising here")
    await page.get_by_role("button", name="Check", exact=True).click()
    await expect(page.get_by_role("status")).to_contain_text("It hits the message")
    await keep(page, "wave-1-rule")
    await page.get_by_label("Reason (kept in the audit log)").fill("a wave of coins")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("button", name="Try it").click()

    async def is_done() -> bool:
        await page.reload()
        return bool(await page.get_by_text("Done", exact=True).count())

    await until(is_done, within_s=60)
    await expect(page.get_by_text("Events looked at")).to_be_visible()
    await expect(page.get_by_role("article")).to_have_count(3)
    await page.get_by_role("button", name="It is spam").first.click()
    await expect(page.get_by_text("spam: 1 of 1")).to_be_visible()
    await keep(page, "wave-2-trial")


async def clean_up(page: Page, navigation: Locator, spammer: str) -> None:
    """A case is taken, its evidence traced, acted upon after a look at what would be done, and closed."""
    await navigation.get_by_role("link", name="Cases").click()
    await page.get_by_role("link", name=f"User {spammer}").click()
    await page.get_by_role("button", name="Take it").click()
    await keep(page, "wave-4-case")
    await page.get_by_role("article").first.get_by_role("link", name="$").click()
    await expect(page.get_by_text("sent here")).to_be_visible()
    await keep(page, "wave-6-trace")
    await page.go_back()
    for act in ("Redact what was reported", "Ban from these rooms", "Suspend the account"):
        await page.get_by_label(act).check()
    await page.get_by_label("Reason (kept in the audit log)").first.fill("spam wave")
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_text("Nothing is done yet")).to_be_visible()
    await expect(page.get_by_text("Earn coins at https://coin")).to_have_count(3)
    await keep(page, "wave-5-preview")
    await page.get_by_role("button", name="Do it").click()
    await expect(page.get_by_text("redact: 3 of 3")).to_be_visible()
    await expect(page.get_by_text("ban: 3 of 3 rooms")).to_be_visible()
    await page.get_by_label("Outcome").select_option("acted")
    await page.get_by_label("Reply to the reporters (empty: none)").fill("Thank you: it is gone.")
    await page.get_by_role("button", name="Close the case").click()
    await expect(page.get_by_role("status")).to_have_text("The case is closed.")


async def take_back(page: Page, user_id: str) -> None:
    """They said that it was somebody else: the suspension is lifted where their page says that it is in force."""
    await page.get_by_role("definition").get_by_role("link", name=user_id).click()
    await expect(page.get_by_text("Suspended", exact=True)).to_be_visible()
    await keep(page, "wave-7-user")
    await page.get_by_label("Reason", exact=False).first.fill("their account was taken over, and is theirs again")
    await page.get_by_role("button", name="Lift the suspension").click()
    await expect(page.get_by_role("status")).to_have_text("The suspension is lifted.")


async def read_the_log(server: RunningServer, spammer: str) -> None:
    """An auditor finds each step by whom it was about."""
    async with chromium() as context:
        page = await log_in(server, context, "the-auditor")
        await page.get_by_role("link", name="Audit log").click()
        await page.get_by_label("Target").fill(spammer)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("cell", name="user.suspend")).to_have_count(2)
        await expect(page.get_by_text("their account was taken over")).to_be_visible()
        await keep(page, "wave-8-audit")


async def test_a_wave_is_found_explained_and_cleaned_up(server: RunningServer, crew: Crew) -> None:
    """From the overview: a case, a rule that is tried and then enforced, its decision explained, all cleaned up, one
    step taken back; and the audit log tells each.
    """
    rooms, spammer = await spam_wave(crew)
    async with chromium() as context:
        page = await log_in(server, context, "the-moderator")
        navigation = page.get_by_role("navigation", name="Console")
        await navigation.get_by_role("link", name="Cases").click()
        await navigation.get_by_role("link", name="Overview").click()
        await expect(page.get_by_text("Cases wait for somebody")).to_be_visible()
        await keep(page, "wave-0-overview")
        await write_and_try(page, navigation)
        await page.get_by_role("heading", level=1).get_by_role("link").click()
        await page.locator("select[name=stage]").select_option("enforced")
        await page.get_by_label("Reason (kept in the audit log)").first.fill("three of three are spam")
        await page.get_by_role("button", name="Change the stage").click()
        said = {"msgtype": "m.text", "body": "Earn coins at https://coin7.example"}
        assert (await crew.user.put("/rooms/{}/send/m.room.message/{}", rooms[0], "x", body=said)).status == 403
        await page.get_by_role("navigation", name="Spam rules").get_by_role("link", name="Decisions").click()
        await page.get_by_role("rowheader").get_by_role("link").first.click()
        await expect(page.get_by_text("earn coins at https://coin7.example").first).to_be_visible()
        await keep(page, "wave-3-decision")
        await clean_up(page, navigation, spammer)
        await take_back(page, spammer)
        assert (await crew.user.post("/join/{}", rooms[1])).status == 403
        sql = "SELECT action FROM audit_log WHERE actor = $1 AND action <> 'console.log_in' ORDER BY entry_nid"
        told = [row["action"] for row in await server.db.fetch(sql, crew.moderator.user_id)]
        acts = ["event.redact"] * 3 + ["member.ban"] * 3 + ["user.suspend", "case.note", "case.close", "user.suspend"]
        assert told == ["rule.put", "rule.trial", "sample.mark", "rule.stage", "case.assign", *acts]
    await read_the_log(server, spammer)
