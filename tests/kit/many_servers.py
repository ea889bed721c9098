"""Many servers in one process: each has a name and a key of its own, and all listen at one port.

`python -m tests.kit.many_servers` plays them beside the server that is tested: it reads what to do, a line of JSON at a
time, and answers each with a line.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import structlog

from federation.keys.documents import own_document
from federation.request_signing import authorization_header
from homeserver.core import canonical_json
from homeserver.core.errors import NotFound
from homeserver.core.events import Event, parse_pdu, references, sign_event
from homeserver.core.identifiers import EventId, ServerName
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.metrics import Metrics
from homeserver.web.addresses import AddressFilter
from homeserver.web.endpoint import Access, Json, Request, endpoint
from homeserver.web.outgoing import Outgoing, OutgoingAnswer, OutgoingClient, OutgoingStream
from homeserver.web.rate_limits import RateLimiter
from homeserver.web.server import WebLimits, WebServer
from tests.kit.authority import Authority
from tests.kit.federation import signer_of
from tests.kit.network import Network
from tests.kit.pace import at_rate

SUFFIX = "many.example"
V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"
_VERSION = ROOM_VERSIONS["11"]
_NOWHERE = EventId("$" + "A" * 43)


def name_of(number: int, port: int) -> ServerName:
    return ServerName(f"s{number}.{SUFFIX}:{port}")


class HostsMap(Network):
    """A network in which all names of these servers are one port of this machine."""

    def __init__(self, port: int) -> None:
        super().__init__(0)
        self.port = port

    def side_of(self, name: str, way_out: Outgoing) -> Outgoing:
        return _Mapped(self.port, way_out)


class _Mapped:
    def __init__(self, port: int, way_out: Outgoing) -> None:
        self._port = port
        self._way_out = way_out

    async def request(self, method: str, url: str, **options: Any) -> OutgoingAnswer:
        return await self._way_out.request(method, url, **self._led(url, options))

    def stream(self, method: str, url: str, **options: Any) -> AbstractAsyncContextManager[OutgoingStream]:
        return self._way_out.stream(method, url, **self._led(url, options))

    async def close(self) -> None:
        await self._way_out.close()

    def _led(self, url: str, options: Mapping[str, Any]) -> dict[str, Any]:
        host = url.split("/")[2].partition(":")[0]
        if not host.endswith(SUFFIX):
            return dict(options)
        return {**options, "connect_to": ("127.0.0.1", self._port), "server_hostname": host}


class ManyServers:
    """What other servers ask of these, and what each does to `target`."""

    def __init__(self, count: int, port: int, target: str, outgoing: Outgoing) -> None:
        self._target = target
        self._outgoing = outgoing
        self._clock = SystemClock()
        self._signers = {name: signer_of(name) for name in (name_of(number, port) for number in range(count))}
        self._names = list(self._signers)
        # By server and room: its newest event, and what authorizes the next.
        self._places: dict[tuple[int, str], tuple[Event, list[EventId]]] = {}
        self._numbers = 0

    @endpoint("GET", "/_matrix/key/v2/server", access=Access.NONE, spec="server-server-api/#get_matrixkeyv2server")
    async def key(self, request: Request) -> Json:
        signer = self._signers.get(ServerName(request.headers.get("Host", "")))
        if signer is None:
            raise NotFound("there is no such server here")
        return own_document(signer, [], self._clock.now_ms() + 86_400_000)

    @endpoint(
        "PUT",
        "/_matrix/federation/v1/send/{txn_id}",
        access=Access.NONE,
        body_bytes_max=8 * 1024 * 1024,
        spec="server-server-api/#put_matrixfederationv1sendtxnid",
    )
    async def send(self, txn_id: str, body: Json) -> Json:
        return {"pdus": {}}

    async def invite(self, number: int, user_id: str, word: str) -> int:
        """Invites a user of the target to a room of this server's; the status."""
        name = self._names[number]
        room_id = f"!{word}:{name}"
        event = self._made(
            number, room_id, "m.room.member", {"membership": "invite"}, [_NOWHERE], [_NOWHERE], 5, user_id
        )
        stripped = [{"type": "m.room.create", "state_key": "", "sender": f"@bait:{name}", "content": {}}]
        body = {"room_version": _VERSION.id, "event": event.pdu, "invite_room_state": stripped}
        return (await self._ask(number, "PUT", f"{V2}/invite/{quote(room_id)}/{quote(event.event_id)}", body)).status

    async def join(self, number: int, room_id: str) -> int:
        """Has a user of this server join a room of the target's; the status of what refused, or 200."""
        user_id = quote(f"@bait:{self._names[number]}")
        asked = await self._ask(number, "GET", f"{V1}/make_join/{quote(room_id)}/{user_id}?ver={_VERSION.id}")
        if asked.status != 200:
            return asked.status
        template = {key: value for key, value in orjson.loads(asked.body)["event"].items() if key != "signatures"}
        event = sign_event(_VERSION, template, self._signers[self._names[number]])
        answer = await self._ask(number, "PUT", f"{V2}/send_join/{quote(room_id)}/{quote(event.event_id)}", event.pdu)
        if answer.status == 200:
            state = [parse_pdu(_VERSION, pdu) for pdu in orjson.loads(answer.body)["state"]]
            auth = [one.event_id for one in state if one.type in ("m.room.create", "m.room.power_levels")]
            self._places[number, room_id] = (event, [*auth, event.event_id])
        return answer.status

    async def say(self, number: int, room_id: str, content: Mapping[str, Any]) -> int:
        """Sends a message into a room that this server is in; the status of the transaction."""
        newest, auth = self._places[number, room_id]
        event = self._made(number, room_id, "m.room.message", content, [newest.event_id], auth, newest.depth + 1)
        self._places[number, room_id] = (event, auth)
        self._numbers += 1
        name = self._names[number]
        body = {"origin": name, "origin_server_ts": self._clock.now_ms(), "pdus": [event.pdu], "edus": []}
        return (await self._ask(number, "PUT", f"{V1}/send/{self._numbers}", body)).status

    def _made(
        self,
        number: int,
        room_id: str,
        type: str,
        content: Mapping[str, Any],
        prev: Sequence[EventId],
        auth: Sequence[EventId],
        depth: int,
        state_key: str | None = None,
    ) -> Event:
        name = self._names[number]
        pdu = {
            "type": type,
            "sender": f"@bait:{name}",
            "room_id": room_id,
            "content": dict(content),
            "depth": depth,
            "origin_server_ts": self._clock.now_ms(),
            "prev_events": references(_VERSION, [(one, "") for one in prev]),
            "auth_events": references(_VERSION, [(one, "") for one in auth]),
            **({"state_key": state_key} if state_key is not None else {}),
        }
        return sign_event(_VERSION, pdu, self._signers[name])

    async def _ask(self, number: int, method: str, path: str, body: Any = None) -> OutgoingAnswer:
        encoded = canonical_json.encode(body) if body is not None else None
        signer = self._signers[self._names[number]]
        headers = {
            "Authorization": authorization_header(signer, self._target, method, path, encoded),
            "Content-Type": "application/json",
        }
        return await self._outgoing.request(
            method,
            f"https://{self._target}{path}",
            headers=headers,
            body=encoded,
            timeout_s=60,
            response_bytes_max=50_000_000,
        )

    async def play(self, told: Mapping[str, Any]) -> dict[str, int]:
        """`do` is invite, join or say; `steps` has the arguments of each; how often each status was the answer."""
        acts: dict[str, Callable[..., Awaitable[int]]] = {"invite": self.invite, "join": self.join, "say": self.say}
        act = acts[told["do"]]
        steps = [partial(act, *step) for step in told["steps"]]
        return {str(status): n for status, n in Counter(await at_rate(steps, told["per_s"], at_once=4)).items()}


