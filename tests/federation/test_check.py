"""`hansa federation check`: what it sees of servers that listen with real TLS, and what it advises."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from federation.check import FederationCheck, NoServerName, Ways
from federation.discovery import Discovery
from federation.keys.documents import own_document
from homeserver.cli import run_command
from homeserver.config import Config
from homeserver.core.signing import Signer
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.findings import Finding
from homeserver.runtime.ids import SystemRandomness
from homeserver.runtime.tls_probe import SystemTlsProbe
from homeserver.web.addresses import AddressFilter
from homeserver.web.dns import DnsFault, Service
from homeserver.web.outgoing import OutgoingAnswer, OutgoingClient, OutgoingError
from tests.kit.authority import Authority
from tests.kit.federation import signer_of
from tests.kit.peer import Peer, running_peer
from tests.kit.ports import free_port
from tests.kit.server import RunningServer, config_for_tests

NAME = "chat.test"


class Names:
    """Implements Dns by tables."""

    def __init__(
        self, records: Mapping[str, Sequence[Service]] | None = None, hosts: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._records = records or {}
        self._hosts = hosts or {"localhost": ["127.0.0.1"]}

    async def services(self, name: str) -> Sequence[Service]:
        return self._records.get(name, [])

    async def addresses(self, host: str) -> Sequence[str]:
        if host not in self._hosts:
            raise DnsFault(f"{host} has no address")
        return self._hosts[host]


class Pages(OutgoingClient):
    """The guarded client, but for `.well-known` pages, which come from a table: they have a port of their own."""

    pages: Mapping[str, tuple[int, bytes]] = {}

    async def request(self, method: str, url: str, **options: Any) -> OutgoingAnswer:
        if not url.endswith("/.well-known/matrix/server"):
            return await super().request(method, url, **options)
        if url not in self.pages:
            raise OutgoingError("unreachable", "no connection")
        status, body = self.pages[url]
        return OutgoingAnswer(status, {}, body, url)


class Looking:
    """One operator's machine."""

    def __init__(self, config: Config, names: Names) -> None:
        self.config = config
        self.names = names
        self.pages: dict[str, tuple[int, bytes]] = {}
        self.own: Signer | None = None

    async def at(self, name: str) -> dict[str, Finding]:
        """By check; of several places the last."""
        chosen = self.config.federation
        outgoing = Pages(
            AddressFilter(deny=chosen.deny_ip_ranges, allow=chosen.allow_ip_ranges), ca_path=chosen.ca_path
        )
        outgoing.pages = {f"https://{host}/.well-known/matrix/server": page for host, page in self.pages.items()}
        clock = SystemClock()
        discovery = Discovery(outgoing, self.names, clock, SystemRandomness())
        ways = Ways(outgoing=outgoing, dns=self.names, tls=SystemTlsProbe(self.config.federation.ca_path))
        check = FederationCheck(self.config, ways, discovery, clock, self.own)
        try:
            return {finding.check: finding async for finding in check.findings(name)}
        finally:
            await outgoing.close()


@pytest.fixture
def config(tmp_path: Path, authority: Authority) -> Config:
    section = f'[federation]\nca_path = "{authority.ca_path}"\nallow_ip_ranges = ["127.0.0.0/8"]\n'
    return replace(config_for_tests(tmp_path, section), server_name="here.test")


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    """Chat.test, by its certificate and its keys."""
    async with running_peer(authority, certificate_name=NAME) as running:
        running.keys = own_document(signer_of(NAME), [], SystemClock().now_ms() + 86_400_000)
        running.answers["/_matrix/federation/v1/version"] = lambda _: {
            "server": {"name": "Other\x1b[31m", "version": "7"}
        }
        yield running


@pytest.fixture
def looking(config: Config, peer: Peer) -> Looking:
    return Looking(config, Names({f"_matrix-fed._tcp.{NAME}": [Service("localhost", peer.port, 0, 0, 300)]}))


async def test_a_server_that_is_well(looking: Looking, peer: Peer) -> None:
    """Each step is named, with what came of it; a stranger's text moves no terminal."""
    found = await looking.at(NAME)
    assert {finding.verdict for finding in found.values()} == {"ok"}
    assert list(found) == [
        *("settings", ".well-known", "SRV", "place", "address", "certificate", "keys", "version", "latency")
    ]
    assert f"localhost, port {peer.port} (step 4" in found["place"].message
    assert found["certificate"].message.startswith(f"for {NAME}, by trustme")
    assert found["keys"].message.startswith("ed25519:test, signed")
    assert found["version"].message == "Other[31m 7"


