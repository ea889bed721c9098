"""Signing in at an identity provider that speaks SAML 2.0."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from homeserver.accounts.saml import BadMetadata, read_metadata
from tests.kit.clock import FakeClock
from tests.kit.oauth import Browser
from tests.kit.saml_idp import Answer, Asked, Key, form_of, metadata, real_idp
from tests.kit.saml_scene import APP, OUR_PAGES, PLACE, answered, asked, come_back, now, settings_of
from tests.kit.server import RunningServer, running_server


@pytest.fixture
async def server(database_dsn: str, clock: FakeClock, tmp_path: Path, key: Key) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn, toml=settings_of(metadata(key), tmp_path), clock=clock) as running:
        yield running


def right(request: Asked, clock: FakeClock, key: Key, **changes: Any) -> Answer:
    return Answer(request, now(clock), key, **changes)


@pytest.mark.parametrize("signs", ["assertion", "response"])
async def test_people_sign_in_there(server: RunningServer, clock: FakeClock, key: Key, signs: str) -> None:
    """T-I4: known by provider and NameID; a way back counts once, and replayed it lets nobody in."""
    flows = (await server.anonymous().get("/login")).ok()["flows"]
    (sso,) = [flow for flow in flows if flow["type"] == "m.login.sso"]
    assert sso["identity_providers"] == [{"id": "campus", "name": "Campus"}]
    browser = Browser(server)
    request = await asked(browser)
    assert request.answers_to == "https://hansa.test" + PLACE
    answer = right(request, clock, key, signs=signs).encoded()
    await come_back(server, browser, answer, request.state)
    assert "@alice:hansa.test" in browser.text
    shown = await server.anonymous().get("/profile/{}/displayname", "@alice:hansa.test")
    assert shown.ok() == {"displayname": "Alice Liddell"}
    thief = Browser(server)
    assert await come_back(server, thief, answer, request.state) == 403, "used already"
    other = await asked(thief)
    assert await come_back(server, thief, answer, other.state) == 403, "made for another request"
    again = Browser(server)
    request = await asked(again)
    await come_back(server, again, right(request, clock, key, signs=signs).encoded(), request.state)
    assert "@alice:hansa.test" in again.text, "the same person has the same account"
    namesake = Browser(server)
    request = await asked(namesake)
    changed = right(request, clock, key, signs=signs, values={"name_id": "alice-2"})
    await come_back(server, namesake, changed.encoded(), request.state)
    assert "@alice2:hansa.test" in namesake.text, "another NameID is another person, whatever their name"


async def test_an_app_gets_a_login_token(server: RunningServer, clock: FakeClock, key: Key) -> None:
    """T-I20"""
    browser = Browser(server)
    request = await asked(browser, APP)
    await come_back(server, browser, right(request, clock, key).encoded(), request.state)
    (token,) = re.findall(r"loginToken=([^\"&]+)", browser.text)
    account = (await server.anonymous().post("/login", body={"type": "m.login.token", "token": token})).ok()
    assert account["user_id"] == "@alice:hansa.test"


async def test_an_answer_is_for_the_browser_that_asked(server: RunningServer, clock: FakeClock, key: Key) -> None:
    """T-I4, T-I22: nobody is signed in to somebody else's account by a link, nor unasked."""
    mallory, victim = Browser(server), Browser(server)
    request = await asked(mallory)
    await victim.open("/_hansa/login")
    answer = right(request, clock, key).encoded()
    assert await come_back(server, victim, answer, request.state) == 403
    await victim.open("/_hansa/account")
    assert "@alice" not in victim.text
    assert await come_back(server, victim, answer, "x" * 43) == 403
    assert (await answered(server, answer, request.state, "/_hansa/sso/saml/other")).status == 404