class Players:
    """The process, as the test sees it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self._port = port

    def user(self, number: int) -> str:
        return f"@bait:{name_of(number, self._port)}"

    async def play(self, do: str, steps: Sequence[Sequence[Any]], *, per_s: float) -> dict[str, int]:
        """As `ManyServers.play`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, "steps": list(steps), "per_s": per_s}).encode() + b"\n")
        await self._process.stdin.drain()
        answer: dict[str, int] = json.loads(await self.line())
        return answer

    async def line(self) -> bytes:
        """The next that it says."""
        assert self._process.stdout is not None
        async with asyncio.timeout(600):
            said = await self._process.stdout.readline()
        assert said, "the process of many servers has ended"
        return said


@asynccontextmanager
async def many_servers(authority: Authority, count: int, port: int, target: str) -> AsyncIterator[Players]:
    """So many servers, in a process of their own."""
    files = authority.server_files(f"*.{SUFFIX}")
    wish = json.dumps([count, port, target, str(authority.ca_path), *map(str, files)])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.kit.many_servers", wish,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
    )  # fmt: skip
    players = Players(process, port)
    try:
        await players.line()
        yield players
    finally:
        process.kill()
        await process.wait()


async def _main(count: int, port: int, target: str, ca_path: str, certificate: str, key: str) -> None:
    outgoing = OutgoingClient(AddressFilter(deny=[]), ca_path=Path(ca_path))
    quiet = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(wrapper_class=quiet, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    servers, clock = ManyServers(count, port, target, outgoing), SystemClock()
    web = WebServer(RateLimiter({}, clock), clock, Metrics(), limits=WebLimits(open_requests_per_user_max=10_000))
    web.add(servers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    await web.start([("127.0.0.1", port, context)])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while told := await asyncio.to_thread(sys.stdin.readline):
        sys.stdout.write(json.dumps(await servers.play(json.loads(told))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(*json.loads(sys.argv[1])))
