"""OpenID Connect Back-Channel Logout: a sign-in service says that somebody has signed out there."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from tests.kit.clock import FakeClock
from tests.kit.oauth import FORM, App, Browser, told
from tests.kit.openid_provider import CLIENT_ID, OpenIdService, arrive, settings_of
from tests.kit.server import Answered, Client, RunningServer, running_server

PATHS = ("/_synapse/client/oidc/backchannel_logout", "/_hansa/sso/backchannel_logout")
EVENT = "http://schemas.openid.net/event/backchannel-logout"
APP = "https://app.example.org/?a=b"
_REDIRECT = "/_matrix/client/v3/login/sso/redirect?" + urlencode({"redirectUrl": APP})
IDENTITY = {"sub": "4711", "preferred_username": "alice"}


def settings(service: OpenIdService, more: str = "") -> str:
    return settings_of(service).replace("[federation]", f"backchannel_logout_enabled = true\n{more}[federation]")


@pytest.fixture
async def server(database_dsn: str, clock: FakeClock, service: OpenIdService) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn, toml=settings(service), clock=clock) as running:
        yield running


def logout_token(service: OpenIdService, *, by: Any = None, header: Any = None, **changes: Any) -> str:
    """All of it right, but for these changes; None leaves a claim out."""
    claims = {
        "iss": service.issuer,
        "aud": CLIENT_ID,
        "iat": service.now_s,
        "exp": service.now_s + 120,
        "jti": "order 1",
        "events": {EVENT: {}},
        "sid": "there-1",
        "sub": "4711",
        **changes,
    }
    kept = {name: value for name, value in claims.items() if value is not None}
    head = {"alg": "ES256", "typ": "logout+jwt", **(header or {})}
    return jwt.encode(head, kept, by or service.key, algorithms=[head["alg"]])


async def post(server: RunningServer, token: str, path: str = PATHS[0]) -> Answered:
    data = urlencode({"logout_token": token}).encode()
    return await server.anonymous().request("POST", path, data=data, headers=FORM)


async def sign_in(server: RunningServer, service: OpenIdService, sid: str | None, **body: Any) -> tuple[Client, Any]:
    """An app comes in by a login token; it, and what it was given."""
    service.claims = {**IDENTITY, **({"sid": sid} if sid else {})}
    browser = Browser(server)
    await arrive(service, browser, _REDIRECT)
    [link] = re.findall(r'class="button" href="([^"]*)"', browser.text)
    token = parse_qs(urlsplit(html.unescape(link)).query)["loginToken"][0]
    given = (await server.anonymous().post("/login", body={"type": "m.login.token", "token": token, **body})).ok()
    return server.holding(given["access_token"]), given


async def is_in(client: Client) -> bool:
    return (await client.get("/account/whoami")).status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_one_session_ends(server: RunningServer, service: OpenIdService, path: str) -> None:
    """T-I4: the device of the session that ended there is gone, its refresh token with it; the others go on."""
    one, given = await sign_in(server, service, "there-1", refresh_token=True)
    other, _ = await sign_in(server, service, "there-2")
    assert await is_in(one) and await is_in(other)
    answer = await post(server, logout_token(service), path)
    assert (answer.status, answer.body) == (200, b"") and answer.headers["Cache-Control"] == "no-store"
    (await one.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    refresh = {"refresh_token": given["refresh_token"]}
    (await server.anonymous().post("/refresh", body=refresh)).refused(401, "M_UNKNOWN_TOKEN")
    left = {device["device_id"] for device in (await other.get("/devices")).ok()["devices"]}
    assert len(left) == 1 and given["device_id"] not in left


async def test_all_of_a_person_end(server: RunningServer, service: OpenIdService) -> None:
    """A token that names no session is about all of them; those of others go on, and who has a password here."""
    apps = [(await sign_in(server, service, sid))[0] for sid in ("there-1", "there-2", None)]
    mallory = await server.user("mallory")
    assert (await post(server, logout_token(service, sid=None, sub="4712"))).status == 200
    assert all([await is_in(app) for app in apps])
    assert (await post(server, logout_token(service, sid=None, jti="order 2"))).status == 200
    assert not any([await is_in(app) for app in apps])
    assert await is_in(mallory)


async def test_what_oauth_has_opened_ends(server: RunningServer, service: OpenIdService) -> None:
    """T-I4: by our pages: the browser there, the app's tokens, codes on their way, and what the app let in."""
    app, waiting, browser = App(server), App(server), Browser(server)
    service.claims = {**IDENTITY, "sid": "there-1"}
    await app.register()
    await waiting.register(client_name="Waiting")
    await browser.open(app.request())
    [path] = re.findall(r'href="(/_hansa/sso/with/work[^"]*)"', browser.text)
    await arrive(service, browser, html.unescape(path))
    code = told(await browser.submit("/_hansa/oauth/authorize", decision="allow"))["code"]
    first = (await app.token(code)).ok()
    given = (await app.refresh(first["refresh_token"])).ok()
    await browser.open(waiting.request())
    left = told(await browser.submit("/_hansa/oauth/authorize", decision="allow"))["code"]
    device = server.holding(given["access_token"])
    assert await is_in(device)
    assert (await post(server, logout_token(service))).status == 200
    assert not await is_in(device)
    assert (await app.refresh(given["refresh_token"])).json["error"] == "invalid_grant"
    assert (await waiting.token(left)).json["error"] == "invalid_grant"
    assert "Sign in to" in (await browser.open("/_hansa/account")).body.decode()


