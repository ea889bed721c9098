"""Signing in at a service that speaks CAS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.kit.cas_service import CasServer, cas_server
from tests.kit.oauth import FORM, Browser
from tests.kit.server import Answered, RunningServer, running_server

OURS = "/_hansa/sso/with/campus?next=/_hansa/account"


@pytest.fixture
async def service() -> AsyncIterator[CasServer]:
    async with cas_server() as running:
        yield running


@pytest.fixture
async def server(database_dsn: str, service: CasServer) -> AsyncIterator[RunningServer]:
    toml = (
        f'[[cas]]\nid = "campus"\nname = "Campus"\nurl = "{service.url}"\n'
        '[federation]\nallow_ip_ranges = ["127.0.0.0/8"]\n'
    )
    async with running_server(database_dsn, toml=toml) as running:
        yield running


async def arrive(service: CasServer, browser: Browser, path: str = OURS) -> str:
    """Follows the redirect, signs in there, and comes back; the path that one came back by."""
    sent = await browser.open(path)
    assert sent.status == 303, sent.body
    back = urlsplit(service.sign_in(sent.headers["Location"]))
    await browser.open(f"{back.path}?{back.query}")
    return f"{back.path}?{back.query}"


async def test_people_sign_in_there(server: RunningServer, service: CasServer) -> None:
    flows = (await server.anonymous().get("/login")).ok()["flows"]
    (sso,) = [flow for flow in flows if flow["type"] == "m.login.sso"]
    assert sso["identity_providers"] == [{"id": "campus", "name": "Campus"}]
    browser = Browser(server)
    back = await arrive(service, browser)
    assert "@alice:hansa.test" in browser.text
    shown = await server.anonymous().get("/profile/{}/displayname", "@alice:hansa.test")
    assert shown.ok() == {"displayname": "Alice Liddell"}
    assert (await browser.open(back)).status == 403, "a way back counts once"
    service.name = "Alice L."
    again = Browser(server)
    await arrive(service, again)
    assert "@alice:hansa.test" in again.text, "the same person has the same account"
    service.user = "alice"
    other = Browser(server)
    await arrive(service, other)
    assert "@alice2:hansa.test" in other.text, "another name there is another person"


async def test_reserved_names_are_for_nobody_who_comes_in(server: RunningServer, service: CasServer) -> None:
    """T-I14: whoever calls themselves admin elsewhere isn't @admin here."""
    service.user = "admin"
    browser = Browser(server)
    await arrive(service, browser)
    assert "@admin2:hansa.test" in browser.text
    (await server.anonymous().get("/profile/{}", "@admin:hansa.test")).refused(404, "M_NOT_FOUND")


async def test_a_ticket_is_for_the_browser_that_asked(server: RunningServer, service: CasServer) -> None:
    """T-I22: nobody is signed in to somebody else's account by a link."""
    mallory, victim = Browser(server), Browser(server)
    sent = await mallory.open(OURS)
    back = urlsplit(service.sign_in(sent.headers["Location"]))
    await victim.open("/_hansa/login")
    assert (await victim.open(f"{back.path}?{back.query}")).status == 403
    await victim.open("/_hansa/account")
    assert "@alice" not in victim.text


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"", 502),
        (b"<nothing", 502),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', 502),
        ('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'.encode("utf-16"), 502),
        (b'<?xml version="1.0" encoding="cobol"?><x/>', 502),
        (b"<x/>", 403),
        (
            b'<cas:serviceResponse xmlns:cas="http://www.yale.edu/tp/cas"><cas:authenticationSuccess><cas:user> '
            b"</cas:user></cas:authenticationSuccess></cas:serviceResponse>",
            403,
        ),
        (b"<x>" + b"a" * 300_000, 502),
    ],
)
async def test_answers_that_name_nobody(server: RunningServer, service: CasServer, answer: bytes, status: int) -> None:
    """T-I4: nor is anybody let in by a document type, in whatever encoding it comes."""
    service.answer = answer
    browser = Browser(server)
    await arrive(service, browser)
    assert browser.page.status == status


async def test_a_ticket_of_another_service_is_none(server: RunningServer, service: CasServer) -> None:
    browser = Browser(server)
    sent = await browser.open(OURS)
    back = urlsplit(service.sign_in(sent.headers["Location"]))
    for ticket in ("ST-unknown", "", "x" * 2_000):
        state = back.query.partition("&")[0]
        assert (await browser.open(f"{back.path}?{state}&ticket={ticket}")).status == 403
        sent = await browser.open(OURS)
        back = urlsplit(service.sign_in(sent.headers["Location"]))


async def order(server: RunningServer, back: str, text: str) -> Answered:
    """CAS posts to the address that the ticket was given for."""
    data = urlencode({"logoutRequest": text}).encode()
    return await server.anonymous().request("POST", back, data=data, headers=FORM)


async def test_a_session_ends_there(server: RunningServer, service: CasServer) -> None:
    """T-I4: what its ticket opened ends, nothing else."""
    one, other = Browser(server), Browser(server)
    back = await arrive(service, one)
    await arrive(service, other)
    ticket = parse_qs(urlsplit(back).query)["ticket"][0]
    assert (await order(server, back, service.order("ST-unknown"))).status == 200
    assert "@alice:hansa.test" in (await one.open("/_hansa/account")).body.decode()
    answer = await order(server, back.partition("&ticket")[0], service.order(ticket))
    assert (answer.status, answer.body) == (200, b"")
    assert "Sign in to" in (await one.open("/_hansa/account")).body.decode()
    assert "@alice:hansa.test" in (await other.open("/_hansa/account")).body.decode()
    assert (await order(server, back, service.order(ticket))).status == 200, "that it has ended is no fault"
    assert "@alice:hansa.test" in (await other.open("/_hansa/account")).body.decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no XML",
        "<x/>",
        CasServer.order(""),
        CasServer.order("x" * 1_001),
        CasServer.order("a</samlp:SessionIndex><samlp:SessionIndex>b"),
        CasServer.order("a<b/>").replace("LogoutRequest", "Response"),
        '<!DOCTYPE x [<!ENTITY a "b">]>' + CasServer.order("&a;"),
        "<x>" * 5_000,
        CasServer.order("ST-1") + " " * 16_000,
    ],
)
async def test_orders_of_cas_that_are_none(server: RunningServer, service: CasServer, text: str) -> None:
    """T-I4, T-L9"""
    browser = Browser(server)
    back = await arrive(service, browser)
    (await order(server, back, text)).refused(400, "M_INVALID_PARAM")
    assert "@alice:hansa.test" in (await browser.open("/_hansa/account")).body.decode()


async def test_a_service_that_may_end_nothing(database_dsn: str, service: CasServer) -> None:
    toml = f'[[cas]]\nid = "campus"\nurl = "{service.url}"\nsingle_logout = false\n'
    async with running_server(database_dsn, toml=toml) as server:
        assert (await order(server, "/_hansa/sso/callback", service.order("ST-0"))).status == 405
