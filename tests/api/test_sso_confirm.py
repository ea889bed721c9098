"""People without a password, who sign in at a service, confirm there what can't be undone."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.kit.clock import FakeClock
from tests.kit.oauth import Browser
from tests.kit.openid_provider import OpenIdService, arrive, settings_of
from tests.kit.server import Client, RunningServer, running_server

_REDIRECT = "/_matrix/client/v3/login/sso/redirect"
_DONE = "You can close this window"


@pytest.fixture
async def server(database_dsn: str, clock: FakeClock, service: OpenIdService) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn, toml=settings_of(service), clock=clock) as running:
        yield running


async def person(server: RunningServer, service: OpenIdService) -> Client:
    """An app of somebody who signed in at the service, and has no password."""
    browser, app = Browser(server), server.anonymous()
    await arrive(service, browser, f"{_REDIRECT}?{urlencode({'redirectUrl': 'https://app.example.org/'})}")
    [token] = re.findall(r"loginToken=([A-Za-z0-9_-]+)", html.unescape(browser.text))
    account = (await app.post("/login", body={"type": "m.login.token", "token": token})).ok()
    app.token, app.user_id, app.device_id = account["access_token"], account["user_id"], account["device_id"]
    return app


def page_of(challenge: Any) -> str:
    assert {"stages": ["m.login.sso"]} in challenge["flows"], challenge
    return f"/_matrix/client/v3/auth/m.login.sso/fallback/web?session={quote(challenge['session'])}"


def onward(browser: Browser) -> str:
    [link] = re.findall(r'href="(/_hansa/sso/stage[^"]*)"', browser.text)
    return html.unescape(link)


async def test_a_device_is_deleted(server: RunningServer, service: OpenIdService) -> None:
    """T-I4: the page says what for; whoever has signed in there anew is the account's owner; it counts once."""
    alice, browser = await person(server, service), Browser(server)
    other = await person(server, service)
    asked = await alice.request("DELETE", f"/devices/{other.device_id}", body={})
    assert asked.status == 401 and asked.json["flows"] == [{"stages": ["m.login.sso"]}]
    session = {"auth": {"session": asked.json["session"]}}
    claimed = {"auth": {"type": "m.login.sso", "session": asked.json["session"]}}
    assert (await alice.request("DELETE", f"/devices/{other.device_id}", body=claimed)).status == 401
    await browser.open(page_of(asked.json))
    assert "sign out devices" in browser.text and alice.user_id in browser.text
    await arrive(service, browser, onward(browser))
    assert _DONE in browser.text and "authDone" in browser.text
    await browser.open(page_of(asked.json))
    assert _DONE in browser.text
    (await alice.request("DELETE", f"/devices/{other.device_id}", body=session)).ok()
    (await other.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    assert (await browser.open(page_of(asked.json))).status == 404
    third = await alice.request("DELETE", f"/devices/{alice.device_id}", body=claimed)
    assert third.status == 401, "a session was used twice"


async def test_nobody_else_confirms(server: RunningServer, service: OpenIdService) -> None:
    """T-I4, T-I22, T-M16: not another account, not somebody unknown, not a link from elsewhere, no password of ours."""
    alice, browser = await person(server, service), Browser(server)
    asked = await alice.post("/account/deactivate", body={})
    await browser.open(page_of(asked.json))
    assert "deactivate the account" in browser.text
    way = onward(browser)
    stranger = Browser(server)
    assert (await stranger.open(way)).status == 403
    await stranger.open("/_hansa/login")
    assert (await stranger.open(way)).status == 403
    assert (await browser.open(way.replace("service=work", "service=none"))).status == 404
    users = await server.db.fetchval("SELECT count(*) FROM users")
    service.claims = {"sub": "another", "preferred_username": "mallory"}
    await arrive(service, browser, way)
    assert browser.page.status == 403
    assert await server.db.fetchval("SELECT count(*) FROM users") == users, "an account was made on the way"
    mallory = await person(server, service)
    assert mallory.user_id != alice.user_id
    await arrive(service, browser, way)
    assert browser.page.status == 403
    tried = await alice.post("/account/deactivate", body={"auth": {"session": asked.json["session"]}})
    assert tried.status == 401
    (await alice.get("/account/whoami")).ok()


async def test_our_own_accounts_still_give_their_password(server: RunningServer) -> None:
    bob = await server.user("bob")
    asked = await bob.post("/account/deactivate", body={})
    assert asked.json["flows"] == [{"stages": ["m.login.password"]}]
    path = f"/_matrix/client/v3/auth/m.login.sso/fallback/web?session={quote(asked.json['session'])}"
    assert (await bob.request("GET", path)).status == 404


async def test_their_account_page_asks_them_to_sign_in_once_more(
    server: RunningServer, service: OpenIdService, clock: FakeClock
) -> None:
    """T-I6: what can't be undone wants them to have just signed in."""
    browser, page = Browser(server), "/_hansa/account?action=org.matrix.account_deactivate"
    await arrive(service, browser, f"/_hansa/sso/with/work?{urlencode({'next': page})}")
    assert "Deactivate your account" in browser.text and 'name="password"' not in browser.text
    clock.advance(601)
    service.now_s += 601
    await browser.submit("/_hansa/account", action="deactivate")
    assert "Sign in to hansa.test" in browser.text
    [link] = re.findall(r'href="(/_hansa/sso/with/work[^"]*)"', browser.text)
    await arrive(service, browser, html.unescape(link))
    assert "Deactivate your account" in browser.text
    await browser.submit("/_hansa/account", action="deactivate")
    assert "Your account is deactivated" in browser.text
