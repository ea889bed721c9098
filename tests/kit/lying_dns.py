"""A name server that answers each question with whatever a test says, in real packets."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

SRV, TXT = 33, 16
# From the whole question packet to the packets that answer it.
Answering = Callable[[bytes], list[bytes]]


def labels(name: str) -> bytes:
    parts = [part.encode("latin-1") for part in name.split(".") if part]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\x00"


def record(data: bytes, *, type: int = SRV, ttl: int = 300, length: int | None = None) -> bytes:
    """One answer for the name that was asked. `length` is what it says of itself, where that isn't so."""
    return b"\xc0\x0c" + struct.pack("!HHIH", type, 1, ttl, len(data) if length is None else length) + data


def service(host: str, port: int, *, priority: int = 0, weight: int = 0) -> bytes:
    return struct.pack("!HHH", priority, weight, port) + labels(host)


def reply(question: bytes, records: list[bytes], *, flags: int = 0x8180, count: int | None = None) -> bytes:
    """A packet with these records; `count` is how many it says that there are."""
    end = question.index(b"\x00", 12) + 5
    head = struct.pack("!HHHHH", flags, 1, len(records) if count is None else count, 0, 0)
    return question[:2] + head + question[12:end] + b"".join(records)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        for packet in self._answering(data):
            self._transport.sendto(packet, addr)


@asynccontextmanager
async def lying_dns(answering: Answering) -> AsyncIterator[str]:
    """Its address, as `SystemDns` takes it."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(answering), local_addr=("127.0.0.1", 0))
    try:
        yield "127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])
    finally:
        transport.close()
