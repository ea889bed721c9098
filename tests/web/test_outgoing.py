"""The guarded client: where it connects, whom it believes, and what it takes."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.config import Config
from homeserver.web.addresses import AddressFilter
from homeserver.web.outgoing import OutgoingAnswer, OutgoingClient, OutgoingError, OutgoingLimits
from tests.kit.authority import Authority
from tests.kit.canned import answer, canned

DENIED = Config().federation.deny_ip_ranges
# The registries of special-purpose addresses (RFC 6890), multicast, and what was never given out.
_SPECIAL = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24
    192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 255.255.255.255/32
    ::/128 ::1/128 ::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16
    4000::/2 8000::/2 c000::/3 e000::/4 fc00::/7 fe80::/10 fec0::/10 ff00::/8
""".split()


async def get(client: OutgoingClient, url: str, **options: Any) -> OutgoingAnswer:
    return await client.request("GET", url, **{"timeout_s": 5.0, "response_bytes_max": 1000, **options})


async def reason(client: OutgoingClient, url: str, **options: Any) -> str:
    with pytest.raises(OutgoingError) as caught:
        await get(client, url, **options)
    return caught.value.reason


@pytest.fixture
async def client() -> AsyncIterator[OutgoingClient]:
    """One that may reach this machine."""
    made = OutgoingClient(AddressFilter(deny=DENIED, allow=["127.0.0.0/8", "::1/128"]))
    yield made
    await made.close()