@pytest.mark.parametrize("state", ["", "https://portal.example.org/", "x" * 42, "\r\nSet-Cookie: a=b"])
async def test_answers_that_nobody_asked_for(server: RunningServer, clock: FakeClock, key: Key, state: str) -> None:
    """T-I4, T-I22: sign-in that begins there is begun here anew; nobody gets into the account that was sent along."""
    browser = Browser(server)
    request = await asked(Browser(server))
    sent = await answered(server, right(request, clock, key).encoded(), state)
    assert sent.status == 303 and sent.headers["Location"] == "/_hansa/sso/with/campus"
    assert "Set-Cookie" not in sent.headers
    own = await asked(browser, sent.headers["Location"])
    await come_back(server, browser, right(own, clock, key, values={"name_id": "bob-1"}).encoded(), own.state)
    assert "@alice:hansa.test" in browser.text
    later = Browser(server)
    own = await asked(later)
    await come_back(server, later, right(own, clock, key).encoded(), own.state)
    assert "@alice2:hansa.test" in later.text, "nothing was kept of the answer that was sent along"


def late(clock: FakeClock, seconds: int) -> str:
    return (now(clock) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://evil.example.org"},
        {"audience": "https://other.example.org/metadata"},
        {"recipient": "https://other.example.org/acs"},
        {"destination": "https://other.example.org/acs"},
        {"request": "_other"},
        {"confirmed_request": "_other"},
        {"method": "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"},
        {"status": "urn:oasis:names:tc:SAML:2.0:status:Responder"},
        {"begins": 200},
        {"ends": -200},
        {"confirmed_until": -200},
        {"session_ends": -200},
        {"ends": "soon"},
        {"ends": "2026-11-28T12:00:00"},
        {"name_id": ""},
        {"name_id": "<a:Issuer>x</a:Issuer>"},
        {"name_id": "x" * 300},
        {"format": "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"},
    ],
)
async def test_signed_answers_that_are_not_for_us(
    server: RunningServer, clock: FakeClock, key: Key, wrong: dict[str, Any]
) -> None:
    """T-I4: issuer, audience, recipient, request, times, status: each alone is enough."""
    values = {name: late(clock, value) if isinstance(value, int) else value for name, value in wrong.items()}
    browser = Browser(server)
    request = await asked(browser)
    answer = right(request, clock, key, values=values).encoded()
    assert await come_back(server, browser, answer, request.state) == 403
    assert "@alice" not in browser.text


def _evil_copy(text: str) -> str:
    """The assertion, unsigned and about somebody else."""
    (assertion,) = re.findall(r"<a:Assertion.*</a:Assertion>", text, re.S)
    bare = re.sub(r"<(\w+):Signature .*</\1:Signature>", "", assertion, flags=re.S)
    return bare.replace("alice-1", "root").replace('ID="_a1"', 'ID="_evil"')


def _first_in_response(text: str) -> str:
    return text.replace("<a:Assertion", _evil_copy(text) + "<a:Assertion", 1)


def _signed_one_hidden(text: str) -> str:
    """The signed assertion moves into an extension; one that isn't stands in its place."""
    (assertion,) = re.findall(r"<a:Assertion.*</a:Assertion>", text, re.S)
    hidden = f"<p:Extensions>{assertion}</p:Extensions>"
    return text.replace(assertion, hidden + _evil_copy(text))


def _signed_one_in_evil_one(text: str) -> str:
    (assertion,) = re.findall(r"<a:Assertion.*</a:Assertion>", text, re.S)
    evil = _evil_copy(text).replace("<a:Subject>", f"<a:Advice>{assertion}</a:Advice><a:Subject>")
    return text.replace(assertion, evil)


def _signature_moved(text: str) -> str:
    """The signature stands in an assertion of another id, and still is about the signed one."""
    (assertion,) = re.findall(r"<a:Assertion.*</a:Assertion>", text, re.S)
    (signature,) = re.findall(r"<\w+:Signature .*</\w+:Signature>", text, re.S)
    evil = _evil_copy(text).replace("<a:Subject>", signature + "<a:Subject>", 1)
    return text.replace(assertion, evil + f"<p:Extensions>{assertion.replace(signature, '')}</p:Extensions>")


