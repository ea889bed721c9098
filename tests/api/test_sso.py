"""Signing in elsewhere: at a service that speaks OpenID Connect, by a token of another service, by another device."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from tests.kit.clock import FakeClock
from tests.kit.oauth import App, Browser, told
from tests.kit.openid_provider import OpenIdService, arrive, settings_of
from tests.kit.server import Client, RunningServer, config_for_tests, running_server

PASSWORD = "correct horse battery"
APP = "https://app.example.org/?a=b"
_REDIRECT = "/_matrix/client/v3/login/sso/redirect"


@pytest.fixture
async def server(database_dsn: str, clock: FakeClock, service: OpenIdService) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn, toml=settings_of(service), clock=clock) as running:
        yield running


def token_on(browser: Browser) -> str:
    [link] = re.findall(r'class="button" href="([^"]*)"', browser.text)
    parts = urlsplit(html.unescape(link))
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == "https://app.example.org/"
    return parse_qs(parts.query)["loginToken"][0]


async def login(server: RunningServer, **body: Any) -> Any:
    return await server.anonymous().post("/login", body=body)


async def test_an_app_signs_in_there(server: RunningServer, service: OpenIdService) -> None:
    """T-I4, T-I20: by issuer and subject, never by name; the reader sees where the token goes; it counts once."""
    flows = (await server.anonymous().get("/login")).ok()["flows"]
    assert {"type": "m.login.sso", "identity_providers": [{"id": "work", "name": "Work"}]} in flows
    squatter = await server.user("alice")
    browser = Browser(server)
    path = f"{_REDIRECT}?{urlencode({'redirectUrl': APP})}"
    await arrive(service, browser, path)
    assert "app.example.org will get into the account @alice2:hansa.test" in browser.text
    token = token_on(browser)
    account = (await login(server, type="m.login.token", token=token)).ok()
    assert account["user_id"] == "@alice2:hansa.test" != squatter.user_id
    (await login(server, type="m.login.token", token=token)).refused(403, "M_FORBIDDEN")
    service.claims = {"sub": "4711", "preferred_username": "renamed"}
    await arrive(service, Browser(server), path)
    await arrive(service, browser, f"{_REDIRECT}/work?{urlencode({'redirectUrl': APP})}")
    again = (await login(server, type="m.login.token", token=token_on(browser))).ok()
    assert again["user_id"] == account["user_id"]


async def test_the_token_goes_where_the_app_reads_it(server: RunningServer, service: OpenIdService) -> None:
    """Into the query, in place of an older one, before what stands behind `#`; all else as the app wrote it."""
    browser = Browser(server)
    url = "https://app.example.org/?a=b&loginToken=old&c=d%20e&logi%6eToken=older#/room/x?loginToken=y"
    await arrive(service, browser, f"{_REDIRECT}?{urlencode({'redirectUrl': url})}")
    [link] = re.findall(r'class="button" href="([^"]*)"', browser.text)
    token = token_on(browser)
    assert html.unescape(link) == f"https://app.example.org/?a=b&c=d%20e&loginToken={token}#/room/x?loginToken=y"
    await arrive(service, browser, f"{_REDIRECT}?{urlencode({'redirectUrl': 'app:///back'})}")
    assert re.search(r'href="app:///back\?loginToken=\w+', browser.text)


async def test_apps_of_the_older_api_come_by_our_pages(database_dsn: str) -> None:
    """spec: #oauth-20-aware-clients. T-I20: after signing in, the reader sees who goes where."""
    async with running_server(database_dsn) as server:
        alice, browser = await server.user("alice"), Browser(server)
        flows = {flow["type"]: flow for flow in (await server.anonymous().get("/login")).ok()["flows"]}
        assert flows["m.login.sso"]["oauth_aware_preferred"] is True and "m.login.password" in flows
        path = f"{_REDIRECT}?{urlencode({'redirectUrl': APP})}"
        await browser.open(f"{path}&action=login")
        await browser.sign_in("alice")
        assert f"app.example.org will get into the account {alice.user_id}" in browser.text
        account = (await login(server, type="m.login.token", token=token_on(browser))).ok()
        assert account["user_id"] == alice.user_id
        await browser.open(path)
        token_on(browser)
        newcomer = Browser(server)
        await newcomer.open(f"{path}&action=register")
        assert "Make an account on" in newcomer.text
        await newcomer.submit("/_hansa/register", username="newcomer", password=PASSWORD)
        account = (await login(server, type="m.login.token", token=token_on(newcomer))).ok()
        assert account["user_id"] == "@newcomer:hansa.test"


