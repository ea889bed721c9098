"""Sign-in by OAuth 2.0: clients, codes, consent, refresh, devices without a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.accounts.oauth import clients
from tests.kit.clock import FakeClock
from tests.kit.oauth import REDIRECT, App, Browser, scope, told
from tests.kit.server import Client, RunningServer, running_server


@pytest.fixture
async def server(database_dsn: str, clock: FakeClock) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn, clock=clock) as running:
        yield running


async def signed_in(server: RunningServer, app: App, name: str = "alice", **changes: str) -> dict[str, Any]:
    """Tokens of somebody who lets the app in."""
    browser = Browser(server)
    await browser.open(app.request(**changes))
    await browser.sign_in(name)
    code = told(await browser.submit("/_hansa/oauth/authorize", decision="allow"))["code"]
    tokens: dict[str, Any] = (await app.token(code)).ok()
    return tokens


def as_user(server: RunningServer, tokens: dict[str, Any]) -> Client:
    client = server.anonymous()
    client.token = tokens["access_token"]
    return client


async def test_a_code_for_an_account(server: RunningServer) -> None:
    await server.user("alice")
    app, browser = App(server), Browser(server)
    registered = await app.register()
    assert registered.status == 201 and registered.json["client_name"] == "Example"
    await browser.open(app.request())
    assert "Sign in to hansa.test" in browser.text
    await browser.sign_in("alice", "wrong password")
    assert browser.page.status == 403 and "are wrong" in browser.text
    await browser.sign_in("alice")
    assert "Let Example into your account?" in browser.text and "@alice:hansa.test" in browser.text
    back = told(await browser.submit("/_hansa/oauth/authorize", decision="allow"))
    assert browser.page.headers["Location"].startswith(REDIRECT + "#") and back["state"] == "a state"
    tokens = (await app.token(back["code"])).ok()
    assert tokens["token_type"] == "Bearer" and "urn:matrix:client:device:DEVICE" in tokens["scope"]
    who = (await as_user(server, tokens).get("/account/whoami")).ok()
    assert who == {"user_id": "@alice:hansa.test", "is_guest": False, "device_id": "DEVICE"}
    (await app.post("revoke", token=tokens["refresh_token"])).ok()
    (await as_user(server, tokens).get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    (await app.post("revoke", token="unknown")).ok()


async def test_metadata(server: RunningServer) -> None:
    told_of = (await server.anonymous().get("/_matrix/client/v1/auth_metadata")).ok()
    assert told_of["issuer"] == "https://hansa.test/"
    assert told_of["authorization_response_iss_parameter_supported"] is True
    assert told_of["code_challenge_methods_supported"] == ["S256"]
    assert told_of["prompt_values_supported"] == ["create"]
    older = "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata"
    assert (await server.anonymous().get(older)).ok() == told_of


@pytest.mark.parametrize("mode", ["fragment", "query"])
async def test_who_answers_says_so(server: RunningServer, mode: str) -> None:
    """T-I19: with a code and with a refusal (RFC 9207), so that a client takes no other server's answer for ours."""
    await server.user("alice")
    app, browser = App(server), Browser(server)
    await app.register()
    await browser.open(app.request(response_mode=mode))
    await browser.sign_in("alice")
    back = told(await browser.submit("/_hansa/oauth/authorize", decision="allow"))
    assert "code" in back and back["iss"] == "https://hansa.test/"
    await browser.open(app.request(response_mode=mode))
    back = told(await browser.submit("/_hansa/oauth/authorize", decision="deny"))
    assert (back["error"], back["iss"]) == ("access_denied", "https://hansa.test/")