@pytest.fixture
async def guarded() -> AsyncIterator[OutgoingClient]:
    made = OutgoingClient(AddressFilter(deny=DENIED))
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
        ("2002:0a00:0001::1", False),
        ("64:ff9b::10.0.0.1", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("::127.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("64:ff9b:1::10.0.0.1", False),
        ("100:0:0:1::1", False),
        ("3fff::1", False),
        ("5f00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("example.org", False),
        ("2130706433", False),
    ],
)
def test_private_and_special_addresses_are_denied(address: str, allowed: bool) -> None:
    """T-L1, T-L2, T-L3, T-K20: by default, in every spelling."""
    assert AddressFilter(deny=DENIED).is_allowed(address) is allowed


def test_what_is_not_of_the_internet_is_denied() -> None:
    """T-K20: at both ends and in the middle of every network that has a name."""
    chosen = AddressFilter(deny=DENIED)
    for text in _SPECIAL:
        network = ipaddress.ip_network(text)
        for number in (0, network.num_addresses // 2, network.num_addresses - 1):
            assert not chosen.is_allowed(str(network[number])), network[number]


@pytest.mark.parametrize("carrier", ["64:ff9b::", "64:ff9b:1::", "::ffff:0:", "::"])
def test_no_exception_opens_what_an_address_carries(carrier: str) -> None:
    """T-L2: also where all of IPv6 is let through."""
    chosen = AddressFilter(deny=DENIED, allow=["::/0"])
    assert chosen.is_allowed(carrier + "8.8.8.8") and not chosen.is_allowed(carrier + "10.0.0.1")
    assert chosen.is_allowed("::1")


def test_an_exception_does_not_open_what_it_carries() -> None:
    """T-L2: whoever allows NAT64 allows the internet behind it, and still not the private networks behind it."""
    chosen = AddressFilter(deny=DENIED, allow=["64:ff9b::/96"])
    assert chosen.is_allowed("64:ff9b::8.8.8.8")
    assert not chosen.is_allowed("64:ff9b::10.0.0.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433"])
async def test_nothing_connects_to_a_denied_address(guarded: OutgoingClient, host: str) -> None:
    """T-L1, T-L2, T-L4: whether by name or literal, the socket is never made."""
    async with canned(lambda _: answer()) as server:
        assert await reason(guarded, f"http://{host}:{server.port}/") in ("refused_address", "unreachable")
        assert server.heard == []


@pytest.mark.parametrize("port", [22, 25, 6379, 6667])
async def test_ports_of_other_protocols_are_refused(client: OutgoingClient, port: int) -> None:
    """T-E17, T-L1: mail servers and the like get no bytes from us, also where a name's SRV record leads there."""
    assert await reason(client, f"http://127.0.0.1:{port}/") == "refused_address"
    assert await reason(client, "http://a.test/", connect_to=("127.0.0.1", port)) == "refused_address"


async def test_the_address_that_is_connected_to_is_the_one_checked(
    guarded: OutgoingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-L6: a name that changes its address between two lookups gains nothing."""
    answers = iter(["93.184.216.34", "127.0.0.1"])
    asked: list[str] = []

    async def rebind(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers, "127.0.0.1"), port))]

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", rebind)
    async with canned(lambda _: answer()) as server:
        url = f"http://rebind.test:{server.port}/"
        await reason(guarded, url, timeout_s=0.2)
        await reason(guarded, url, timeout_s=0.2)
        assert asked
        assert server.heard == []


async def test_redirects_are_not_followed_unless_asked(client: OutgoingClient) -> None:
    """T-L7"""
    async with canned(lambda _: answer(b"", "Location: /elsewhere", status=302)) as server:
        assert (await get(client, f"http://127.0.0.1:{server.port}/")).status == 302
        assert len(server.heard) == 1


async def test_followed_redirects_are_bounded_and_carry_no_credentials(client: OutgoingClient) -> None:
    """T-L7"""
    async with canned(lambda _: answer(b"", "Location: /again", status=302)) as server:
        headers = {"Authorization": "Bearer secret", "Cookie": "a=b", "X-Other": "kept"}
        await get(client, f"http://127.0.0.1:{server.port}/", headers=headers, redirects_max=3)
        assert len(server.heard) == 4
        assert "secret" in server.heard[0]
        assert not any("secret" in head or "a=b" in head for head in server.heard[1:])
        assert "kept" in server.heard[3]


async def test_redirects_to_denied_places_are_refused(client: OutgoingClient) -> None:
    """T-K4, T-L3, T-L7: each hop is checked as the first was; other schemes are nothing to us."""
    for target in ("http://10.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/"):
        async with canned(lambda _, to=target: answer(b"", f"Location: {to}", status=301)) as server:  # type: ignore[misc]
            assert await reason(client, f"http://127.0.0.1:{server.port}/", redirects_max=2) in (
                "refused_address",
                "unreachable",
            )


@pytest.mark.parametrize(
    "said",
    [
        answer(b"x" * 1001),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" + b"x" * 2048 + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 5000,
        answer(b"", "X-Long: " + "x" * 20_000),
        answer(b"", *[f"X-{number}: y" for number in range(200)]),
        b"no HTTP at all\r\n\r\n",
    ],
    ids=["length", "chunked", "no length", "one long header", "many headers", "not http"],
)
async def test_answers_have_bounds(client: OutgoingClient, said: bytes) -> None:
    """T-L9"""
    async with canned(lambda _: said, hangs=True) as server:
        assert await reason(client, f"http://127.0.0.1:{server.port}/") == "too_large"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"], ids=["head", "body"])
async def test_answers_have_a_time(client: OutgoingClient, said: bytes) -> None:
    """T-L9: also when the body stops half-way."""
    async with canned(lambda _: said, hangs=True) as server:
        assert await reason(client, f"http://127.0.0.1:{server.port}/", timeout_s=0.1) == "timeout"


async def test_the_certificate_is_that_of_the_name(tmp_path: Path) -> None:
    """T-L8: trusted authority and right name, or no request at all."""
    authority = Authority(tmp_path)
    filter_ = AddressFilter(deny=DENIED, allow=["127.0.0.0/8"])
    knows, stranger = OutgoingClient(filter_, ca_path=authority.ca_path), OutgoingClient(filter_)
    async with canned(lambda _: answer(b"hello"), tls=authority.server_context("right.test")) as server:
        place = ("127.0.0.1", server.port)
        got = await get(knows, "https://right.test/x", connect_to=place)
        assert got.body == b"hello"
        assert "Host: right.test\r\n" in server.heard[0]
        delegated = await get(knows, "https://other.test/x", connect_to=place, server_hostname="right.test")
        assert delegated.status == 200
        assert "Host: other.test\r\n" in server.heard[1]
        # The connection that stands open was made for another name.
        assert await reason(knows, "https://other.test/x", connect_to=place) == "tls"
        assert await reason(stranger, "https://right.test/x", connect_to=place) == "tls"
        assert len(server.heard) == 2
    await knows.close()
    await stranger.close()


async def test_one_host_does_not_get_all_connections() -> None:
    """T-L9: what waits for a slow host waits behind its own bound."""
    limits = OutgoingLimits(connections_per_host_max=2)
    client = OutgoingClient(AddressFilter(deny=[], allow=[]), limits=limits)
    async with canned(lambda _: b"", hangs=True) as slow, canned(lambda _: answer()) as quick:
        waiting = [asyncio.create_task(get(client, f"http://127.0.0.1:{slow.port}/", timeout_s=0.3)) for _ in range(5)]
        assert (await get(client, f"http://127.0.0.1:{quick.port}/")).status == 200
        assert len(slow.heard) <= 2
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, OutgoingError) and error.reason == "timeout" for error in ended)
    await client.close()


async def test_no_answer_is_one_kind_of_error(client: OutgoingClient) -> None:
    async with canned(lambda _: b"") as server:
        port = server.port
    for url in (f"http://127.0.0.1:{port}/", "http://does-not-exist.invalid/", "http://[::1/", "ftp://x/", "http://"):
        assert await reason(client, url) == "unreachable"


async def test_no_proxy_of_the_environment_is_used(client: OutgoingClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-L5: what a proxy connects to is past our filter; so the target itself is looked at, and reached, always."""
    async with canned(lambda head: answer(b"target")) as target, canned(lambda head: answer(b"proxy")) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert (await get(client, f"http://127.0.0.1:{target.port}/")).body == b"target"
        assert await reason(client, "http://10.1.2.3/push") == "refused_address"
        assert proxy.heard == []