@pytest.mark.parametrize("has_passwords", [True, False])
async def test_apps_are_shown_the_password_beside_services(
    database_dsn: str, service: OpenIdService, tmp_path: Path, has_passwords: bool
) -> None:
    """Where there are services and passwords, no way is preferred: apps would hide the password."""
    config = config_for_tests(tmp_path, settings_of(service))
    config = replace(config, password=replace(config.password, login=has_passwords))
    async with running_server(database_dsn, config=config) as server:
        flows = {flow["type"]: flow for flow in (await server.anonymous().get("/login")).ok()["flows"]}
        assert flows["m.login.sso"]["identity_providers"] == [{"id": "work", "name": "Work"}]
        assert ("m.login.password" in flows) is has_passwords
        assert flows["m.login.sso"].get("oauth_aware_preferred", False) is not has_passwords


async def test_our_pages_take_no_passwords_where_nobody_logs_in_with_one(
    database_dsn: str, service: OpenIdService, tmp_path: Path
) -> None:
    """`password.login` holds on our pages too: neither the form is there, nor is one taken that comes all the same."""
    config = config_for_tests(tmp_path, settings_of(service))
    config = replace(config, password=replace(config.password, login=False))
    async with running_server(database_dsn, config=config) as server:
        await server.user("alice")
        browser = Browser(server)
        await browser.open("/_hansa/login")
        assert 'name="password"' not in browser.text and "Continue with Work" in browser.text
        [code] = re.findall(r'name="form_code" value="([^"]*)"', browser.text)
        await browser.submit("/_hansa/login", username="alice", password=PASSWORD, form_code=code)
        assert "@alice" not in (await browser.open("/_hansa/account")).body.decode()


async def test_our_pages_sign_in_there(server: RunningServer, service: OpenIdService) -> None:
    app, browser = App(server), Browser(server)
    await app.register()
    await browser.open(app.request())
    [path] = re.findall(r'href="(/_hansa/sso/with/work[^"]*)"', browser.text)
    await arrive(service, browser, html.unescape(path))
    assert "Let Example into your account?" in browser.text and "@alice:hansa.test" in browser.text
    code = told(await browser.submit("/_hansa/oauth/authorize", decision="allow"))["code"]
    assert (await app.token(code)).status == 200


async def test_a_service_that_tells_names_elsewhere(server: RunningServer, service: OpenIdService) -> None:
    """T-I4: what its other place says counts only if it is about the same person."""
    service.claims = {"sub": "4711"}
    service.told_apart = {"sub": "4712", "preferred_username": "mallory"}
    path = f"{_REDIRECT}?{urlencode({'redirectUrl': APP})}"
    browser = Browser(server)
    await arrive(service, browser, path)
    assert browser.page.status == 403
    assert await server.db.fetchval("SELECT count(*) FROM external_ids") == 0
    service.told_apart = {"sub": "4711", "preferred_username": "Alice"}
    await arrive(service, browser, path)
    assert "app.example.org will get into the account @alice:hansa.test" in browser.text