async def test_a_page_that_leads_on(looking: Looking, peer: Peer) -> None:
    looking.pages["example.test"] = (200, json.dumps({"m.server": NAME}).encode())
    found = await looking.at("example.test")
    assert found[".well-known"].message.endswith(f"names {NAME}")
    assert "(step 3.3" in found["place"].message
    assert found["keys"].verdict == "failed" and "another server's" in found["keys"].message


@pytest.mark.parametrize("page", [(200, b"<html>"), (200, b'{"m.server": "a b"}'), (500, b"")])
async def test_a_page_of_no_use(looking: Looking, page: tuple[int, bytes]) -> None:
    """Not the end: others go on without it too; but its owner hears of it."""
    looking.pages[NAME] = page
    found = await looking.at(NAME)
    assert found[".well-known"].verdict == "warning" and "m.server" in found[".well-known"].hint
    assert found["keys"].verdict == "ok"


async def test_the_old_record_is_a_warning(looking: Looking, peer: Peer) -> None:
    looking.names = Names({f"_matrix._tcp.{NAME}": [Service("localhost", peer.port, 0, 0, 300)]})
    found = await looking.at(NAME)
    assert found["SRV"].verdict == "warning" and "_matrix-fed" in found["SRV"].hint
    assert "(step 5" in found["place"].message


async def test_a_name_without_address(looking: Looking) -> None:
    """Nothing after the step that failed."""
    found = await looking.at("nowhere.test")
    assert found["address"].verdict == "failed" and list(found)[-1] == "address"


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::ffff:10.0.0.1"])
async def test_addresses_that_are_denied_are_not_touched(looking: Looking, address: str) -> None:
    """T-E17: what a stranger's name leads to is held against the lists before anything connects."""
    looking.names = Names(hosts={"inside.test": [address]})
    found = await looking.at("inside.test:8448")
    assert found["address"].verdict == "failed" and "allow_ip_ranges" in found["address"].hint
    assert "certificate" not in found


async def test_another_names_certificate(looking: Looking, peer: Peer) -> None:
    found = await looking.at(f"localhost:{peer.port}")
    assert found["certificate"].verdict == "failed"
    assert "valid for localhost" in found["certificate"].hint and "keys" not in found


async def test_nobody_listens(looking: Looking) -> None:
    found = await looking.at(f"localhost:{free_port()}")
    assert found["certificate"].verdict == "failed" and "let port" in found["certificate"].hint


async def test_one_address_of_two_is_dead(looking: Looking, peer: Peer) -> None:
    """What makes a server be found now and then."""
    looking.names = Names(
        {f"_matrix-fed._tcp.{NAME}": [Service("localhost", peer.port, 0, 0, 300)]},
        {"localhost": ["127.0.0.1", "127.0.0.99"]},
    )
    found = await looking.at(NAME)
    assert found["certificate"].verdict == "warning" and "127.0.0.99" in found["certificate"].message
    assert found["keys"].verdict == "ok"


async def test_keys_that_nobody_believes(looking: Looking, peer: Peer) -> None:
    peer.keys = {**peer.keys, "valid_until_ts": peer.keys["valid_until_ts"] + 1}
    found = await looking.at(NAME)
    assert found["keys"].verdict == "failed" and "aren't signed" in found["keys"].message
    peer.keys = own_document(signer_of(NAME), [], SystemClock().now_ms() - 1)
    found = await looking.at(NAME)
    assert found["keys"].verdict == "failed" and "no longer valid" in found["keys"].message


async def test_ones_own_lists_are_named(looking: Looking) -> None:
    looking.config = replace(looking.config, federation=replace(looking.config.federation, deny_servers=("*.test",)))
    assert (await looking.at(NAME))["settings"].verdict == "warning"


async def test_ones_own_name(here: RunningServer, config: Config) -> None:
    """The key that is published is the one of the file: else another server answers in one's name."""
    own = here.hansa.config
    looking = Looking(replace(config, server_name=own.server_name), Names())
    looking.own = here.hansa.signer
    found = await looking.at(own.server_name)
    assert {finding.verdict for finding in found.values()} == {"ok"}
    assert found["version"].message.startswith("Hansa ")
    looking.own = signer_of(own.server_name, "other")
    found = await looking.at(own.server_name)
    assert found["own key"].verdict == "failed" and "restart" in found["own key"].hint


async def test_no_name_at_all(looking: Looking) -> None:
    with pytest.raises(NoServerName):
        await looking.at("no name")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 where a step failed, 2 where the name is none; nothing is made by looking."""
    monkeypatch.chdir(tmp_path)
    assert run_command(["federation", "check", "--json", "127.0.0.1:1"]) == 1
    listed = json.loads(capsys.readouterr().out)
    assert [entry["check"] for entry in listed if entry["verdict"] == "failed"] == ["address"]
    assert run_command(["federation", "check", "no name"]) == 2
    assert "hint: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