async def test_a_device_without_a_browser_ends(server: RunningServer, service: OpenIdService) -> None:
    app, browser = App(server), Browser(server)
    service.claims = {**IDENTITY, "sid": "there-1"}
    await app.register()
    begun = (await app.post("device", client_id=app.client_id, scope=_scope("LAMP"))).ok()
    late = (await app.post("device", client_id=app.client_id, scope=_scope("LATE"))).ok()
    await arrive(service, browser, "/_hansa/sso/with/work?next=/_hansa/link")
    for asked in (begun, late):
        await browser.open(f"/_hansa/link?user_code={asked['user_code']}")
        await browser.submit("/_hansa/link", decision="allow")
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "client_id": app.client_id}
    given = (await app.post("token", **grant, device_code=begun["device_code"])).ok()
    device = server.holding(given["access_token"])
    assert await is_in(device)
    assert (await post(server, logout_token(service))).status == 200
    assert not await is_in(device)
    answer = await app.post("token", **grant, device_code=late["device_code"])
    assert (answer.status, answer.json["error"]) == (400, "invalid_grant")


def _scope(device_id: str) -> str:
    return f"openid urn:matrix:client:api:* urn:matrix:client:device:{device_id}"


async def test_who_signs_in_anew_by_another_way_stays(server: RunningServer, service: OpenIdService) -> None:
    """A device belongs to the sign-in by which it came in last."""
    device, given = await sign_in(server, service, "there-1")
    again, _ = await sign_in(server, service, "there-2", device_id=given["device_id"])
    assert not await is_in(device) and await is_in(again)
    assert (await post(server, logout_token(service))).status == 200
    assert await is_in(again)
    assert (await post(server, logout_token(service, sid="there-2", jti="order 2"))).status == 200
    assert not await is_in(again)


async def test_a_login_token_on_its_way_ends(server: RunningServer, service: OpenIdService) -> None:
    service.claims = {**IDENTITY, "sid": "there-1"}
    browser = Browser(server)
    await arrive(service, browser, _REDIRECT)
    [link] = re.findall(r'class="button" href="([^"]*)"', browser.text)
    token = parse_qs(urlsplit(html.unescape(link)).query)["loginToken"][0]
    assert (await post(server, logout_token(service))).status == 200
    body = {"type": "m.login.token", "token": token}
    (await server.anonymous().post("/login", body=body)).refused(403, "M_FORBIDDEN")


