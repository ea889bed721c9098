"""Who signs out of everything here is shown the way to sign out at the service of their sign-in."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt

from tests.api.test_cas import arrive as arrive_at_cas
from tests.kit.cas_service import cas_server
from tests.kit.clock import FakeClock
from tests.kit.oauth import Browser
from tests.kit.openid_provider import CLIENT_ID, OpenIdService, arrive, settings_of
from tests.kit.server import RunningServer, running_server

BACK = "https://hansa.test/_hansa/login"
OURS = "/_hansa/sso/with/work?next=/_hansa/account"
OUT = "/_hansa/logout/all"


@pytest.fixture
def service(service: OpenIdService) -> OpenIdService:
    service.more = {"end_session_endpoint": f"{service.issuer}/logout?theme=dark"}
    return service


@pytest.fixture
async def server(database_dsn: str, clock: FakeClock, service: OpenIdService) -> AsyncIterator[RunningServer]:
    toml = settings_of(service).replace("[federation]", "logout_there = true\n[federation]")
    async with running_server(database_dsn, toml=toml, clock=clock) as running:
        yield running


def onward(browser: Browser) -> str | None:
    """Where the page leads on to."""
    found = re.findall(r'class="button" href="([^"]*)"', browser.text)
    return html.unescape(found[0]) if found else None


async def is_out(browser: Browser) -> bool:
    return "Sign in to" in (await browser.open("/_hansa/account")).body.decode()


async def test_somebody_goes_on_to_sign_out_there(server: RunningServer, service: OpenIdService) -> None:
    browser, other = Browser(server), Browser(server)
    await arrive(service, browser, OURS)
    await arrive(service, other, OURS)
    assert "@alice:hansa.test" in browser.text
    page = await browser.submit(OUT)
    assert page.status == 200 and "<h1>Signed out</h1>" in browser.text
    link = urlsplit(onward(browser) or "")
    query = {key: values[0] for key, values in parse_qs(link.query).items()}
    assert f"{link.scheme}://{link.netloc}{link.path}" == f"{service.issuer}/logout"
    token = jwt.decode(query.pop("id_token_hint"), service.key, algorithms=["ES256"])
    assert (token.claims["sub"], token.claims["aud"]) == ("4711", CLIENT_ID)
    assert query == {"theme": "dark", "client_id": CLIENT_ID, "post_logout_redirect_uri": BACK}
    assert await is_out(browser) and await is_out(other)


async def test_a_token_that_is_too_long_stays_here(server: RunningServer, service: OpenIdService) -> None:
    service.claims["groups"] = ["a group with a long name"] * 500
    browser = Browser(server)
    await arrive(service, browser, OURS)
    await browser.submit(OUT)
    link = onward(browser)
    assert link is not None and "id_token_hint" not in link and len(link) < 500
    assert f"client_id={CLIENT_ID}" in link


@pytest.mark.parametrize(
    "place",
    [
        None,
        7,
        "",
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example/logout",
        "/logout",
        "ftp://evil.example/",
        "https://",
        "https://[evil/",
        "https://evil.example/a b",
        "https://evil.example\\@other.example/",
        "https://evil.example/é",
        "https://evil.example/" + "x" * 2_000,
    ],
)
async def test_what_is_no_address_is_led_to_by_no_link(
    server: RunningServer, service: OpenIdService, place: Any
) -> None:
    """T-I20: a service that lies about itself sends nobody to a script or to nowhere."""
    service.more = {"end_session_endpoint": place} if place is not None else {}
    browser = Browser(server)
    await arrive(service, browser, OURS)
    page = await browser.submit(OUT)
    assert page.status == 200 and "<h1>Signed out</h1>" in browser.text
    assert onward(browser) is None
    assert await is_out(browser)


async def test_the_service_is_down(server: RunningServer, service: OpenIdService, clock: FakeClock) -> None:
    """Its metadata must be read anew, and can't be: people are out here all the same."""
    browser = Browser(server)
    await arrive(service, browser, OURS)
    service.instead = {"/.well-known/openid-configuration": (500, b"")}
    clock.advance(3_601)
    page = await browser.submit(OUT)
    assert page.status == 200 and onward(browser) is None
    assert await is_out(browser)


async def test_only_where_the_operator_wants_it(database_dsn: str, clock: FakeClock, service: OpenIdService) -> None:
    async with running_server(database_dsn, toml=settings_of(service), clock=clock) as server:
        browser = Browser(server)
        await arrive(service, browser, OURS)
        assert (await browser.submit(OUT)).status == 200 and onward(browser) is None
        assert await server.db.fetchval("SELECT count(*) FROM upstream_sessions WHERE details IS NOT NULL") == 0
        somebody = Browser(server)
        await server.user("bob")
        await somebody.open("/_hansa/account")
        await somebody.sign_in("bob")
        assert (await somebody.submit(OUT)).status == 200 and onward(somebody) is None


async def test_forms_of_other_sites_sign_nobody_out(server: RunningServer, service: OpenIdService) -> None:
    """T-I22: the form must be ours."""
    browser = Browser(server)
    await arrive(service, browser, OURS)
    assert (await browser.submit(OUT, form_code="0" * 64)).status == 403
    assert not await is_out(browser)


async def test_cas(database_dsn: str) -> None:
    async with cas_server() as service:
        toml = (
            f'[[cas]]\nid = "campus"\nname = "Campus"\nurl = "{service.url}"\nlogout_there = true\n'
            '[federation]\nallow_ip_ranges = ["127.0.0.0/8"]\n'
        )
        async with running_server(database_dsn, toml=toml) as server:
            browser = Browser(server)
            await arrive_at_cas(service, browser)
            await browser.submit(OUT)
            link = urlsplit(onward(browser) or "")
            assert f"{link.scheme}://{link.netloc}{link.path}" == f"{service.url}/logout"
            assert parse_qs(link.query) == {"service": [BACK]}
            assert await is_out(browser)