_LIES = [
    (500, b"{}"),
    (302, b""),
    (200, b"no json"),
    (200, b"[]"),
    (200, b"{}"),
    (200, b'{"issuer": "https://evil.org"}'),
    (200, b'{"keys": [{"kty": "none"}], "id_token": 7, "sub": []}'),
    (200, b'{"id_token": "eyJhbGciOiJub25lIn0.e30."}'),
    (200, b"[" * 100_000),
    (200, b'"' + b"x" * 2_000_000 + b'"'),
]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["/.well-known/openid-configuration", "/token", "/keys", "/userinfo"])
async def test_a_service_that_answers_nonsense(server: RunningServer, service: OpenIdService, place: str) -> None:
    """T-I4, T-L9: whatever it says, nobody is let in, nothing fails here, and it works again once it does."""
    service.claims, service.told_apart = {"sub": "4711"}, {"sub": "4711", "preferred_username": "alice"}
    browser, path = Browser(server), f"{_REDIRECT}?{urlencode({'redirectUrl': APP})}"
    for lie in _LIES:
        service.instead = {place: lie}
        sent = await browser.open(path)
        if sent.status == 303:
            back = service.sign_in(sent.headers["Location"])
            await browser.open("/_hansa/sso/callback?" + urlencode(back))
        assert browser.page.status in (403, 502) and "Signing in did not work" in browser.text, (place, lie)
    assert await server.db.fetchval("SELECT count(*) FROM users") == 0
    service.instead = {}
    await arrive(service, browser, path)
    token_on(browser)


async def test_a_service_that_takes_the_secret_in_a_form(server: RunningServer, service: OpenIdService) -> None:
    service.takes = "client_secret_post"
    browser = Browser(server)
    await arrive(service, browser, f"{_REDIRECT}?{urlencode({'redirectUrl': APP})}")
    token_on(browser)


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://evil.org"},
        {"aud": "another client"},
        {"nonce": "another"},
        {"exp": 1},
        {"sub": ""},
        {"sub": "x" * 300},
    ],
)
async def test_bad_identities_are_refused(server: RunningServer, service: OpenIdService, wrong: dict[str, Any]) -> None:
    """T-I4"""
    service.wrong = wrong
    browser = Browser(server)
    await arrive(service, browser, f"{_REDIRECT}?{urlencode({'redirectUrl': APP})}")
    assert browser.page.status == 403 and "loginToken" not in browser.text


async def test_a_sign_in_is_bound_to_its_browser(
    server: RunningServer, service: OpenIdService, clock: FakeClock
) -> None:
    """T-I4, T-I22: state of another browser, used state, another issuer, another key, too late."""
    path = f"{_REDIRECT}?{urlencode({'redirectUrl': APP})}"
    one, other = Browser(server), Browser(server)
    sent = await one.open(path)
    await other.open("/_hansa/login")
    back = service.sign_in(sent.headers["Location"])
    assert (await other.open("/_hansa/sso/callback?" + urlencode(back))).status == 403
    assert (await one.open("/_hansa/sso/callback?" + urlencode(back))).status == 403
    await arrive(service, one, path, iss="https://evil.org")
    assert one.page.status == 403
    await arrive(service, one, path, code="")
    assert one.page.status == 403
    service.key = ECKey.generate_key("P-256")
    await arrive(service, one, path)
    assert one.page.status == 403
    sent = await one.open(path)
    clock.advance(601)
    late = service.sign_in(sent.headers["Location"])
    assert (await one.open("/_hansa/sso/callback?" + urlencode(late))).status == 403


async def test_where_apps_may_not_be(server: RunningServer) -> None:
    """T-I20"""
    anonymous = server.anonymous()
    bad = ["javascript:alert(1)", "data:text/html,x", "//evil.org", "x", "vbscript:x", " ", "https:evil.org"]
    bad += ["https://evil.org\\@app.example.org/", "https:///evil.org", "https://[evil", "https://a.org/\n"]
    for url in bad:
        answer = await anonymous.request("GET", f"{_REDIRECT}?{urlencode({'redirectUrl': url})}", follow=False)
        assert answer.status == 400, url
    (await anonymous.get(_REDIRECT)).refused(400, "M_MISSING_PARAM")
    (await anonymous.get(_REDIRECT + "/nobody", redirectUrl=APP)).refused(404, "M_NOT_FOUND")


def auth_of(client: Client) -> dict[str, Any]:
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": client.user_id},
        "password": PASSWORD,
    }