@pytest.mark.slow
async def test_who_comes_in_just_then(server: RunningServer, service: OpenIdService) -> None:
    """T-I4: whichever is first, an app that logs in while its session ends there isn't in afterwards."""
    for number in range(8):
        sid = f"there-{number}"
        service.claims = {**IDENTITY, "sid": sid}
        browser = Browser(server)
        await arrive(service, browser, _REDIRECT)
        [link] = re.findall(r'class="button" href="([^"]*)"', browser.text)
        body = {"type": "m.login.token", "token": parse_qs(urlsplit(html.unescape(link)).query)["loginToken"][0]}
        order = post(server, logout_token(service, sid=sid, jti=sid))
        login, ended = await asyncio.gather(server.anonymous().post("/login", body=body), order)
        assert ended.status == 200 and login.status in (200, 403)
        if login.status == 200:
            assert not await is_in(server.holding(login.json["access_token"]))
        assert await server.db.fetchval("SELECT count(*) FROM devices") == 0


async def test_an_order_counts_once(server: RunningServer, service: OpenIdService, clock: FakeClock) -> None:
    """T-I4: what was caught on its way ends no later session, neither at once nor when it has been forgotten."""
    token = logout_token(service, sid=None, exp=None)
    assert (await post(server, token)).status == 200
    device, _ = await sign_in(server, service, None)
    answer = await post(server, token)
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")
    clock.advance(1_000)
    assert (await post(server, token)).status == 400
    service.now_s = clock.now_ms() // 1000
    await post(server, logout_token(service, sub="another", sid=None, jti="order 2"))
    assert await server.db.fetchval("SELECT count(*) FROM used_logouts") == 1, "old ones are forgotten"
    assert (await post(server, token)).status == 400
    assert await is_in(device)


WRONG: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.org"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "another client"},
    "other audiences": {"aud": ["a", "b"]},
    "no audience": {"aud": None},
    "a nonce": {"nonce": "n"},
    "no events": {"events": None},
    "other events": {"events": {"http://schemas.openid.net/event/other": {}}},
    "events of a strange shape": {"events": [EVENT]},
    "an event of a strange shape": {"events": {EVENT: "x"}},
    "no time": {"iat": None},
    "a time of a strange shape": {"iat": "now"},
    "a time that is true": {"iat": True},
    "long ago": {"iat": 1_000_000, "exp": None},
    "from the future": {"iat": 90_000_000_000},
    "expired": {"exp": 1},
    "an end of a strange shape": {"exp": "never"},
    "no name": {"jti": None},
    "an empty name": {"jti": ""},
    "a name of a strange shape": {"jti": ["order"]},
    "a long name": {"jti": "x" * 1_001},
    "nobody": {"sid": None, "sub": None},
    "a session of a strange shape": {"sid": {"a": 1}},
    "a person of a strange shape": {"sub": 4711},
    "another kind of token": {"header": {"typ": "at+jwt"}},
}


@pytest.mark.parametrize("name", WRONG)
async def test_wrong_orders(server: RunningServer, service: OpenIdService, name: str) -> None:
    """T-I4: each check of section 2.6."""
    device, _ = await sign_in(server, service, "there-1")
    answer = await post(server, logout_token(service, **WRONG[name]))
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")
    assert await is_in(device)
    assert (await post(server, logout_token(service))).status == 200, "the same one, with nothing wrong, counts"


def _with_header(token: str, header: dict[str, Any]) -> str:
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return f"{head}.{token.partition('.')[2]}"


async def test_orders_that_nobody_signed(server: RunningServer, service: OpenIdService) -> None:
    """T-I4: no signature, `none`, keys of others, the published key as a secret, changed claims, no token at all."""
    device, _ = await sign_in(server, service, "there-1")
    good = logout_token(service)
    head, claims, signature = good.split(".")
    public = json.dumps(service.key.as_dict(private=False)).encode()
    bad = [
        f"{head}.{claims}.",
        f"{head}.{claims}",
        _with_header(f"x.{claims}.", {"alg": "none"}),
        _with_header(f"x.{claims}.{signature}", {"alg": "none"}),
        _with_header(f"x.{claims}.{signature}", {"alg": "HS256"}),
        _with_header(f"x.{claims}.{signature}", {"alg": ["ES256"]}),
        _with_header(f"x.{claims}.{signature}", {"alg": "ES256", "crit": ["x"], "x": 1}),
        _with_header(f"x.{claims}.{signature}", {"alg": "ES256", "kid": {"a": 1}}),
        logout_token(service, by=ECKey.generate_key("P-256")),
        logout_token(service, by=RSAKey.generate_key(2048), header={"alg": "RS256"}),
        logout_token(service, by=OctKey.import_key(public), header={"alg": "HS256"}),
        _with_header(good, {"alg": "ES256", "jwk": service.key.as_dict(private=False)}),
        good[:-4] + "AAAA",
        f"{head}.{claims[:-4]}AAAA.{signature}",
        good + ".",
        "",
        "a.b.c",
        "é.é.é",
        "..",
        "W10.W10.W10",
        "e30.e30.e30",
        "x" * 16_001,
        "x" * 60_000,
    ]
    for token in bad:
        answer = await post(server, token)
        assert (answer.status, answer.json["error"]) == (400, "invalid_request"), token[:80]
    assert await is_in(device)
    assert (await post(server, good)).status == 200