def _same_id_twice(text: str) -> str:
    return text.replace("<p:Status>", '<p:Extensions><p:x ID="_a1"/></p:Extensions><p:Status>', 1)


def _no_signature(text: str) -> str:
    return re.sub(r"<(\w+):Signature .*</\1:Signature>", "", text, flags=re.S)


def _bomb(text: str) -> str:
    entities = '<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + level)} "{f"&{chr(97 + level)};" * 10}">' for level in range(9)
    )
    return f"<!DOCTYPE p:Response [{entities}]>" + text.replace("alice-1", "&j;")


ATTACKS: dict[str, Callable[[str], str]] = {
    "not signed": _no_signature,
    "changed": lambda text: text.replace("alice-1", "root"),
    "an attribute changed": lambda text: text.replace(">alice<", ">root<"),
    "a comment in the name": lambda text: text.replace("alice-1", "ali<!-- -->ce-1"),
    "CDATA": lambda text: text.replace("alice-1", "<![CDATA[alice-1]]>"),
    "an instruction": lambda text: text.replace("alice-1", "alice<?x y?>-1"),
    "an entity bomb": _bomb,
    "a file": lambda text: '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + text.replace("alice-1", "&e;"),
    "another address's definitions": lambda text: '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">' + text,
    "an evil assertion before it": _first_in_response,
    "the signed one hidden": _signed_one_hidden,
    "the signed one within": _signed_one_in_evil_one,
    "the signature moved": _signature_moved,
    "one id twice": _same_id_twice,
    "older methods": lambda text: text.replace("2001/04/xmldsig-more#rsa-sha256", "2000/09/xmldsig#rsa-sha1"),
    "a secret in place of a key": lambda text: text.replace("xmldsig-more#rsa-sha256", "xmldsig-more#hmac-sha256"),
    "a transform": lambda text: text.replace(
        "http://www.w3.org/2000/09/xmldsig#enveloped-signature", "http://www.w3.org/TR/1999/REC-xpath-19991116"
    ),
    "a reference to all": lambda text: text.replace('URI="#_a1"', 'URI=""'),
    "a reference elsewhere": lambda text: text.replace('URI="#_a1"', 'URI="#_r1"'),
    "no value": lambda text: re.sub(r"(SignatureValue>)[^<]*", r"\1", text),
    "too long": lambda text: text.replace("</p:Response>", " " * 40_000 + "</p:Response>"),
    "too deep": lambda text: text.replace("</p:Response>", "<x>" * 300 + "</x>" * 300 + "</p:Response>"),
    "too many": lambda text: text.replace("</p:Response>", "<x/>" * 2_500 + "</p:Response>"),
    "half of it": lambda text: text[: len(text) // 2],
    "another root": lambda text: text.replace("p:Response", "p:ArtifactResponse"),
    "another encoding": lambda text: '<?xml version="1.0" encoding="utf-7"?>' + text.replace("alice-1", "+ADw-x"),
    "nothing": lambda text: "",
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_answers_that_were_tampered_with(server: RunningServer, clock: FakeClock, key: Key, name: str) -> None:
    """T-I4: signature wrapping, comments in names, entity bombs, outside entities, weak methods, odd shapes."""
    browser = Browser(server)
    request = await asked(browser)
    wrote = right(request, clock, key, after=ATTACKS[name])
    untouched = right(request, clock, key)
    assert wrote.encoded() != untouched.encoded()
    assert await come_back(server, browser, wrote.encoded(), request.state) == 403
    assert "@" not in browser.text or "hansa.test" not in browser.text


async def test_keys_of_others_and_no_base64(
    server: RunningServer, clock: FakeClock, key: Key, strange_key: Key
) -> None:
    """T-I4: the certificate that comes with a signature proves nothing."""
    for key_used, signs in ((strange_key, "assertion"), (strange_key, "response"), (key, "")):
        browser = Browser(server)
        request = await asked(browser)
        answer = right(request, clock, key_used, signs=signs).encoded()
        assert await come_back(server, browser, answer, request.state) == 403
    for answer in ("%%%", "é", "AAAA", ""):
        browser = Browser(server)
        request = await asked(browser)
        assert await come_back(server, browser, answer, request.state) == 403


async def test_a_good_signature_beside_a_bad_one(server: RunningServer, clock: FakeClock, key: Key) -> None:
    """T-I4: each signature that is there must be good, and at its place."""
    browser = Browser(server)
    request = await asked(browser)
    fake = '<d:Signature xmlns:d="http://www.w3.org/2000/09/xmldsig#"/>'
    for place in ("<p:Status>", "</p:Response>"):
        wrote = right(request, clock, key, after=lambda text, place=place: text.replace(place, fake + place, 1))
        await answered(server, wrote.encoded(), request.state)
    assert (await browser.open("/_hansa/sso/callback?" + urlencode({"state": request.state}))).status == 403


async def test_our_metadata_name_the_place_for_answers(server: RunningServer) -> None:
    shown = await server.anonymous().request("GET", PLACE + "/metadata")
    assert (shown.status, shown.headers["Content-Type"]) == (200, "application/samlmetadata+xml")
    assert f'Location="https://hansa.test{PLACE}"' in shown.body.decode()
    assert (await server.anonymous().request("GET", "/_hansa/sso/saml/other/metadata")).status == 404


@pytest.mark.parametrize(
    "wrong",
    [
        lambda text: "",
        lambda text: text[:-5],
        lambda text: "<x/>",
        lambda text: text.replace("HTTP-Redirect", "SOAP"),
        lambda text: text.replace('use="signing"', 'use="encryption"'),
        lambda text: text.replace("entityID", "id"),
        lambda text: text.replace("https://idp.example.org/sso", "javascript:x"),
        lambda text: re.sub(r"X509Certificate>[^<]+", "X509Certificate>AAAA", text),
    ],
)
def test_metadata_that_cannot_be_used(tmp_path: Path, key: Key, wrong: Callable[[str], str]) -> None:
    file = tmp_path / "idp.xml"
    file.write_text(metadata(key))
    assert read_metadata(file).url == "https://idp.example.org/sso"
    file.write_text(wrong(metadata(key)))
    with pytest.raises(BadMetadata):
        read_metadata(file)


@pytest.mark.slow
@pytest.mark.programs("xmlsec1")
async def test_a_real_identity_provider(database_dsn: str, tmp_path: Path) -> None:
    """pysaml2 reads our metadata and our request, and its signed answer lets people in."""
    async with real_idp(tmp_path) as idp:
        toml = settings_of(idp.metadata(), tmp_path, 'localpart_attribute = "uid"\n')
        async with running_server(database_dsn, toml=toml) as server:
            idp.sp_metadata.write_bytes((await server.anonymous().request("GET", PLACE + "/metadata")).body)
            for who in ("alice", "bob", "alice"):
                idp.who = who
                browser = Browser(server)
                sent = await browser.open(OUR_PAGES)
                there = urlsplit(sent.headers["Location"])
                page = await server.elsewhere(f"{idp.base}{there.path}?{there.query}")
                action, fields = form_of(page)
                assert action == "https://hansa.test" + PLACE
                if who == "bob":  # who chose us in the provider's list
                    chosen = form_of(await server.elsewhere(f"{idp.base}/begin"))[1]
                    begun = await answered(server, chosen["SAMLResponse"], chosen["RelayState"])
                    there = urlsplit((await browser.open(begun.headers["Location"])).headers["Location"])
                    fields = form_of(await server.elsewhere(f"{idp.base}{there.path}?{there.query}"))[1]
                await come_back(server, browser, fields["SAMLResponse"], fields["RelayState"])
                assert f"@{who}:hansa.test" in browser.text
                shown = await server.anonymous().get("/profile/{}/displayname", f"@{who}:hansa.test")
                assert shown.ok() == {"displayname": who.title()}