async def test_another_device_logs_in_by_a_token(server: RunningServer, clock: FakeClock) -> None:
    """T-I25: proof each time, once, two minutes; T-I9: not into a locked or deactivated account."""
    alice = await server.user("alice")
    path = "/_matrix/client/v1/login/get_token"
    assert (await alice.post(path, body={})).json["flows"] == [{"stages": ["m.login.password"]}]

    async def fresh() -> str:
        given: dict[str, Any] = (await alice.post(path, body={"auth": auth_of(alice)})).ok()
        assert given["expires_in_ms"] == 120_000
        return str(given["login_token"])

    token = await fresh()
    assert (await login(server, type="m.login.token", token=token)).ok()["user_id"] == alice.user_id
    (await login(server, type="m.login.token", token=token)).refused(403, "M_FORBIDDEN")
    late = await fresh()
    clock.advance(121)
    (await login(server, type="m.login.token", token=late)).refused(403, "M_FORBIDDEN")
    for junk in ("", "x", "y" * 10_000):
        (await login(server, type="m.login.token", token=junk)).refused(403, "M_FORBIDDEN")
    (await login(server, type="m.login.token")).refused(400, "M_MISSING_PARAM")
    left = await fresh()
    (await alice.post("/account/deactivate", body={"auth": auth_of(alice)})).ok()
    (await login(server, type="m.login.token", token=left)).refused(403, "M_FORBIDDEN")


async def test_log_in_by_jwt(database_dsn: str, clock: FakeClock) -> None:
    """T-I9: the configured algorithm, issuer, audience and end; deactivated users stay out."""
    toml = '[jwt]\nsecret = "a secret of thirty-two characters"\nissuer = "https://portal"\naudiences = ["hansa"]\n'
    key = OctKey.import_key("a secret of thirty-two characters")
    now_s = clock.now_ms() // 1000
    good = {"sub": "Carol", "iss": "https://portal", "aud": "hansa", "exp": now_s + 60}

    def signed(alg: str = "HS256", by: OctKey = key, **changes: Any) -> str:
        claims = {name: value for name, value in {**good, **changes}.items() if value is not None}
        return jwt.encode({"alg": alg}, claims, by, algorithms=[alg])

    async with running_server(database_dsn, toml=toml, clock=clock) as server:
        assert {"type": "org.matrix.login.jwt"} in (await server.anonymous().get("/login")).ok()["flows"]
        account = (await login(server, type="org.matrix.login.jwt", token=signed())).ok()
        assert account["user_id"] == "@carol:hansa.test"
        twice = signed(sub="dave")
        at_once = await asyncio.gather(*(login(server, type="org.matrix.login.jwt", token=twice) for _ in range(4)))
        assert {answer.ok()["user_id"] for answer in at_once} == {"@dave:hansa.test"}
        unsigned = signed().rpartition(".")[0] + "."
        for bad in (
            signed(iss="https://evil"),
            signed(aud="another"),
            signed(exp=now_s - 120),
            signed(exp=None),
            signed(sub=None),
            signed(sub="not a name"),
            signed(sub=5),
            signed(by=OctKey.import_key("another secret of thirty-two char")),
            signed(alg="HS512", by=OctKey.import_key("a secret of thirty-two characters" * 2)),
            unsigned,
            "a.b.c",
            "",
            "x" * 10_000,
        ):
            (await login(server, type="org.matrix.login.jwt", token=bad)).refused(403, "M_FORBIDDEN")
        await server.db.execute("UPDATE users SET is_deactivated = true")
        late = await login(server, type="org.matrix.login.jwt", token=signed())
        late.refused(403, "M_USER_DEACTIVATED")


async def test_no_services(database_dsn: str) -> None:
    async with running_server(database_dsn) as server:
        (await server.anonymous().get(_REDIRECT + "/nobody", redirectUrl=APP)).refused(404, "M_NOT_FOUND")
        (await login(server, type="org.matrix.login.jwt", token="x")).refused(400, "M_UNKNOWN")
