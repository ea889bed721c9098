"""Single logout by SAML 2.0."""

from __future__ import annotations

import base64
import html
import re
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.kit.clock import FakeClock
from tests.kit.oauth import FORM, Browser
from tests.kit.saml_idp import Answer, Key, form_of, metadata, real_idp
from tests.kit.saml_logout import PLACE as THEIRS
from tests.kit.saml_logout import Done, Order, with_logout
from tests.kit.saml_scene import APP, PLACE, asked, come_back, now, post, settings_of
from tests.kit.server import Answered, Client, RunningServer, running_server

LOGOUT = PLACE + "/logout"


@pytest.fixture
async def server(database_dsn: str, clock: FakeClock, tmp_path: Path, key: Key) -> AsyncIterator[RunningServer]:
    toml = settings_of(with_logout(metadata(key), "SOAP", "HTTP-POST", "HTTP-Redirect"), tmp_path)
    async with running_server(database_dsn, toml=toml, clock=clock) as running:
        yield running


async def carry(server: RunningServer, query: str) -> Answered:
    """A browser comes with the provider's redirect, and no cookie."""
    return await server.anonymous().request("GET", f"{LOGOUT}?{query}", follow=False)


async def device(server: RunningServer, clock: FakeClock, key: Key, session: str = "s1", **values: str) -> Client:
    """An app of somebody who signs in there."""
    browser = Browser(server)
    request = await asked(browser, APP)
    answer = Answer(request, now(clock), key, values=values, before=lambda text: text.replace('"s1"', f'"{session}"'))
    await come_back(server, browser, answer.encoded(), request.state)
    return await _log_in(server, browser)


async def _log_in(server: RunningServer, browser: Browser) -> Client:
    [link] = re.findall(r'class="button" href="([^"]*)"', browser.text)
    token = parse_qs(urlsplit(html.unescape(link)).query)["loginToken"][0]
    given = (await server.anonymous().post("/login", body={"type": "m.login.token", "token": token})).ok()
    return server.holding(given["access_token"])


async def is_in(client: Client) -> bool:
    return (await client.get("/account/whoami")).status == 200


def order(clock: FakeClock, key: Key, **changes: Any) -> Order:
    return Order("https://hansa.test" + LOGOUT, now(clock), key, **changes)


async def test_an_order_by_redirect(server: RunningServer, clock: FakeClock, key: Key) -> None:
    """T-I4: what the session opened ends, nothing else; the provider hears that it was done. It counts once."""
    one, other = [await device(server, clock, key, session) for session in ("s1", "s2")]
    somebody = await device(server, clock, key, name_id="bob-1")
    query = order(clock, key).query()
    sent = await carry(server, query)
    assert sent.status == 303 and "Set-Cookie" not in sent.headers
    done = Done.from_url(sent.headers["Location"])
    assert (done.place, done.answers, done.status) == (THEIRS + "/done", "_order1", "Success")
    assert done.relay_state == "there & back" and done.issuer == f"https://hansa.test{PLACE}/metadata"
    assert not await is_in(one) and await is_in(other) and await is_in(somebody)
    again = await device(server, clock, key)
    assert (await carry(server, query)).status == 403
    assert await is_in(again)


async def test_an_order_by_a_form(server: RunningServer, clock: FakeClock, key: Key) -> None:
    """T-I4: the form comes from another site, without a cookie; the answer goes by redirect."""
    one, other = [await device(server, clock, key, session) for session in ("s1", "s2")]
    fields = order(clock, key).form()
    sent = await post(server, LOGOUT, fields)
    assert sent.status == 303 and "Set-Cookie" not in sent.headers
    assert Done.from_url(sent.headers["Location"]).answers == "_order1"
    assert not await is_in(one) and await is_in(other)
    again = await device(server, clock, key)
    assert (await post(server, LOGOUT, fields)).status == 403
    assert await is_in(again)


async def test_all_of_a_person(server: RunningServer, clock: FakeClock, key: Key) -> None:
    """An order without a session; also where the provider calls people otherwise each time."""
    apps = [await device(server, clock, key, session) for session in ("s1", "s2")]
    somebody = await device(server, clock, key, name_id="bob-1")
    assert (await carry(server, order(clock, key, values={"sessions": ""}).query())).status == 303
    assert [await is_in(app) for app in (*apps, somebody)] == [False, False, True]


