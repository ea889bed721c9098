"""What pages and name servers say of where a server is, as lies over real connections: bounded in bytes and time."""

from __future__ import annotations

import asyncio
import json
import random
import struct
import time
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from federation import discovery
from federation.discovery import Discovery, WellKnown
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.ids import SystemRandomness
from homeserver.web import dns
from homeserver.web.addresses import AddressFilter
from homeserver.web.dns import DnsFault, SystemDns
from homeserver.web.outgoing import Outgoing, OutgoingAnswer, OutgoingClient, OutgoingError, OutgoingStream
from tests.federation.test_discovery import FakeNetwork
from tests.kit.authority import Authority
from tests.kit.lying_dns import TXT, lying_dns, record, reply, service
from tests.kit.mutations import mutated
from tests.kit.odd_peer import Behaviour, answering, break_off, dribble, hang, odd_peer, trickle

PATIENCE_S = 1.0
# What the sockets of both sides hold of a stream that nobody reads on.
BUFFERS_BYTES = 16 * 1024 * 1024


class AtPort:
    """The guarded client, for which the port of https is another one."""

    def __init__(self, port: int, client: OutgoingClient) -> None:
        self._port = port
        self._client = client

    async def request(self, method: str, url: str, **options: Any) -> OutgoingAnswer:
        return await self._client.request(method, url, **{**options, "connect_to": ("127.0.0.1", self._port)})

    def stream(self, method: str, url: str, **options: Any) -> AbstractAsyncContextManager[OutgoingStream]:
        return self._client.stream(method, url, **options)

    async def close(self) -> None:
        await self._client.close()


async def told(authority: Authority, behaviour: Behaviour) -> WellKnown:
    """What a page comes to whose server behaves so, over TLS; it must come to something in time."""
    async with odd_peer(authority, behaviour) as peer:
        client = OutgoingClient(AddressFilter(deny=[]), ca_path=authority.ca_path)
        outgoing: Outgoing = AtPort(int(peer.name.rpartition(":")[2]), client)
        try:
            asked = Discovery(outgoing, FakeNetwork(), SystemClock(), SystemRandomness())
            async with asyncio.timeout(10 * PATIENCE_S):
                return await asked.well_known("localhost")
        finally:
            await outgoing.close()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "WELL_KNOWN_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr(dns, "_WAIT_S", PATIENCE_S / 2)


def raw(text: bytes) -> Behaviour:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return write


