"""Pages for what clients can't do: over HTTP, and in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.kit.browser import chromium
from tests.kit.server import Answered, Client, RunningServer, config_for_tests, running_server

TERMS = """
terms_version = "1.0"
terms_name = "House <rules>"
terms_url = "https://hansa.test/rules"
"""
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
NEW = {"username": "alice", "password": "correct horse battery"}
HEARD_TWO = """
new Promise((done) => { const look = () => (heard.length === 2 ? done(heard) : setTimeout(look, 10)); look(); })
"""
STAGES = ["m.login.terms", "m.login.registration_token"]


@pytest.fixture
async def server(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """Registration takes a token and the terms."""
    chosen = config_for_tests(tmp_path, registration=TERMS)
    config = replace(chosen, registration=replace(chosen.registration, mode="token"))
    async with running_server(database_dsn, config=config) as running:
        await running.db.execute("INSERT INTO registration_tokens (token) VALUES ($1)", "ticket")
        yield running


def page_of(stage: str, session: str) -> str:
    return f"/_matrix/client/v3/auth/{stage}/fallback/web?" + urlencode({"session": session})


async def begin(client: Client) -> str:
    challenge = await client.post("/register", body=NEW)
    assert challenge.status == 401 and challenge.json["flows"] == [{"stages": STAGES}]
    session: str = challenge.json["session"]
    return session


async def send(client: Client, stage: str, **fields: str) -> Answered:
    return await client.request(
        "POST", f"/_matrix/client/v3/auth/{stage}/fallback/web", data=urlencode(fields).encode(), headers=FORM
    )


def text_of(answer: Answered) -> str:
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return answer.body.decode()


async def test_stages_are_passed_on_pages(server: RunningServer) -> None:
    client = server.anonymous()
    session = await begin(client)
    terms = text_of(await client.request("GET", page_of(STAGES[0], session)))
    assert "House &lt;rules&gt;" in terms and 'href="https://hansa.test/rules"' in terms
    assert "onAuthDone" in text_of(await send(client, STAGES[0], session=session))
    wrong = await send(client, STAGES[1], session=session, token="guess")
    assert wrong.status == 403 and 'role="alert"' in text_of(wrong)
    half = await client.post("/register", body={**NEW, "auth": {"session": session}})
    assert half.status == 401 and half.json["completed"] == [STAGES[0]]
    assert (await send(client, STAGES[1], session=session, token="ticket")).status == 200
    assert "onAuthDone" in text_of(await client.request("GET", page_of(STAGES[1], session)))
    assert (await client.post("/register", body={**NEW, "auth": {"session": session}})).ok()["user_id"]


async def test_pages_that_are_not_open(server: RunningServer) -> None:
    """A session that nobody began, a stage that isn't asked for, one without a page: nothing to send."""
    client = server.anonymous()
    session = await begin(client)
    for stage, given in [
        (STAGES[0], "nothing"),
        (STAGES[0], ""),
        ("m.login.dummy", session),
        ("m.login.sso", session),
        ("<script>alert(1)</script>", "x"),
    ]:
        shown = await client.request("GET", page_of(stage.replace("<", "%3C").replace("/", "%2F"), given))
        assert shown.status == 404 and "<form" not in text_of(shown) and "alert(1)" not in text_of(shown)
        # The page of m.login.sso takes no form.
        refused = 405 if stage == "m.login.sso" else 404
        assert (await send(client, stage.replace("/", "%2F"), session=given)).status == refused
    (await client.request("POST", f"/_matrix/client/v3/auth/{STAGES[0]}/fallback/web", data=b"{}")).refused(
        400, "M_INVALID_PARAM"
    )