async def test_our_pages_end_with_it(server: RunningServer, clock: FakeClock, key: Key) -> None:
    browser = Browser(server)
    request = await asked(browser)
    await come_back(server, browser, Answer(request, now(clock), key).encoded(), request.state)
    assert "@alice:hansa.test" in browser.text
    assert (await carry(server, order(clock, key).query())).status == 303
    assert "Sign in to" in (await browser.open("/_hansa/account")).body.decode()


async def test_a_provider_that_takes_forms(database_dsn: str, clock: FakeClock, tmp_path: Path, key: Key) -> None:
    """Its answer is a form that posts itself, and works without scripts."""
    toml = settings_of(with_logout(metadata(key), "HTTP-POST"), tmp_path)
    async with running_server(database_dsn, toml=toml, clock=clock) as server:
        app = await device(server, clock, key)
        page = await carry(server, order(clock, key, relay_state='"><script>').query())
        action, fields = form_of(page.body.decode())
        assert fields["RelayState"] == '"><script>' and "<script>alert" not in page.body.decode()
        done = Done.read(action, base64.b64decode(fields["SAMLResponse"]), fields["RelayState"])
        assert (done.answers, done.status) == ("_order1", "Success")
        assert not await is_in(app)


async def test_a_provider_that_takes_no_answer(database_dsn: str, clock: FakeClock, tmp_path: Path, key: Key) -> None:
    toml = settings_of(metadata(key), tmp_path)
    async with running_server(database_dsn, toml=toml, clock=clock) as server:
        app = await device(server, clock, key)
        page = await carry(server, order(clock, key).query())
        assert page.status == 200 and "Signed out" in page.body.decode()
        assert not await is_in(app)
    async with running_server(database_dsn, toml=toml + "single_logout = false\n", clock=clock) as server:
        assert (await carry(server, order(clock, key).query())).status == 404
        shown = await server.anonymous().request("GET", PLACE + "/metadata")
        assert b"SingleLogoutService" not in shown.body


WRONG: dict[str, dict[str, str]] = {
    "another provider": {"issuer": "https://evil.org"},
    "no provider": {"issuer": ""},
    "another address": {"destination": "https://evil.org"},
    "no address": {"destination": ""},
    "long ago": {"issued": "2001-01-01T00:00:00Z"},
    "from the future": {"issued": "2990-01-01T00:00:00Z"},
    "no time": {"issued": "now"},
    "a time without a zone": {"issued": "2020-01-01T00:00:00"},
    "too late": {"ends": "2001-01-01T00:00:00Z"},
    "another version": {"version": "1.1"},
    "nobody": {"name": ""},
    "an empty name": {"name": "<a:NameID></a:NameID>"},
    "two names": {"name": "<a:NameID>alice-1</a:NameID>" * 2},
    "a name that holds more": {"name": "<a:NameID>alice-1<x/></a:NameID>"},
    "a name for another key": {"name": "<a:EncryptedID/>"},
    "a name that is too long": {"name": f"<a:NameID>{'x' * 1_001}</a:NameID>"},
    "too many sessions": {"sessions": "<p:SessionIndex>s1</p:SessionIndex>" * 101},
    "an empty session": {"sessions": "<p:SessionIndex/>"},
}


@pytest.mark.parametrize("name", WRONG)
async def test_wrong_orders(server: RunningServer, clock: FakeClock, key: Key, name: str) -> None:
    """T-I4: from and for others, of another time, about nobody."""
    app = await device(server, clock, key)
    wrong = order(clock, key, values=WRONG[name])
    assert (await carry(server, wrong.query())).status == 403
    assert (await post(server, LOGOUT, wrong.form())).status == 403
    assert await is_in(app)
    assert (await carry(server, order(clock, key).query())).status == 303
    assert not await is_in(app)


async def test_somebody_else_is_named(server: RunningServer, clock: FakeClock, key: Key) -> None:
    """A session ends only by the name of the person in it."""
    app = await device(server, clock, key)
    values = {"name": "<a:NameID>bob-1</a:NameID>"}
    assert (await carry(server, order(clock, key, values=values).query())).status == 303
    assert await is_in(app)