@pytest.mark.slow
async def test_any_page_over_the_wire_comes_to_something(authority: Authority) -> None:
    """T-L9: bodies, heads and lengths that are mutated, whole answers with bytes changed."""
    chance = random.Random(3)
    good = {"m.server": "b.test:443", "m.homeserver": {"base_url": "https://x"}}
    right = json.dumps(good).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\n"
    assert (await told(authority, answering("200 OK", right))).delegated == "b.test:443"
    for number in range(80):
        body = json.dumps(mutated(good, chance)).encode() if number % 2 else bytearray(right)
        whole = bytearray(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        if number % 2 == 0:
            for _ in range(chance.randint(1, 8)):
                whole[chance.randrange(len(whole))] = chance.randrange(256)
        found = await told(authority, raw(bytes(whole)))
        assert (found.delegated is None) == (found.fault is not None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "behaviour",
    [
        hang, trickle, dribble, break_off,
        answering("200 OK", b"[" * 50_000),
        answering("200 OK", b'{"m.server":' * 4_000),
        answering("200 OK", b'{"m.server":"b.test"}', headers="X: y\r\n" * 5_000),
        answering("200 OK", b'{"m.server":"b.test"}', headers=f"X: {'y' * 100_000}\r\n"),
        answering("200 OK", b"\x1f\x8b" + b"\x00" * 1_000, headers="Content-Encoding: gzip\r\n"),
        answering("302 Found", b"", headers="Location: https://localhost/.well-known/matrix/server\r\n"),
        answering("302 Found", b"", headers="Location: http://localhost/\r\n"),
        answering("302 Found", b"", headers="Location: //[\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
        raw(b"HTTP/1.1 999999 \x00\r\n\r\n"), raw(b"\x00" * 100_000), raw(b""),
    ],
)  # fmt: skip
async def test_pages_that_are_none(authority: Authority, behaviour: Behaviour) -> None:
    """T-L9, T-E8: silence, slowness, depth, floods of headers, circles, no HTTP: a fault, and in time."""
    found = await told(authority, behaviour)
    assert found.delegated is None and found.fault


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_a_page_without_end_is_not_read_on(authority: Authority, framing: str) -> None:
    """T-L9: 50 KiB are read and no more."""
    sent = 0
    piece = b" " * 65_536

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        more = "Transfer-Encoding: chunked" if framing == "chunked" else "Connection: close"
        writer.write(f"HTTP/1.1 200 OK\r\n{more}\r\n\r\n".encode())
        while sent < 20 * BUFFERS_BYTES:
            writer.write(b"10000\r\n" + piece + b"\r\n" if framing == "chunked" else piece)
            await writer.drain()
            sent += len(piece)

    found = await told(authority, endless)
    assert found.delegated is None and found.fault
    assert sent < BUFFERS_BYTES


@pytest.mark.slow
async def test_any_answer_of_a_name_server_is_survived() -> None:
    """T-L9, T-E16: SRV answers that are mutated packets, and lies that are well-formed, by UDP as it is."""
    chance = random.Random(5)
    lies: list[Any] = [
        lambda asked: [],
        lambda asked: [b""],
        lambda asked: [asked],
        lambda asked: [reply(asked, [record(service("a.test", 1))], count=65_535)],
        lambda asked: [reply(asked, [record(service("a.test", 1), length=60_000)])],
        lambda asked: [reply(asked, [record(struct.pack("!HHH", 0, 0, 1) + b"\xc0\x0c\xc0")])],
        lambda asked: [reply(asked, [record(b"\xff" * 6 + b"\xc0\xff")])],
        lambda asked: [reply(asked, [record(struct.pack("!HHH", 0, 0, 1) + b"\x05\xff\x00\x0a\x0d.\x00")])],
        lambda asked: [reply(asked, [record(service("a.test", 0), ttl=2**32 - 1)])],
        lambda asked: [reply(asked, [record(b"x" * 200, type=TXT)])],
        lambda asked: [reply(asked, [record(service(f"h{n}.test", n)) for n in range(1_000)])],
        lambda asked: [reply(asked, [], flags=0x8182)],
        lambda asked: [reply(asked, [record(service("a.test", 1))])[2:]] * 50,
    ]
    said = lies[:1]

    async with lying_dns(lambda asked: said[0](asked)) as address:
        names = SystemDns([address])
        client = OutgoingClient(AddressFilter(deny=["0.0.0.0/0", "::/0"]))

        def changed(asked: bytes) -> list[bytes]:
            packet = bytearray(reply(asked, [record(service("a.test", 8_448)), record(service("b.test", 1))]))
            for _ in range(chance.randint(1, 6)):
                packet[chance.randrange(2, len(packet))] = chance.randrange(256)
            return [bytes(packet[: chance.randint(12, len(packet))])]

        try:
            said[0] = lambda asked: [reply(asked, [record(service("a.test", 8_448))])]
            assert [(one.host, one.port) for one in await names.services("_matrix._tcp.a.test")] == [("a.test", 8_448)]
            for lie in [*lies, *[changed] * 40]:
                said[0] = lie
                began = time.monotonic()
                try:
                    found = await names.services(f"_matrix-fed._tcp.n{chance.randrange(10**9)}.test")
                except DnsFault:
                    found = []
                assert time.monotonic() - began < 10 * PATIENCE_S and len(found) <= 20
                assert all(0 <= one.port <= 65_535 and isinstance(one.host, str) for one in found)
                for one in found[:1]:
                    with pytest.raises(OutgoingError):
                        way: dict[str, Any] = {
                            "connect_to": (one.host, one.port),
                            "timeout_s": PATIENCE_S,
                            "response_bytes_max": 9,
                        }
                        await client.request("GET", "https://n.test/", **way)
        finally:
            await names.close()
            await client.close()