async def test_a_code_counts_once(server: RunningServer, clock: FakeClock) -> None:
    """T-I19: bound to client, address and verifier, for a minute; shown again, what it made ends."""
    await server.user("alice")
    app, other = App(server), App(server)
    await app.register()
    await other.register(client_name="Other")
    browser = Browser(server)
    await browser.open(app.request())
    await browser.sign_in("alice")

    async def fresh() -> str:
        await browser.open(app.request())
        return told(await browser.submit("/_hansa/oauth/authorize", decision="allow"))["code"]

    for change in (
        {"code_verifier": "w" * 64},
        {"code_verifier": ""},
        {"redirect_uri": "https://app.example.org/other?x=1"},
        {"client_id": other.client_id},
    ):
        code = await fresh()
        assert (await app.token(code, **change)).json["error"] == "invalid_grant"
        assert (await app.token(code)).json["error"] == "invalid_grant"
    code = await fresh()
    clock.advance(61)
    assert (await app.token(code)).json["error"] == "invalid_grant"
    code = await fresh()
    tokens = (await app.token(code)).ok()
    assert (await app.token(code)).json["error"] == "invalid_grant"
    (await as_user(server, tokens).get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")


async def test_a_code_that_comes_twice_at_once(server: RunningServer) -> None:
    """T-I19: one of them wins, and what it got ends, as whoever shows the code once more has stolen it."""
    await server.user("alice")
    app, browser = App(server), Browser(server)
    await app.register()
    await browser.open(app.request())
    await browser.sign_in("alice")
    code = told(await browser.submit("/_hansa/oauth/authorize", decision="allow"))["code"]
    answers = await asyncio.gather(*(app.token(code) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [200, *[400] * 5]
    assert {answer.json["error"] for answer in answers if answer.status == 400} == {"invalid_grant"}
    [won] = [answer.json for answer in answers if answer.status == 200]
    (await as_user(server, won).get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    assert (await app.refresh(won["refresh_token"])).json["error"] == "invalid_grant"


async def test_a_code_that_gave_nothing_ends_nothing(server: RunningServer) -> None:
    """T-I19: whoever shows a code with a wrong verifier, and again, doesn't end the session that its device has."""
    await server.user("alice")
    app, browser = App(server), Browser(server)
    await app.register()
    tokens = await signed_in(server, app)
    await browser.open(app.request())
    await browser.sign_in("alice")
    code = told(await browser.submit("/_hansa/oauth/authorize", decision="allow"))["code"]
    for _ in range(2):
        assert (await app.token(code, code_verifier="w" * 64)).json["error"] == "invalid_grant"
    (await as_user(server, tokens).get("/account/whoami")).ok()


async def test_what_the_token_endpoint_refuses(server: RunningServer) -> None:
    """T-I18: each wrong request has the error of RFC 6749 section 5.2; grants are for those who registered for them."""
    app, plain = App(server), App(server)
    await app.register()
    await plain.register(client_name="Plain", grant_types=["authorization_code"])
    device = "urn:ietf:params:oauth:grant-type:device_code"
    for client, form, status, error in (
        (app, {}, 400, "invalid_request"),
        (app, {"grant_type": ""}, 400, "invalid_request"),
        (app, {"grant_type": "password"}, 400, "unsupported_grant_type"),
        (app, {"grant_type": "authorization_code"}, 400, "invalid_request"),
        (app, {"grant_type": "refresh_token"}, 400, "invalid_request"),
        (app, {"grant_type": device}, 400, "invalid_request"),
        (app, {"grant_type": "authorization_code", "code": "x"}, 400, "invalid_grant"),
        (app, {"grant_type": "refresh_token", "refresh_token": "x"}, 400, "invalid_grant"),
        (app, {"grant_type": device, "device_code": "x"}, 400, "invalid_grant"),
        (plain, {"grant_type": "refresh_token", "refresh_token": "x"}, 400, "unauthorized_client"),
        (plain, {"grant_type": device, "device_code": "x"}, 400, "unauthorized_client"),
    ):
        answer = await client.post("token", client_id=client.client_id, **form)
        assert (answer.status, answer.json["error"]) == (status, error), form
    for form in ({"client_id": "unknown"}, {"client_id": ""}, {}):
        unknown = await app.post("token", grant_type="refresh_token", refresh_token="x", **form)
        assert (unknown.status, unknown.json["error"]) == (401, "invalid_client")


async def test_who_does_not_refresh_stays_signed_in(server: RunningServer, clock: FakeClock) -> None:
    """An app that registered for codes alone gets a token that lasts, and none that it can't use."""
    await server.user("alice")
    app = App(server)
    await app.register(client_name="Plain", grant_types=["authorization_code"])
    tokens = await signed_in(server, app)
    assert "refresh_token" not in tokens and "expires_in" not in tokens
    clock.advance(86_400)
    assert (await as_user(server, tokens).get("/account/whoami")).status == 200


async def test_the_two_apis_keep_apart(server: RunningServer) -> None:
    """Neither refreshes what the other opened, also where the one takes over a device of the other."""
    await server.user("alice")
    app = App(server)
    await app.register()

    async def log_in() -> dict[str, Any]:
        identifier = {"type": "m.id.user", "user": "alice"}
        body = {"type": "m.login.password", "identifier": identifier, "password": "correct horse battery"}
        asked = {**body, "device_id": "DEVICE", "refresh_token": True}
        opened: dict[str, Any] = (await server.anonymous().post("/login", body=asked)).ok()
        return opened

    async def refresh(tokens: dict[str, Any]) -> Any:
        return await server.anonymous().post("/refresh", body={"refresh_token": tokens["refresh_token"]})

    tokens = await signed_in(server, app)
    (await refresh(tokens)).refused(401, "M_UNKNOWN_TOKEN")
    tokens = (await app.refresh(tokens["refresh_token"])).ok()
    older = await log_in()
    (await as_user(server, tokens).get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    assert (await app.refresh(older["refresh_token"])).json["error"] == "invalid_grant"
    older = (await refresh(older)).ok()
    tokens = await signed_in(server, app)
    (await as_user(server, older).get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    assert (await as_user(server, tokens).get("/account/whoami")).ok()["device_id"] == "DEVICE"
    assert len((await as_user(server, tokens).get("/devices")).ok()["devices"]) == 2


async def test_refreshing_once_more_ends_what_came_before(server: RunningServer) -> None:
    """T-I17: a refresh token is used too when nobody uses the access token beside it."""
    await server.user("alice")
    app = App(server)
    await app.register()
    first = await signed_in(server, app)
    second = (await app.refresh(first["refresh_token"])).ok()
    third = (await app.refresh(second["refresh_token"])).ok()
    (await as_user(server, first).get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    assert (await app.refresh(first["refresh_token"])).json["error"] == "invalid_grant"
    (await as_user(server, third).get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")


async def test_refresh_tokens_rotate(server: RunningServer) -> None:
    """T-I17: a lost answer can be asked for again; a token of before the newest ends the session."""
    await server.user("alice")
    app, other = App(server), App(server)
    await app.register()
    await other.register(client_name="Other")
    first = await signed_in(server, app)
    assert (await other.refresh(first["refresh_token"])).json["error"] == "invalid_grant"
    await app.refresh(first["refresh_token"])  # the answer is lost
    second = (await app.refresh(first["refresh_token"])).ok()
    assert (await as_user(server, second).get("/account/whoami")).status == 200
    (await as_user(server, first).get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    third = (await app.refresh(second["refresh_token"])).ok()
    assert (await as_user(server, third).get("/account/whoami")).status == 200
    assert (await app.refresh(first["refresh_token"])).json["error"] == "invalid_grant"
    (await as_user(server, third).get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    assert (await app.refresh(third["refresh_token"])).json["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client_uri": "http://app.example.org"}, "invalid_client_metadata"),
        ({"client_uri": 5}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "client_secret_basic"}, "invalid_client_metadata"),
        ({"grant_types": ["password"]}, "invalid_client_metadata"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://app.example.org/"] * 1 + [f"https://app.example.org/{n}" for n in range(20)]},
         "invalid_redirect_uri"),
        ({"redirect_uris": ["https://evil.org/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://xapp.example.org/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://app.example.org/#x"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://a@app.example.org/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://app.example.org/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"], "application_type": "native"}, "invalid_redirect_uri"),
        ({"redirect_uris": ["org.evil:/x"], "application_type": "native"}, "invalid_redirect_uri"),
        ({"redirect_uris": ["myapp:/x"], "application_type": "native"}, "invalid_redirect_uri"),
        ({"redirect_uris": ["org.example.app:///x"], "application_type": "native"}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://localhost:1234/x"], "application_type": "native"}, "invalid_redirect_uri"),
        ({f"client_name#x-{n}": "x" for n in range(101)}, "invalid_client_metadata"),
    ],
)  # fmt: skip
async def test_clients_that_are_refused(server: RunningServer, change: dict[str, Any], error: str) -> None:
    """T-I18: addresses of the client's own host, schemes of its own name, no fragments, grants that are known."""
    answer = await App(server).register(**change)
    assert (answer.status, answer.json["error"]) == (400, error)


async def test_clients_with_the_same_metadata_are_one(server: RunningServer) -> None:
    """T-I18: records don't grow with every sign-in."""
    one, two = App(server), App(server)
    await one.register()
    await two.register(logo_uri="https://elsewhere.org/x.png")
    assert one.client_id == two.client_id
    native = App(server)
    redirects = ["org.example.app:/cb", "org.example.app.debug:/cb", "http://127.0.0.1/cb", "http://[::1]/cb"]
    assert (await native.register(application_type="native", redirect_uris=redirects)).status == 201
    browser = Browser(server)
    await browser.open(native.request(redirect_uri="http://127.0.0.1:4711/cb"))
    assert "Sign in" in browser.text
    await browser.open(native.request(redirect_uri="http://127.0.0.2/cb"))
    assert browser.page.status == 400


async def test_clients_are_called_by_their_name_in_the_readers_language(server: RunningServer) -> None:
    """RFC 7591 section 2.2; T-I18: what is not of the client's own host, or no language, is left out."""
    await server.user("alice")
    app, browser = App(server), Browser(server)
    told_of = {
        "client_name#zh-Hans": "示例",
        "client_name#fr": "Exemple",
        "client_name#no language": "x",
        "tos_uri": "https://app.example.org/terms",
        "tos_uri#zh": "https://app.example.org/zh/terms",
        "policy_uri": "https://app.example.org/privacy",
        "policy_uri#zh": "https://evil.example.com/",
        "logo_uri": "https://user:word@app.example.org/logo.png",
    }
    kept = (await app.register(**told_of)).json
    for key in ("client_name#no language", "policy_uri#zh", "logo_uri"):
        del told_of[key]
    assert {key: value for key, value in kept.items() if key in told_of or "#" in key or key == "logo_uri"} == told_of
    browser.headers = {"Accept-Language": "zh-CN"}
    await browser.open(app.request())
    await browser.sign_in("alice")
    for shown in ("示例", "https://app.example.org/zh/terms", "https://app.example.org/privacy"):
        assert shown in browser.text
    browser.headers = {}
    await browser.open(app.request())
    assert "Let Example into your account?" in browser.text and '"https://app.example.org/terms"' in browser.text
    begun = (await app.post("device", client_id=app.client_id, scope=scope("TV"))).ok()
    browser.headers = {"Accept-Language": "zh"}
    await browser.open(f"/_hansa/link?user_code={begun['user_code']}")
    assert "示例" in browser.text


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        ("mxid:@alice:hansa.test", "@alice:hansa.test"),
        ("alice@example.org", "alice@example.org"),
        ('"><script>', "&#34;&gt;&lt;script&gt;"),
    ],
)
async def test_an_app_says_whom_it_expects(server: RunningServer, hint: str, shown: str) -> None:
    """MSC4198; T-M1: the name stands in the form, as text, and goes on to the account that it names."""
    await server.user("alice")
    app, browser = App(server), Browser(server)
    await app.register()
    await browser.open(app.request(login_hint=hint))
    assert f'name="username" value="{shown}"' in browser.text
    if hint.startswith("mxid:"):
        await browser.sign_in(hint.removeprefix("mxid:"))
        assert "Let Example into your account?" in browser.text


async def test_bad_requests_go_nowhere_or_back(server: RunningServer) -> None:
    """T-I18, T-I19: an unknown client or address is told to the reader; the rest to the client."""
    app, browser = App(server), Browser(server)
    await app.register()
    for change in ({"client_id": "unknown"}, {"redirect_uri": "https://evil.org/"}, {"redirect_uri": REDIRECT + "/"}):
        answer = await browser.open(app.request(**change))
        assert answer.status == 400 and "Location" not in answer.headers
    for wrong, error in (
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"scope": "urn:matrix:client:api:*"}, "invalid_scope"),
        ({"scope": scope("A") + " urn:matrix:client:device:B"}, "invalid_scope"),
        ({"scope": "urn:matrix:client:device:A"}, "invalid_scope"),
    ):
        back = told(await browser.open(app.request(**wrong)))
        assert (back["error"], back["state"]) == (error, "a state")
    await server.user("alice")
    await browser.open(app.request())
    await browser.sign_in("alice")
    assert told(await browser.submit("/_hansa/oauth/authorize", decision="deny"))["error"] == "access_denied"


async def test_forms_are_ours(server: RunningServer) -> None:
    """T-I22: only with the code of the visitor's own page, from our own site; the cookie is new after signing in."""
    await server.user("alice")
    app, browser, thief = App(server), Browser(server), Browser(server)
    await app.register()
    await browser.open("/_hansa/login")
    before = browser.cookie
    set_cookie = browser.page.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Secure", "Path=/"} <= set(set_cookie.split("; ")[1:])
    await browser.sign_in("alice")
    assert browser.cookie != before
    await browser.open(app.request())
    assert (await browser.submit("/_hansa/oauth/authorize", decision="allow", form_code="x")).status == 403
    await thief.open("/_hansa/login")
    stolen = thief.text.split('name="form_code" value="')[1].split('"')[0]
    await browser.open(app.request())
    assert (await browser.submit("/_hansa/oauth/authorize", decision="allow", form_code=stolen)).status == 403
    fixed = Browser(server)
    fixed.cookie = before
    assert "Sign in to" in (await fixed.open("/_hansa/account")).body.decode()


@pytest.mark.parametrize(
    "onward", ["https://evil.org/", "//evil.org/", "/\\evil.org", "/_matrix/client/v3/logout", "/_hansa/\n", "x"]
)
async def test_signing_in_leads_to_our_pages_only(server: RunningServer, onward: str) -> None:
    """T-N4, T-I20"""
    await server.user("alice")
    browser = Browser(server)
    await browser.open("/_hansa/login")
    await browser.submit("/_hansa/login", username="alice", password="correct horse battery", next=onward)
    assert browser.page.status == 200 and "Your account" in browser.text


async def test_what_is_shown_is_text(server: RunningServer) -> None:
    """T-M1, T-M2: what clients call themselves is never markup."""
    await server.user("alice")
    app, browser = App(server), Browser(server)
    await app.register(client_name='<script>alert("x")</script>')
    await browser.open(app.request(state='"><script>'))
    await browser.sign_in("alice")
    assert "&lt;script&gt;" in browser.text and "<script" not in browser.text
    policy = browser.page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "form-action 'self' https://app.example.org;" in policy


async def test_a_device_without_a_browser(server: RunningServer, clock: FakeClock) -> None:
    """T-I19: 35 bits that people type, a warning, one decision."""
    await server.user("alice")
    app, browser = App(server), Browser(server)
    await app.register()
    begun = (await app.post("device", client_id=app.client_id, scope=scope("TV"))).ok()
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": begun["device_code"],
        "client_id": app.client_id,
    }
    assert (await app.post("token", **form)).json["error"] == "authorization_pending"
    assert (await app.post("token", **form)).json["error"] == "slow_down"
    path = begun["verification_uri_complete"].removeprefix("https://hansa.test")
    await browser.open(path)
    await browser.sign_in("alice")
    assert begun["user_code"] in browser.text and "only if you have begun this yourself" in browser.text
    await browser.submit("/_hansa/link", decision="allow")
    assert "The device is linked" in browser.text
    clock.advance(6)
    tokens = (await app.post("token", **form)).ok()
    assert (await as_user(server, tokens).get("/account/whoami")).ok()["device_id"] == "TV"
    assert (await app.post("token", **form)).json["error"] == "invalid_grant"
    denied = (await app.post("device", client_id=app.client_id, scope=scope("TV2"))).ok()
    await browser.open("/_hansa/link")
    await browser.submit("/_hansa/link", user_code=denied["user_code"].lower())
    await browser.submit("/_hansa/link", decision="deny")
    denied_form = {**form, "device_code": denied["device_code"]}
    assert (await app.post("token", **denied_form)).json["error"] == "access_denied"
    late = (await app.post("device", client_id=app.client_id, scope=scope("TV3"))).ok()
    clock.advance(1201)
    assert (await app.post("token", **{**form, "device_code": late["device_code"]})).json["error"] == "expired_token"
    await browser.open("/_hansa/link")
    assert (await browser.submit("/_hansa/link", user_code=late["user_code"])).status == 400


async def test_user_codes_cannot_be_tried(database_dsn: str) -> None:
    """T-I19, T-N6: neither typed nor in an address; and what another client has begun is nobody else's."""
    limits = "[rate_limits]\noauth_user_code = {per_second = 0.001, burst = 4}\n"
    async with running_server(database_dsn, toml=limits) as server:
        await server.user("alice")
        app, other, browser = App(server), App(server), Browser(server)
        await app.register()
        await other.register(client_name="Other")
        begun = (await app.post("device", client_id=app.client_id, scope=scope("TV"))).ok()
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        form = {"grant_type": grant, "device_code": begun["device_code"], "client_id": other.client_id}
        assert (await other.post("token", **form)).json["error"] == "invalid_grant"
        await browser.open("/_hansa/login")
        await browser.sign_in("alice")
        for number in range(2):
            assert (await browser.open(f"/_hansa/link?user_code=BCDF-BCD{number}")).status == 400
            await browser.open("/_hansa/link")
            assert (await browser.submit("/_hansa/link", user_code=f"BCDFBCD{number}")).status == 400
        right = begun["user_code"]
        assert (await browser.open(f"/_hansa/link?user_code={right}")).status == 429
        await browser.open("/_hansa/link")
        assert (await browser.submit("/_hansa/link", user_code=right)).status == 429
        assert (await browser.submit("/_hansa/link", user_code=right, decision="allow")).status in (403, 429)
        pending = await app.post("token", **{**form, "client_id": app.client_id})
        assert pending.json["error"] in ("authorization_pending", "slow_down")


async def test_clients_are_capped(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-I18: one too many is refused; those there are go on."""
    monkeypatch.setattr(clients, "CLIENTS_MAX", 2)
    one, two, three = App(server), App(server), App(server)
    await one.register(client_name="One")
    await two.register(client_name="Two")
    assert (await three.register(client_name="Three")).status == 503
    await Browser(server).open(one.request())
    assert await server.db.fetchval("SELECT count(*) FROM oauth_clients") == 2


async def test_registering_on_the_way(server: RunningServer) -> None:
    app, browser = App(server), Browser(server)
    await app.register()
    await browser.open(app.request(prompt="create"))
    assert "Make an account on hansa.test" in browser.text
    await browser.submit("/_hansa/register", username="admin", password="correct horse battery")
    assert browser.page.status == 400 and "reserved" in browser.text
    await browser.submit("/_hansa/register", username="newcomer", password="correct horse battery")
    code = told(await browser.submit("/_hansa/oauth/authorize", decision="allow"))["code"]
    tokens = (await app.token(code)).ok()
    assert (await as_user(server, tokens).get("/account/whoami")).ok()["user_id"] == "@newcomer:hansa.test"


async def test_looking_after_an_account(server: RunningServer) -> None:
    """T-I6: what can't be undone wants the password again; T-I9: a deactivated account has no way in."""
    alice = await server.user("alice")
    app, browser = App(server), Browser(server)
    await app.register()
    tokens = await signed_in(server, app)
    await browser.open("/_hansa/account?action=org.matrix.device_view&device_id=DEVICE")
    await browser.sign_in("alice")
    assert "Example" in browser.text and alice.device_id not in browser.text
    await browser.submit("/_hansa/account", action="end", device_id="DEVICE")
    (await as_user(server, tokens).get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    assert (await app.refresh(tokens["refresh_token"])).json["error"] == "invalid_grant"
    await browser.submit("/_hansa/account", action="password", password="wrong", new_password="a better password")
    assert browser.page.status == 403
    await browser.open("/_hansa/account")
    new = {"password": "correct horse battery", "new_password": "a better password"}
    await browser.submit("/_hansa/account", action="password", **new)
    (await alice.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    await browser.open("/_hansa/account?action=org.matrix.account_deactivate")
    assert (await browser.submit("/_hansa/account", action="deactivate", password="wrong")).status == 403
    await browser.open("/_hansa/account?action=org.matrix.account_deactivate")
    await browser.submit("/_hansa/account", action="deactivate", password="a better password")
    assert "deactivated" in browser.text
    assert "Sign in to" in (await browser.open("/_hansa/account")).body.decode()


@pytest.mark.parametrize("erases", [False, True])
async def test_an_account_that_ends_hides_its_messages_if_so_wished(server: RunningServer, erases: bool) -> None:
    """T-I24: as `erase` of the older API."""
    alice, bob, browser = await server.user("alice"), await server.user("bob"), Browser(server)
    room_id = await bob.create_room(preset="public_chat")
    await alice.join(room_id)
    event_id = await alice.send(room_id, "hello")
    await browser.open("/_hansa/account?action=org.matrix.account_deactivate")
    await browser.sign_in("alice")
    wish = {"erase": "on"} if erases else {}
    await browser.submit("/_hansa/account", action="deactivate", password="correct horse battery", **wish)
    carol = await server.user("carol")
    await carol.join(room_id)
    shown = (await carol.get("/rooms/{}/event/{}", room_id, event_id)).ok()
    assert shown["content"] == ({} if erases else {"msgtype": "m.text", "body": "hello"})


async def test_resetting_keys_on_the_page(server: RunningServer) -> None:
    """T-F7: replaced with proof, once."""
    alice, browser = await server.user("alice"), Browser(server)

    def key(name: str, letter: str) -> dict[str, Any]:
        public = letter * 43
        return {"user_id": alice.user_id, "usage": [name], "keys": {f"ed25519:{public}": public}}

    (await alice.post("/keys/device_signing/upload", body={"master_key": key("master", "A")})).ok()
    replacing = {"master_key": key("master", "B")}
    asked = await alice.post("/keys/device_signing/upload", body=replacing)
    assert asked.status == 401 and ["m.oauth"] in [flow["stages"] for flow in asked.json["flows"]]
    auth = {"type": "m.oauth", "session": asked.json["session"]}
    assert (await alice.post("/keys/device_signing/upload", body={**replacing, "auth": auth})).status == 401
    await browser.open(asked.json["params"]["m.oauth"]["url"].removeprefix("https://hansa.test"))
    await browser.sign_in("alice")
    await browser.submit("/_hansa/account", action="reset", password="correct horse battery")
    assert "within ten minutes" in browser.text
    (await alice.post("/keys/device_signing/upload", body={**replacing, "auth": auth})).ok()
    again = await alice.post("/keys/device_signing/upload", body={"master_key": key("master", "C")})
    assert again.status == 401


async def test_chinese(server: RunningServer) -> None:
    page = await server.anonymous().request("GET", "/_hansa/login", headers={"Accept-Language": "fr, zh-TW;q=0.8"})
    assert '<html lang="zh">' in page.body.decode() and "登录 hansa.test" in page.body.decode()
