"""Assertions that a SAML identity provider encrypts for this server."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.accounts.saml import BadMetadata, read_opener
from tests.kit.clock import FakeClock
from tests.kit.oauth import Browser
from tests.kit.saml_encrypt import CBC, GCM, OAEP, PKCS1, encrypted
from tests.kit.saml_idp import Answer, Key, metadata
from tests.kit.saml_scene import PLACE, asked, come_back, now, settings_of
from tests.kit.server import RunningServer, running_server

pytestmark = pytest.mark.programs("xmlsec1")


@pytest.fixture(scope="module")
def ours() -> Key:
    return Key.make()


@pytest.fixture
async def server(
    database_dsn: str, clock: FakeClock, tmp_path: Path, key: Key, ours: Key
) -> AsyncIterator[RunningServer]:
    (tmp_path / "ours.pem").write_bytes(ours.private + ours.certificate)
    toml = settings_of(metadata(key), tmp_path, f'encryption_path = "{tmp_path / "ours.pem"}"\n')
    async with running_server(database_dsn, toml=toml, clock=clock) as running:
        yield running


class Visit:
    """Somebody who went there, and what the provider would answer."""

    def __init__(self, server: RunningServer, clock: FakeClock, key: Key, folder: Path) -> None:
        self.server, self.browser = server, Browser(server)
        self._now = now(clock)
        self._key, self._folder = key, folder
        self.state = ""

    async def answer(self, ours: Key, *, signs: str = "assertion", **how: Any) -> str:
        request = await asked(self.browser)
        self.state = request.state
        return encrypted(Answer(request, self._now, self._key, signs=signs), ours, self._folder, **how)

    async def come_back(self, answer: str) -> int:
        return await come_back(self.server, self.browser, answer, self.state)


@pytest.fixture
def visit(server: RunningServer, clock: FakeClock, key: Key, tmp_path: Path) -> Visit:
    return Visit(server, clock, key, tmp_path)


@pytest.mark.parametrize(("signs", "method"), [("assertion", GCM), ("response", GCM), ("response", CBC)])
async def test_people_sign_in_there(visit: Visit, ours: Key, signs: str, method: str) -> None:
    answer = await visit.answer(ours, signs=signs, method=method)
    assert b"alice" not in base64.b64decode(answer)
    assert await visit.come_back(answer) == 200
    assert "@alice:hansa.test" in visit.browser.text


@pytest.mark.parametrize(
    ("signs", "method", "transport"),
    [("assertion", CBC, OAEP), ("", GCM, OAEP), ("assertion", GCM, PKCS1), ("response", CBC, PKCS1)],
)
async def test_what_is_not_taken(visit: Visit, ours: Key, signs: str, method: str, transport: str) -> None:
    """T-I4: nothing unsigned; no padding that tells what was in a changed ciphertext; no RSA of PKCS #1 v1.5."""
    answer = await visit.answer(ours, signs=signs, method=method, transport=transport)
    assert await visit.come_back(answer) == 403
    assert "@alice" not in visit.browser.text


async def test_for_others_and_changed_on_the_way(visit: Visit, ours: Key, key: Key) -> None:
    """T-I4"""
    assert await visit.come_back(await visit.answer(key)) == 403
    for signs in ("assertion", "response"):
        for wrong in ("", "AAAA", "%"):
            text = base64.b64decode(await visit.answer(ours, signs=signs)).decode()
            last = re.findall(r"CipherValue>([^<]+)<", text)[-1]
            changed = ("B" if last[40] == "A" else "A").join((last[:40], last[41:]))
            other = text.replace(last, wrong or changed)
            assert await visit.come_back(base64.b64encode(other.encode()).decode()) == 403
    assert "@alice" not in visit.browser.text


async def test_one_within_another(visit: Visit, ours: Key) -> None:
    """T-I4: a second assertion, in the open or encrypted, makes the whole count for nothing."""
    text = base64.b64decode(await visit.answer(ours)).decode()
    [whole] = re.findall(r"<a:EncryptedAssertion.*</a:EncryptedAssertion>", text, re.DOTALL)
    for more in (whole, '<a:Assertion ID="_x"/>'):
        assert await visit.come_back(base64.b64encode(text.replace(whole, whole + more).encode()).decode()) == 403
        text = base64.b64decode(await visit.answer(ours)).decode()
        [whole] = re.findall(r"<a:EncryptedAssertion.*</a:EncryptedAssertion>", text, re.DOTALL)


async def test_our_metadata_hold_the_key(server: RunningServer, ours: Key) -> None:
    shown = (await server.anonymous().request("GET", PLACE + "/metadata")).body.decode()
    assert 'use="encryption"' in shown and "".join(ours.certificate.decode().splitlines()[1:-1]) in shown
    assert "PRIVATE" not in shown


def test_keys_that_cannot_be_used(tmp_path: Path, ours: Key, key: Key) -> None:
    file = tmp_path / "pem"
    for wrong in (b"", ours.private, ours.certificate, ours.private + key.certificate, b"\xff"):
        file.write_bytes(wrong)
        with pytest.raises(BadMetadata):
            read_opener(file)
    file.write_bytes(ours.certificate + ours.private)
    assert read_opener(file).key.key_size == 2_048


async def test_without_a_key(database_dsn: str, clock: FakeClock, tmp_path: Path, key: Key, ours: Key) -> None:
    async with running_server(database_dsn, toml=settings_of(metadata(key), tmp_path), clock=clock) as server:
        visit = Visit(server, clock, key, tmp_path)
        assert await visit.come_back(await visit.answer(ours)) == 403
