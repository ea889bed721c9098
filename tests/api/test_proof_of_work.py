"""The captcha of our own: over HTTP, and in a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import expect

from tests.kit.browser import chromium, server_for_browsers
from tests.kit.clock import FakeClock
from tests.kit.server import RunningServer, running_server

STAGE = "org.hansa.login.proof_of_work"
WORK = "[captcha]\nproof_of_work = 2000\n"
NEW = {"username": "alice", "password": "correct horse battery"}


@pytest.fixture
async def server(database_dsn: str) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn, toml=WORK) as running:
        yield running


def solved(asked: Any, **changes: Any) -> str:
    """As a client of ALTCHA answers."""
    number = next(
        number
        for number in range(asked["maxnumber"] + 1)
        if hashlib.sha256(f"{asked['salt']}{number}".encode()).hexdigest() == asked["challenge"]
    )
    answer = {key: asked[key] for key in ("algorithm", "challenge", "salt", "signature")}
    return base64.b64encode(json.dumps({**answer, "number": number, **changes}).encode()).decode()


async def asked_of(server: RunningServer, name: str = "alice") -> tuple[str, Any]:
    challenge = (await server.anonymous().post("/register", body={**NEW, "username": name})).json
    assert challenge["flows"] == [{"stages": [STAGE, "m.login.dummy"]}]
    return challenge["session"], challenge["params"][STAGE]


async def register(server: RunningServer, session: str, response: Any, name: str = "alice") -> Any:
    auth = {"type": STAGE, "session": session, "response": response}
    return (await server.anonymous().post("/register", body={**NEW, "username": name, "auth": auth})).json


async def test_whoever_has_worked_registers(server: RunningServer) -> None:
    """An account costs work, and one piece of work makes one account."""
    session, asked = await asked_of(server)
    answer = solved(asked)
    assert (await register(server, session, answer))["completed"] == [STAGE]
    auth = {"type": "m.login.dummy", "session": session}
    (await server.anonymous().post("/register", body={**NEW, "auth": auth})).ok()
    other, _ = await asked_of(server, "bob")
    assert (await register(server, other, answer, "bob"))["errcode"] == "M_CAPTCHA_INVALID", "it was used before"


async def test_other_answers_count_for_nothing(server: RunningServer) -> None:
    session, asked = await asked_of(server)
    late = asked["salt"].rpartition("=")[0] + "=99999999999"
    for wrong, errcode in [
        (None, "M_CAPTCHA_NEEDED"),
        (5, "M_CAPTCHA_NEEDED"),
        ("", "M_CAPTCHA_NEEDED"),
        ("!!", "M_CAPTCHA_INVALID"),
        (base64.b64encode(b"[]").decode(), "M_CAPTCHA_INVALID"),
        (solved(asked, number=-1), "M_CAPTCHA_INVALID"),
        (solved(asked, number="1"), "M_CAPTCHA_INVALID"),
        (solved(asked, number=True), "M_CAPTCHA_INVALID"),
        (solved(asked, signature="0" * 64), "M_CAPTCHA_INVALID"),
        (solved(asked, signature=None), "M_CAPTCHA_INVALID"),
        (solved(asked, salt=late), "M_CAPTCHA_INVALID"),
        (solved(asked, algorithm="SHA-1"), "M_CAPTCHA_INVALID"),
        ("A" * 100_000, "M_CAPTCHA_INVALID"),
    ]:
        assert (await register(server, session, wrong))["errcode"] == errcode, wrong
    auth = {"type": "m.login.dummy", "session": session}
    assert (await server.anonymous().post("/register", body={**NEW, "auth": auth})).status == 401


async def test_work_of_long_ago_is_worth_nothing(database_dsn: str) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, toml=WORK, clock=clock) as server:
        _, asked = await asked_of(server)
        clock.advance(601)
        session, _ = await asked_of(server)
        assert (await register(server, session, solved(asked)))["errcode"] == "M_CAPTCHA_INVALID"


@pytest.mark.slow
@pytest.mark.programs("chromium")
async def test_a_browser_does_the_work(database_dsn: str, tmp_path: Path) -> None:
    """On the page of a stage, for clients that don't know it, and where people register: nothing but a click."""
    async with server_for_browsers(database_dsn, tmp_path, toml=WORK) as server, chromium() as context:
        session, _ = await asked_of(server)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        query = urlencode({"session": session})
        await page.goto(f"{server.base_url}/_matrix/client/v3/auth/{STAGE}/fallback/web?{query}")
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Done")
        auth = {"type": "m.login.dummy", "session": session}
        (await server.anonymous().post("/register", body={**NEW, "auth": auth})).ok()
        await page.goto(f"{server.base_url}/_hansa/register")
        await page.get_by_label("User name").fill("bob")
        await page.get_by_label("Password").fill("correct horse battery")
        await page.get_by_role("button", name="Make an account").click()
        await expect(page.get_by_text("@bob:hansa.test")).to_be_visible()
        assert not complaints
