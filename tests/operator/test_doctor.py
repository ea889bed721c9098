"""`hansa doctor`: what it sees, and that each thing that isn't well comes with what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from homeserver.config import load_config
from homeserver.operator.doctor import examine
from homeserver.operator.network import network_findings
from homeserver.operator.welcome import welcome
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.findings import Finding
from homeserver.runtime.probes import Fetched, Unreachable

BASE = "https://example.org"


class World:
    """The network and the machine, as a table."""

    def __init__(self, pages: Mapping[str, str | Fetched], *, free: int = 1 << 40, files: int = 65_536) -> None:
        self._pages = pages
        self._free = free
        self._files = files

    async def addresses(self, name: str) -> list[str]:
        if name not in {"example.org"}:
            raise Unreachable("Name or service not known")
        return ["192.0.2.1"]

    async def fetch(self, url: str, *, ca_path: Path | None = None) -> Fetched:
        page = self._pages.get(url)
        if page is None:
            raise Unreachable("Connection refused")
        return page if isinstance(page, Fetched) else Fetched(200, page.encode(), SystemClock().now_ms())

    def free_disk_bytes(self, path: Path) -> int:
        return self._free

    def open_files_max(self) -> int:
        return self._files


ALL_WELL: Mapping[str, str | Fetched] = {
    f"{BASE}/.well-known/matrix/client": '{"m.homeserver": {"base_url": "https://example.org/"}}',
    f"{BASE}/.well-known/matrix/server": '{"m.server": "example.org:443"}',
    f"{BASE}/_matrix/client/versions": '{"versions": ["v1.19"]}',
    "https://example.org:443/_matrix/key/v2/server": '{"server_name": "example.org"}',
}


async def seen(world: World, name: str = "example.org") -> dict[str, Finding]:
    config = load_config(None, {"HANSA_SERVER_NAME": name})
    return {finding.check: finding async for finding in network_findings(config, world, SystemClock())}


async def test_all_is_well() -> None:
    assert {finding.verdict for finding in (await seen(World(ALL_WELL))).values()} == {"ok"}


@pytest.mark.parametrize(
    ("url", "page", "check", "verdict", "said"),
    [
        (f"{BASE}/.well-known/matrix/client", None, "client", "warning", "people must type"),
        (f"{BASE}/.well-known/matrix/client", "<html>", "client", "warning", "not what clients expect"),
        (
            f"{BASE}/.well-known/matrix/client",
            '{"m.homeserver": {"base_url": "https://x"}}',
            "client",
            "failed",
            "names",
        ),
        (f"{BASE}/_matrix/client/versions", None, "client API", "failed", "can't be reached"),
        (f"{BASE}/_matrix/client/versions", Fetched(502, b"", None), "client API", "failed", "answers 502"),
        (f"{BASE}/.well-known/matrix/server", None, "federation", "failed", "example.org:8448"),
        ("https://example.org:443/_matrix/key/v2/server", "[]", "federation", "failed", "without keys"),
        (
            "https://example.org:443/_matrix/key/v2/server",
            '{"server_name": "other"}',
            "federation",
            "failed",
            "says that it is other",
        ),
        (f"{BASE}/_matrix/client/versions", Fetched(200, b'{"versions": []}', 0), "clock", "failed", "s off"),
    ],
)
async def test_what_is_not_well_is_named(
    url: str, page: str | Fetched | None, check: str, verdict: str, said: str
) -> None:
    pages = {**ALL_WELL, url: page} if page is not None else {key: ALL_WELL[key] for key in ALL_WELL if key != url}
    check = ".well-known/matrix/client" if check == "client" else check
    finding = (await seen(World(pages)))[check]
    assert finding.verdict == verdict
    assert said in finding.message and finding.hint


async def test_a_name_without_address_is_named() -> None:
    finding = (await seen(World({}), "other.example"))["DNS"]
    assert finding.verdict == "failed" and "AAAA record" in finding.hint


async def examined(folder: Path, world: World, **env: str) -> list[Finding]:
    config = load_config(None, {"HANSA_DATA_DIR": str(folder), **env})
    return [finding async for finding in examine(config, world, SystemClock())]


async def test_a_first_start_is_no_illness(tmp_path: Path) -> None:
    found = await examined(tmp_path / "data", World({}))
    assert {finding.verdict for finding in found} == {"ok", "skipped"}


async def test_modes_disk_and_files_are_looked_at(tmp_path: Path) -> None:
    """T-O14, T-O12: a key that others can open, a full disk."""
    (tmp_path / "signing.key").write_text("ed25519 a_1 c2VlZA")
    (tmp_path / "signing.key").chmod(0o644)
    found = {finding.check: finding for finding in await examined(tmp_path, World({}, free=1 << 20, files=256))}
    assert found["signing key"].verdict == "failed" and "chmod 600" in found["signing key"].hint
    assert found["disk"].verdict == "failed" and "free some" in found["disk"].hint
    assert found["open files"].verdict == "warning" and "ulimit" in found["open files"].hint


async def test_settings_of_the_database_are_looked_at(tmp_path: Path, database_dsn: str) -> None:
    """T-O6, T-O2: the tests' database throws durability away, and doctor says so."""
    found = {
        finding.check: finding for finding in await examined(tmp_path, World({}), HANSA_DATABASE__DSN=database_dsn)
    }
    assert found["durability"].verdict == "failed" and "fsync" in found["durability"].message
    assert found["schema"].verdict == "ok" and "collation" not in found


async def test_a_database_that_is_behind_is_named(tmp_path: Path, empty_database_dsn: str) -> None:
    found = await examined(tmp_path, World({}), HANSA_DATABASE__DSN=empty_database_dsn)
    assert next(finding for finding in found if finding.check == "schema").hint.startswith("type `hansa db migrate`")


def test_the_first_message_says_how_to_begin() -> None:
    text = welcome(load_config(None, {}), first_start=True)
    for said in (
        "http://127.0.0.1:8008",
        "hansa user create --admin",
        "http://localhost:8008",
        "/admin",
        "hansa doctor",
    ):
        assert said in text
    assert "First steps" not in welcome(load_config(None, {}), first_start=False)
    closed = load_config(None, {"HANSA_REGISTRATION__MODE": "off"})
    elsewhere = welcome(closed, first_start=True, command="bin/hansa --config x.toml")
    for said in ("user create --admin NAME", "user create NAME", "doctor"):
        assert f"bin/hansa --config x.toml {said}\n" in elsewhere