_ONE = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
QUERIES: dict[str, Callable[[Order], str]] = {
    "no signature": lambda one: one.query().partition("&SigAlg")[0],
    "an empty signature": lambda one: re.sub("Signature=.*", "Signature=", one.query()),
    "a signature that is none": lambda one: re.sub("Signature=.*", "Signature=%25%25", one.query()),
    "an older method": lambda one: one.query(algorithm=_ONE),
    "another method": lambda one: one.query(algorithm="http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"),
    "a method of another key": lambda one: one.query(algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"),
    "the RelayState changed": lambda one: one.query().replace("RelayState=there", "RelayState=here"),
    "the RelayState gone": lambda one: re.sub("RelayState=[^&]*&", "", one.query()),
    "the request twice": lambda one: one.query() + "&SAMLRequest=AAAA",
    "the request twice, first": lambda one: "SAMLRequest=AAAA&" + one.query(),
    "written otherwise": lambda one: one.query().replace("SAMLRequest=", "%53AMLRequest="),
    "another encoding": lambda one: one.query() + "&SAMLEncoding=x",
    "not deflated": lambda one: one.query(packed=one.text().encode()),
    "cut off": lambda one: one.query(packed=zlib.compress(one.text().encode())[2:-40]),
    "more behind it": lambda one: one.query(packed=zlib.compress(one.text().encode())[2:-4] + b"xx"),
    "a bomb": lambda one: one.query(packed=zlib.compress(b"<a>" + b" " * 3_000_000)[2:-4]),
    "no text": lambda one: one.query(packed=zlib.compress(b"\xff\xfe<")[2:-4]),
    "nothing": lambda one: "",
    "junk": lambda one: "&&&=&a=b&c",
    "a long name of a state": lambda one: Order(one.destination, one.now, one.key, relay_state="x" * 1_001).query(),
}


@pytest.mark.parametrize("name", QUERIES)
async def test_queries_that_were_tampered_with(server: RunningServer, clock: FakeClock, key: Key, name: str) -> None:
    """T-I4: signatures, encodings, bombs."""
    app = await device(server, clock, key)
    assert (await carry(server, QUERIES[name](order(clock, key)))).status == 403
    assert await is_in(app)


def _wrapped(text: str) -> str:
    """The signed request within another one."""
    evil = re.sub(r"<([\w]+:)?Signature .*</([\w]+:)?Signature>", "", text, flags=re.S).replace("_order1", "_evil")
    return evil.replace("</p:LogoutRequest>", f"<p:Extensions>{text}</p:Extensions></p:LogoutRequest>")


FORMS: dict[str, Callable[[str], str]] = {
    "not signed": lambda text: re.sub(r"<([\w]+:)?Signature .*</([\w]+:)?Signature>", "", text, flags=re.S),
    "changed": lambda text: text.replace("<p:SessionIndex>s1</p:SessionIndex>", ""),
    "a comment": lambda text: text.replace("alice-1", "ali<!-- -->ce-1"),
    "a file": lambda text: '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + text.replace("alice-1", "&e;"),
    "within another": _wrapped,
    "older methods": lambda text: text.replace("2001/04/xmldsig-more#rsa-sha256", "2000/09/xmldsig#rsa-sha1"),
    "a reference to all": lambda text: text.replace('URI="#_order1"', 'URI=""'),
    "another root": lambda text: text.replace("p:LogoutRequest", "p:ManageNameIDRequest"),
    "too long": lambda text: text.replace("</p:LogoutRequest>", " " * 41_000 + "</p:LogoutRequest>"),
    "too many": lambda text: text.replace("</p:LogoutRequest>", "<x/>" * 2_500 + "</p:LogoutRequest>"),
    "half of it": lambda text: text[: len(text) // 2],
    "nothing": lambda text: "",
}


@pytest.mark.parametrize("name", FORMS)
async def test_forms_that_were_tampered_with(server: RunningServer, clock: FakeClock, key: Key, name: str) -> None:
    """T-I4: signature wrapping, comments, entities, weak methods, odd shapes."""
    app = await device(server, clock, key)
    fields = order(clock, key, after=FORMS[name]).form()
    assert fields != order(clock, key).form()
    assert (await post(server, LOGOUT, fields)).status == 403
    assert await is_in(app)


async def test_keys_of_others(server: RunningServer, clock: FakeClock, key: Key, strange_key: Key) -> None:
    """T-I4: the certificate that comes with a signature proves nothing."""
    app = await device(server, clock, key)
    assert (await carry(server, order(clock, strange_key).query())).status == 403
    assert (await post(server, LOGOUT, order(clock, strange_key).form())).status == 403
    assert (await post(server, LOGOUT, {"SAMLRequest": "%%%"})).status == 403
    assert (await post(server, LOGOUT, {})).status == 403
    assert (await server.anonymous().request("GET", "/_hansa/sso/saml/other/logout?SAMLRequest=x")).status == 404
    assert await is_in(app)


@pytest.mark.slow
@pytest.mark.programs("xmlsec1")
async def test_a_real_identity_provider(database_dsn: str, tmp_path: Path) -> None:
    """pysaml2 orders log-out by both bindings and takes our answers; it takes our own requests, and what we sign."""
    ours = Key.make()
    (tmp_path / "ours.pem").write_bytes(ours.private + ours.certificate)
    (tmp_path / "ours.pem").chmod(0o600)
    async with real_idp(tmp_path) as idp:
        more = f'localpart_attribute = "uid"\nsigning_path = "{tmp_path / "ours.pem"}"\nlogout_there = true\n'
        async with running_server(database_dsn, toml=settings_of(idp.metadata(), tmp_path, more)) as server:
            idp.sp_metadata.write_bytes((await server.anonymous().request("GET", PLACE + "/metadata")).body)

            async def come(path: str) -> Browser:
                browser = Browser(server)
                there = urlsplit((await browser.open(path)).headers["Location"])
                _, fields = form_of(await server.elsewhere(f"{idp.base}{there.path}?{there.query}"))
                sent = await post(server, PLACE, fields)
                await browser.open(sent.headers["Location"])
                return browser

            for binding in ("HTTP-Redirect", "HTTP-POST"):
                app = await _log_in(server, await come(APP))
                if binding == "HTTP-Redirect":
                    url = idp.order_by_redirect("alice")
                    assert url.startswith("https://hansa.test" + LOGOUT)
                    sent = await carry(server, urlsplit(url).query)
                else:
                    action, fields = form_of(idp.order_by_form("alice"))
                    assert action == "https://hansa.test" + LOGOUT
                    sent = await post(server, LOGOUT, fields)
                assert sent.status == 303, sent.body
                assert idp.is_done(sent.headers["Location"])
                assert not await is_in(app)

            app, browser = await _log_in(server, await come(APP)), await come("/_hansa/sso/with/campus")
            other = await come("/_hansa/sso/with/campus")
            page = (await browser.submit("/_hansa/logout/all")).body.decode()
            assert not await is_in(app)
            for one in (browser, other):
                assert "Sign in to" in (await one.open("/_hansa/account")).body.decode()
            [way] = re.findall(r'class="button" href="([^"]*)"', page)
            back = idp.asked_to_end(html.unescape(way), "alice")
            assert back.startswith("https://hansa.test" + LOGOUT)
            assert "Sign in to" in (await browser.open(back.removeprefix("https://hansa.test"))).body.decode()


async def test_signing_out_of_everything(server: RunningServer) -> None:
    """T-M16: only by our own form; of who has only a password here, no way leads elsewhere."""
    alice, browser = await server.user("alice"), Browser(server)
    await browser.open("/_hansa/login")
    await browser.sign_in("alice")
    headers = {**FORM, "Cookie": browser.cookie or ""}
    forged = await server.anonymous().request("POST", "/_hansa/logout/all", data=b"a=b", headers=headers)
    assert forged.status == 403 and await is_in(alice)
    page = (await browser.submit("/_hansa/logout/all")).body.decode()
    assert "All your devices and browsers were signed out" in page and 'class="button"' not in page
    assert not await is_in(alice)
    assert quote("/_hansa/account", safe="") in (await browser.open("/_hansa/account")).body.decode()
