"""From names to places: each step of the specification, its bounds, and its caches."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.discovery import (
    CACHED_MAX_S,
    CACHED_MIN_S,
    Discovery,
    NotFound,
    cached_s,
    parse_well_known,
    split,
)
from homeserver.core.identifiers import ServerName
from homeserver.runtime.ids import SystemRandomness
from homeserver.web.dns import DnsFault, Service
from homeserver.web.outgoing import OutgoingAnswer, OutgoingError
from tests.kit.clock import FakeClock


@dataclass
class FakeNetwork:
    """Pages by host, and SRV records by name."""

    pages: dict[str, tuple[int, Mapping[str, str], bytes]] = field(default_factory=dict)
    records: Mapping[str, Sequence[Service]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    dns_down: bool = False

    async def request(self, method: str, url: str, **options: Any) -> OutgoingAnswer:
        self.asked.append(url)
        assert options["response_bytes_max"] <= 51_200
        assert options["redirects_max"] <= 10
        host = url.removeprefix("https://").partition("/")[0]
        if host not in self.pages:
            raise OutgoingError("unreachable", "no connection")
        status, headers, body = self.pages[host]
        return OutgoingAnswer(status, headers, body, url)

    def stream(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is streamed")

    async def close(self) -> None: ...

    async def services(self, name: str) -> Sequence[Service]:
        self.asked.append(name)
        if self.dns_down:
            raise DnsFault("no answer")
        return self.records.get(name, [])

    async def addresses(self, host: str) -> Sequence[str]:
        return []


def delegating(to: str, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    return 200, headers, json.dumps({"m.server": to}).encode()


def discovery_in(network: FakeNetwork, clock: FakeClock | None = None) -> Discovery:
    return Discovery(network, network, clock or FakeClock(), SystemRandomness())


FED = [Service("srv.test", 4444, 0, 0, 300)]
OLD = [Service("old.test", 5555, 0, 0, 300)]


@pytest.mark.parametrize(
    ("name", "pages", "records", "host", "port", "header", "certificate", "step"),
    [
        ("1.2.3.4", {}, {}, "1.2.3.4", 8448, "1.2.3.4", "1.2.3.4", "1"),
        ("1.2.3.4:99", {}, {}, "1.2.3.4", 99, "1.2.3.4:99", "1.2.3.4", "1"),
        ("[2001:db8::1]", {}, {}, "2001:db8::1", 8448, "[2001:db8::1]", "2001:db8::1", "1"),
        ("[2001:db8::1]:99", {}, {}, "2001:db8::1", 99, "[2001:db8::1]:99", "2001:db8::1", "1"),
        ("a.test:99", {"a.test": delegating("b.test")}, {}, "a.test", 99, "a.test:99", "a.test", "2"),
        ("a.test", {"a.test": delegating("1.2.3.4")}, {}, "1.2.3.4", 8448, "1.2.3.4", "1.2.3.4", "3.1"),
        ("a.test", {"a.test": delegating("[::1]:9")}, {}, "::1", 9, "[::1]:9", "::1", "3.1"),
        ("a.test", {"a.test": delegating("b.test:99")}, {}, "b.test", 99, "b.test:99", "b.test", "3.2"),
        ("a.test", {"a.test": delegating("b.test")}, {"_matrix-fed._tcp.b.test": FED, "_matrix._tcp.b.test": OLD},
         "srv.test", 4444, "b.test", "b.test", "3.3"),
        ("a.test", {"a.test": delegating("b.test")}, {"_matrix._tcp.b.test": OLD}, "old.test", 5555, "b.test", "b.test",
         "3.4"),
        ("a.test", {"a.test": delegating("b.test")}, {}, "b.test", 8448, "b.test", "b.test", "3.5"),
        ("a.test", {}, {"_matrix-fed._tcp.a.test": FED, "_matrix._tcp.a.test": OLD}, "srv.test", 4444, "a.test",
         "a.test", "4"),
        ("a.test", {"a.test": (404, {}, b"")}, {"_matrix._tcp.a.test": OLD}, "old.test", 5555, "a.test", "a.test", "5"),
        ("a.test", {"a.test": (200, {}, b"<html>")}, {}, "a.test", 8448, "a.test", "a.test", "6"),
        ("a.test", {"a.test": (200, {}, b'{"m.server":"not a name"}')}, {}, "a.test", 8448, "a.test", "a.test", "6"),
        ("a.test", {"a.test": (200, {}, b'{"m.server":"b.test:0"}')}, {}, "a.test", 8448, "a.test", "a.test", "6"),
    ],
)  # fmt: skip
async def test_each_step_of_the_specification(
    name: str, pages: Any, records: Any, host: str, port: int, header: str, certificate: str, step: str
) -> None:
    """T-E16: address, port, Host header and certificate name in each case; pages are read to 50 KiB, redirects few."""
    place = (await discovery_in(FakeNetwork(pages, records)).places(ServerName(name)))[0]
    assert (place.host, place.port, place.host_header, place.certificate_name, place.step) == (
        host,
        port,
        header,
        certificate,
        step,
    )


@pytest.mark.parametrize(
    "name", ["a.test:0", "a.test:99999", "", "a b", "a.test:port", "ä.test", "a.test\u200b", "x" * 300]
)
async def test_names_that_are_none_lead_nowhere(name: str) -> None:
    """T-A20"""
    network = FakeNetwork()
    with pytest.raises(NotFound):
        await discovery_in(network).places(ServerName(name))
    assert network.asked == []


async def test_a_root_target_says_no() -> None:
    network = FakeNetwork(records={"_matrix-fed._tcp.a.test": [Service("", 0, 0, 0, 300)]})
    with pytest.raises(NotFound):
        await discovery_in(network).places(ServerName("a.test"))


async def test_services_are_tried_by_priority() -> None:
    records = {"_matrix-fed._tcp.a.test": [Service("second.test", 1, 20, 0, 60), Service("first.test", 1, 10, 0, 60)]}
    places = await discovery_in(FakeNetwork(records=records)).places(ServerName("a.test"))
    assert [place.host for place in places] == ["first.test", "second.test"]


async def test_pages_are_asked_again_when_their_time_is_over() -> None:
    clock, network = FakeClock(), FakeNetwork({"a.test": delegating("b.test:1", **{"Cache-Control": "max-age=3600"})})
    discovery = discovery_in(network, clock)
    for seconds, times in ((0, 1), (600, 1), (3600, 2), (1, 2)):
        clock.advance(seconds)
        await discovery.places(ServerName("a.test"))
        assert len(network.asked) == times


async def test_faults_are_remembered_for_longer_and_longer() -> None:
    """T-L9: who has no page isn't asked for it with every request."""
    clock, network = FakeClock(), FakeNetwork()
    discovery = discovery_in(network, clock)
    pages = 0
    for _ in range(240):
        clock.advance(60)
        await discovery.places(ServerName("a.test"))
        pages = sum("well-known" in asked for asked in network.asked)
    assert 6 <= pages <= 14