async def test_forms_that_are_none(server: RunningServer, service: OpenIdService) -> None:
    """T-I4, T-L9: huge, of another type, with a field twice; and no way but POST."""
    device, _ = await sign_in(server, service, "there-1")
    token, client = logout_token(service), server.anonymous()
    bodies = [
        (urlencode({"logout_token": token}).encode(), {"Content-Type": "application/json"}, 400),
        (urlencode([("logout_token", token)] * 2).encode(), FORM, 400),
        (urlencode({"token": token}).encode(), FORM, 400),
        (b"logout_token=%ff", FORM, 400),
        (b"", FORM, 400),
        (b"logout_token=" + b"x" * 70_000, FORM, 413),
        (b"&".join(b"a%d=b" % number for number in range(200)), FORM, 400),
    ]
    for data, headers, status in bodies:
        answer = await client.request("POST", PATHS[0], data=data, headers=headers)
        assert (answer.status, answer.json["error"]) == (status, "invalid_request"), data[:40]
    assert (await client.request("GET", f"{PATHS[0]}?{urlencode({'logout_token': token})}")).status == 405
    assert await is_in(device)


async def test_keys_change_there(server: RunningServer, service: OpenIdService, clock: FakeClock) -> None:
    """Keys are asked for anew where a token names one that isn't known, but not each time; and when they can't be."""
    device, _ = await sign_in(server, service, "there-1")
    service.publish(ECKey.generate_key("P-256", {"kid": "new"}))
    header = {"kid": "new"}
    clock.advance(61)
    service.now_s = clock.now_ms() // 1000
    service.instead = {"/keys": (500, b"{}")}
    answer = await post(server, logout_token(service, header=header))
    assert (answer.status, answer.json["error"]) == (503, "temporarily_unavailable")
    service.instead = {}
    assert (await post(server, logout_token(service, header={"kid": "unknown"}))).status == 400
    asked = service.keys_asked
    for number in range(5):
        assert (await post(server, logout_token(service, header={"kid": f"unknown {number}"}))).status == 400
    assert service.keys_asked == asked
    assert (await post(server, logout_token(service, header=header))).status == 200
    assert not await is_in(device)


async def test_people_are_called_otherwise(database_dsn: str, service: OpenIdService, clock: FakeClock) -> None:
    """With backchannel_logout_ignore_sub the session alone says what ends; without it both must be right."""
    more = "backchannel_logout_ignore_sub = true\n"
    async with running_server(database_dsn, toml=settings(service, more), clock=clock) as server:
        device, _ = await sign_in(server, service, "there-1")
        assert (await post(server, logout_token(service, sid=None))).status == 400
        assert (await post(server, logout_token(service, sub="another"))).status == 200
        assert not await is_in(device)
    async with running_server(database_dsn, toml=settings(service), clock=clock) as server:
        device, _ = await sign_in(server, service, "there-1")
        assert (await post(server, logout_token(service, sub="another", jti="order 2"))).status == 200
        assert await is_in(device)


async def test_only_services_that_may(database_dsn: str, service: OpenIdService, clock: FakeClock) -> None:
    async with running_server(database_dsn, toml=settings_of(service), clock=clock) as server:
        device, _ = await sign_in(server, service, "there-1")
        for path in PATHS:
            assert (await post(server, logout_token(service), path)).status == 404
        assert await is_in(device)
