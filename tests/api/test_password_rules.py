"""What a new password must be: by whichever way it is set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from homeserver.config import ConfigError
from tests.kit.oauth import Browser
from tests.kit.server import RunningServer, config_for_tests, running_server

GOOD = "Correct-horse-7"
BAD = [
    ("at least 8", "A-b7"),
    ("a digit", "Correct-horse"),
    ("a small letter", "CORRECT-HORSE-7"),
    ("a capital letter", "correct-horse-7"),
    ("no letter or digit", "Correcthorse7"),
    ("those who guess", "TROUBADOR-and-3"),
]


@pytest.fixture
async def server(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    denied = tmp_path / "denied.txt"
    denied.write_text("troubador-and-3\n\n  Passwort-ß9 \n", "utf-8")
    chosen = config_for_tests(tmp_path)
    rules = replace(chosen.password, needs=("digit", "lowercase", "uppercase", "symbol"), denied_path=denied)
    async with running_server(database_dsn, config=replace(chosen, password=rules)) as running:
        yield running


@pytest.mark.parametrize(("why", "password"), BAD)
async def test_weak_passwords_are_refused(server: RunningServer, why: str, password: str) -> None:
    """While registering, when it is changed, and on our page."""
    weak = {"username": "bob", "password": password, "auth": {"type": "m.login.dummy"}}
    told = (await server.anonymous().post("/register", body=weak)).refused(400, "M_WEAK_PASSWORD")["error"]
    assert why in told
    alice = await server.user("alice", GOOD)
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}, "password": GOOD}
    changed = await alice.post("/account/password", body={"new_password": password, "auth": auth})
    changed.refused(400, "M_WEAK_PASSWORD")
    browser = Browser(server)
    await browser.open("/_hansa/register")
    assert (await browser.submit("/_hansa/register", username="carol", password=password)).status == 400
    assert await server.db.fetchval("SELECT count(*) FROM users WHERE user_id <> $1", alice.user_id) == 0


async def test_clients_are_told(server: RunningServer) -> None:
    told = {
        "m.minimum_length": 8,
        **{f"m.require_{kind}": True for kind in ("digit", "lowercase", "uppercase", "symbol")},
    }
    for place in ("v3", "r0", "unstable"):
        assert (await server.anonymous().get(f"/_matrix/client/{place}/password_policy")).ok() == told


@pytest.mark.parametrize("name", ["binary", "none"])
async def test_a_list_that_cannot_be_read(database_dsn: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    chosen = config_for_tests(tmp_path)
    rules = replace(chosen.password, denied_path=tmp_path / name)
    with pytest.raises(ConfigError, match="denied_path"):
        async with running_server(database_dsn, config=replace(chosen, password=rules)):
            pass
