"""HTTP between servers without a network: bytes from a client into a server's own parser, and back, in virtual time.

What is lost, late, doubled, out of order or cut off comes from a seed. `trace` says what went where and when.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeserver.web.outgoing import OutgoingAnswer, OutgoingError, OutgoingStream
from tests.simulation.virtual_loop import VirtualLoop

Stranger = Callable[[str, str, bytes | None], Awaitable["Reply"]]


@dataclass
class Weather:
    """How bad it is. Chances from 0 to 1, delays in seconds of virtual time."""

    lost: float = 0.0
    unanswered: float = 0.0  # arrives, and the answer is lost
    repeated: float = 0.0
    delay_s: float = 0.0
    parted: set[frozenset[str]] = field(default_factory=set)


class _Wire(asyncio.Transport):
    """The server's end of a connection: keeps what the server says."""

    def __init__(self) -> None:
        super().__init__()
        self.said = bytearray()
        self.changed = asyncio.Event()
        self.is_closed = False
        self.is_cut = False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.said += data
        self.changed.set()

    def writelines(self, parts: Any) -> None:
        for part in parts:
            self.write(part)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.changed.set()
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


async def exchange(
    loop: VirtualLoop,
    port: int,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | None,
    network: VirtualNetwork,
) -> Reply:
    """One request to whoever listens at a port. Raises ConnectionError where nobody does, or it hangs up."""
    factory = loop.listening.get(port)
    if factory is None:
        raise ConnectionRefusedError(f"nobody listens at {port}")
    wire, protocol = _Wire(), factory()
    wire.protocol = protocol
    network.wires.setdefault(port, []).append(wire)
    protocol.connection_made(wire)
    sent = {"Host": "localhost", **headers, "Connection": "close"}
    if body is not None or method in ("PUT", "POST"):
        sent["Content-Length"] = str(len(body or b""))
    head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    protocol.data_received(head.encode() + b"\r\n" + (body or b""))
    try:
        while not wire.is_closed:
            wire.changed.clear()
            if wire.is_cut:
                break
            if (reply := _parsed(bytes(wire.said), whole=False)) is not None:
                return reply
            await wire.changed.wait()
        reply = _parsed(bytes(wire.said), whole=True)
        if reply is None or wire.is_cut:
            raise ConnectionResetError("it hung up")
        return reply
    finally:
        network.wires[port].remove(wire)
        wire.close()


def _parsed(said: bytes, *, whole: bool) -> Reply | None:
    head, ended, rest = said.partition(b"\r\n\r\n")
    if not ended:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().title()] = value.strip()
    status = int(first.split()[1])
    if "Content-Length" in headers:
        length = int(headers["Content-Length"])
        return Reply(status, headers, rest[:length]) if len(rest) >= length else None
    if headers.get("Transfer-Encoding", "").lower() == "chunked":
        body = _unchunked(rest)
        return Reply(status, headers, body) if body is not None else None
    return Reply(status, headers, rest) if whole or status in (204, 304) else None


def _unchunked(rest: bytes) -> bytes | None:
    body = bytearray()
    while True:
        size, ended, rest = rest.partition(b"\r\n")
        if not ended:
            return None
        length = int(size.split(b";")[0], 16)
        if length == 0:
            return bytes(body)
        if len(rest) < length + 2:
            return None
        body += rest[:length]
        rest = rest[length + 2 :]


class VirtualNetwork:
    """What lies between the servers of a world; names are `localhost:PORT`."""

    def __init__(self, loop: VirtualLoop, seed: int | str) -> None:
        self.loop = loop
        self.chance = random.Random(f"network {seed}")
        self.weather = Weather()
        self.trace: list[str] = []
        self.counts = {"sent": 0, "lost": 0, "unanswered": 0, "repeated": 0}
        self.wires: dict[int, list[_Wire]] = {}
        # Servers that aren't ours: who answers for each name.
        self.strangers: dict[str, Stranger] = {}

    def side_of(self, name: str) -> Side:
        return Side(self, name)

    def heal(self) -> None:
        self.weather = Weather()

    def hang_up(self, ports: Sequence[int]) -> None:
        """A server is no more: nobody listens at its ports, and whoever waits for an answer gets none."""
        for port in ports:
            self.loop.listening.pop(port, None)
            for wire in list(self.wires.get(port, ())):
                wire.is_cut = True
                wire.close()

    def note(self, what: str, *detail: object) -> None:
        """Writes down what must come again in every run of this seed."""
        self.trace.append(" ".join(map(str, (f"{self.loop.time():.6f}", what, *detail))))

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()

    async def carry(
        self, own: str, other: str, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Reply:
        """A request and its answer, or OutgoingError."""
        weather, chance = self.weather, self.chance
        self.counts["sent"] += 1
        digest = hashlib.sha256(body or b"").hexdigest()[:12]
        self.note("ask", own, other, method, target, digest)
        await asyncio.sleep(0.001 + chance.random() * weather.delay_s)
        if frozenset((own, other)) in weather.parted or chance.random() < weather.lost:
            self.counts["lost"] += 1
            raise OutgoingError("unreachable", "the network lost it")
        try:
            if chance.random() < weather.repeated:
                self.counts["repeated"] += 1
                await self._once(other, method, target, headers, body)
                await asyncio.sleep(chance.random() * weather.delay_s)
            reply = await self._once(other, method, target, headers, body)
        except ConnectionError as error:
            raise OutgoingError("unreachable", str(error)) from None
        await asyncio.sleep(0.001 + chance.random() * weather.delay_s)
        if chance.random() < weather.unanswered:
            self.counts["unanswered"] += 1
            raise OutgoingError("timeout", "the network lost the answer")
        self.note("answer", own, other, method, target, reply.status, hashlib.sha256(reply.body).hexdigest()[:12])
        return reply

    async def _once(
        self, other: str, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Reply:
        stranger = self.strangers.get(other)
        if stranger is not None:
            return await stranger(method, target, body)
        return await exchange(self.loop, int(other.rpartition(":")[2]), method, target, headers, body, self)


class Side:
    """The network as one server sees it. Implements `homeserver.web.outgoing.Outgoing`."""

    def __init__(self, network: VirtualNetwork, name: str) -> None:
        self._network = network
        self.name = name

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float,
        response_bytes_max: int,
        connect_to: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        redirects_max: int = 0,
    ) -> OutgoingAnswer:
        other, _, path = url.removeprefix("https://").partition("/")
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._network.carry(self.name, other, method, "/" + path, headers or {}, body)
        except TimeoutError:
            raise OutgoingError("timeout", "it took too long") from None
        if len(reply.body) > response_bytes_max:
            raise OutgoingError("too_large", "the answer is too large")
        return OutgoingAnswer(reply.status, reply.headers, reply.body, url)

    @contextlib.asynccontextmanager
    async def stream(self, method: str, url: str, **options: Any) -> AsyncIterator[OutgoingStream]:
        answer = await self.request(method, url, **options)

        async def pieces() -> AsyncIterator[bytes]:
            yield answer.body

        yield OutgoingStream(answer.status, answer.headers, pieces(), url)

    async def close(self) -> None: ...