async def test_nothing_runs_on_a_page_but_its_one_script(server: RunningServer) -> None:
    """T-M1, T-I21: no markup from outside, no script but ours by its hash, no frame around it."""
    client = server.anonymous()
    session = await begin(client)
    pages = [page_of(STAGES[0], session), page_of(STAGES[1], session), "/_matrix/static/client/login/"]
    for path in pages:
        for language in ("en", "zh-CN,en;q=0.5"):
            answer = await client.request("GET", path, headers={"Accept-Language": language})
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
            html = text_of(answer)
            assert f'<html lang="{language[:2]}">' in html and html.count("<h1>") == 1
            assert len(re.findall("<script", html)) == policy.count("script-src 'sha256-")
            fields = re.findall(r"<input type=\"(?:text|password)\"", html)
            assert html.count("<label>") == len(fields) and " on" + "click" not in html
    injected = await send(client, STAGES[1], session=session, token='"><script>alert(1)</script>')
    assert "alert(1)" not in text_of(injected)


async def test_a_password_is_that_of_the_account_it_is_about(database_dsn: str) -> None:
    """Whoever opens the page, the password of another account doesn't help."""
    async with running_server(database_dsn) as server:
        alice, _ = await server.user("alice"), await server.user("mallory", password="mallory has a password")
        challenge = await alice.post("/account/deactivate")
        session = challenge.json["session"]
        wrong = await send(alice, "m.login.password", session=session, password="mallory has a password")
        assert wrong.status == 403
        assert (await alice.post("/account/deactivate", body={"auth": {"session": session}})).status == 401
        assert (await send(alice, "m.login.password", session=session, password="correct horse battery")).status == 200
        (await alice.post("/account/deactivate", body={"auth": {"session": session}})).ok()


def complaints_of(page: Any) -> list[str]:
    """What the browser will complain of, as it comes."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


async def visit(server: RunningServer, context: Any, path: str) -> Any:
    """A page of the server, and whatever its browser complains of in `page.complaints`."""
    page = await context.new_page()
    page.complaints = complaints_of(page)
    await page.goto(server.base_url + path)
    return page


@pytest.mark.slow
@pytest.mark.parametrize(("language", "button"), [("en", "I accept"), ("zh-CN", "我接受")])
async def test_a_browser_does_the_stages(server: RunningServer, language: str, button: str) -> None:
    """The opener hears that it is done, as the specification's example waits for it."""
    client = server.anonymous()
    session = await begin(client)
    async with chromium(language) as context:
        opener = await visit(server, context, "/_matrix/static/client/login/")
        await opener.evaluate("window.heard = []; addEventListener('message', (event) => heard.push(event.data))")
        for stage in STAGES:
            async with opener.expect_popup() as opened:
                await opener.evaluate("(url) => { window.open(url); }", server.base_url + page_of(stage, session))
            popup = await opened.value
            complaints = complaints_of(popup)
            if stage == STAGES[0]:
                await popup.get_by_role("button", name=button).click()
            else:
                await popup.get_by_role("textbox").fill("ticket")
                await popup.keyboard.press("Enter")
            await popup.get_by_role("status").wait_for()
            assert complaints == []
        assert await opener.evaluate(HEARD_TWO) == ["authDone", "authDone"]
    assert (await client.post("/register", body={**NEW, "auth": {"session": session}})).ok()["user_id"]


@pytest.mark.slow
async def test_a_browser_logs_in(database_dsn: str) -> None:
    async with running_server(database_dsn) as server, chromium() as context:
        alice = await server.user("alice")
        await context.add_init_script("window.matrixLogin = { onLogin: (response) => { window.got = response; } };")
        page = await visit(server, context, "/_matrix/static/client/login/?device_id=PAGE&password=ignored")
        await page.get_by_label("User name").fill("alice")
        await page.get_by_label("Password").fill("wrong password")
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_role("alert").wait_for()
        assert await page.get_by_role("alert").inner_text() == "User name or password is wrong."
        await page.get_by_label("Password").fill("correct horse battery")
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_text("You are logged in").wait_for()
        got = await page.evaluate("window.got")
        assert (got["user_id"], got["device_id"]) == (alice.user_id, "PAGE") and got["access_token"]
        assert [text for text in page.complaints if "403" not in text] == []
        assert json.dumps(got).count("ignored") == 0