async def test_a_name_that_was_right_outlives_a_short_outage() -> None:
    clock, network = FakeClock(), FakeNetwork({"a.test": delegating("b.test:1", **{"Cache-Control": "max-age=600"})})
    discovery = discovery_in(network, clock)
    await discovery.places(ServerName("a.test"))
    network.pages.clear()
    clock.advance(3600)
    assert (await discovery.places(ServerName("a.test")))[0].host == "b.test"
    clock.advance(CACHED_MAX_S)
    assert (await discovery.places(ServerName("a.test")))[0].host == "a.test"


async def test_silent_name_servers_are_no_reason_to_fail() -> None:
    place = (await discovery_in(FakeNetwork(dns_down=True)).places(ServerName("a.test")))[0]
    assert (place.host, place.port) == ("a.test", 8448)


@given(st.dictionaries(st.sampled_from(["Cache-Control", "Expires"]), st.text(max_size=40)))
def test_any_header_gives_a_bounded_time(headers: dict[str, str]) -> None:
    """T-L9: fuzzing."""
    assert CACHED_MIN_S <= cached_s(headers, 1_800_000_000_000) <= CACHED_MAX_S


@pytest.mark.parametrize(
    "value", ["max-age=0", "max-age=99999999999999", "no-store", "max-age=-5", "private, max-age=1"]
)
def test_bounds_of_the_cache(value: str) -> None:
    assert CACHED_MIN_S <= cached_s({"Cache-Control": value}, 0) <= CACHED_MAX_S


@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=80).map(lambda name: json.dumps({"m.server": name}).encode()))
)
def test_any_page_gives_a_name_or_one_error(body: bytes) -> None:
    """T-L9: fuzzing of `.well-known` bodies."""
    try:
        host, port = split(parse_well_known(body))
    except ValueError:
        return
    assert host and (port is None or 1 <= port <= 65_535)
