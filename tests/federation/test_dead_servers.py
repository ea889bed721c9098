"""Servers that are gone: what they cost those that live, who is in a room with a thousand of them or comes into one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from federation.client import ClientSettings, FederationClient, Unreachable
from federation.discovery import Place
from federation.outbound import pacing
from federation.outbound.deliveries import Deliveries
from federation.reachability import Reachability
from federation.server_access import ServerAccess
from homeserver.core.identifiers import ServerName
from homeserver.runtime.ids import SystemRandomness
from homeserver.runtime.tasks import Tasks
from homeserver.web.outgoing import Outgoing, OutgoingError, OutgoingStream
from tests.federation.test_sender import room_with
from tests.kit.authority import Authority
from tests.kit.clock import FakeClock, WrongClock, passing
from tests.kit.federation import federated_server, signer_of
from tests.kit.network import Network
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import PeerRoom
from tests.kit.ports import free_port
from tests.kit.postgres import PostgresForTests
from tests.kit.server import RunningServer
from tests.kit.until import until

# So that all are tried twice within a test; the real figure is measured by `python -m bench hostile_servers`.
FASTER = 200


class _Graveyard(Network):
    """Nobody answers whose name ends so; who is asked is counted."""

    def __init__(self) -> None:
        super().__init__(0)
        self.tried = 0

    async def pass_on(self, own: str, other: str) -> int:
        if other.endswith(".dead.test:1"):
            self.tried += 1
            return 0
        return 1


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


def dead(count: int) -> list[ServerName]:
    return [ServerName(f"s{number}.dead.test:1") for number in range(count)]


@pytest.mark.slow
async def test_a_thousand_dead_servers_hold_up_nobody(
    postgres: PostgresForTests, authority: Authority, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E14, T-E15: they are tried a few at a time and then less and less often, whoever has answered gets its events
    meanwhile, and what waits for them is a place in the log each."""
    monkeypatch.setattr(pacing, "PER_SECOND", FASTER)
    network = _Graveyard()
    async with postgres.fresh() as dsn, federated_server(dsn, authority, network=network) as here:
        began = time.monotonic()
        alice, room_id = await room_with(here, *dead(1000), peer.name)
        assert here.hansa.federation is not None and here.hansa.outbound is not None
        reachability, deliveries = here.hansa.federation.reachability, here.hansa.outbound.deliveries
        reachability.reached(peer.name)
        for number in range(20):
            await alice.send(room_id, f"number {number}")
        await peer.until(lambda: len(peer.pdus) == 20)
        assert network.tried <= FASTER * (time.monotonic() - began) + 1

        async def all_known_dead() -> bool:
            return all((found := reachability.outage(name)) is not None and found.failures > 1 for name in dead(1000))

        await until(all_known_dead, within_s=300)
        assert network.tried <= FASTER * (time.monotonic() - began) + 1
        for number in range(20, 40):
            await alice.send(room_id, f"number {number}")
        await peer.until(lambda: len(peer.pdus) == 40)
        assert [pdu["content"]["body"] for pdu in peer.pdus] == [f"number {number}" for number in range(40)]
        assert network.tried <= FASTER * (time.monotonic() - began) + 1

        async def is_place_in_the_log_each() -> bool:
            return deliveries.queued() == 0 and set(deliveries.lagging()) == set(dead(1000))

        await until(is_place_in_the_log_each, within_s=60)
        assert deliveries.waiting() == 1000


class _Nobody:
    """The way to servers of which none answers."""

    server_name = ServerName("here.test")

    def __init__(self, reachability: Reachability) -> None:
        self._reachability = reachability

    async def put(self, server: ServerName, *_: Any, **__: Any) -> None:
        self._reachability.failed(server, "nobody is there")
        raise Unreachable(server, "nobody is there")


async def test_receipts_wait_for_nobody_who_is_gone_for_long() -> None:
    """T-E15: for an hour they do; then nothing in memory waits for the server, whatever else is read."""
    clock = FakeClock()
    reachability = Reachability(None, clock, SystemRandomness())  # type: ignore[arg-type]
    deliveries = Deliveries(_Nobody(reachability), reachability, None, clock, Tasks(clock))  # type: ignore[arg-type]

    def read(number: int) -> None:
        deliveries.add_edu(dead(20), ("receipt", number), {"edu_type": "m.receipt", "content": {}}, lasting=True)

    async def let_pass() -> None:
        while True:
            await deliveries.run()

    async def all_gone() -> bool:
        read(3)
        return deliveries.waiting() == 0

    read(1)
    passing_on = asyncio.create_task(let_pass())
    async with passing(clock, 60):
        await until(lambda: seconds_have_passed(clock, 1_800))
        read(2)
        assert deliveries.waiting() == 20
        await until(all_gone)
    passing_on.cancel()


async def seconds_have_passed(clock: FakeClock, seconds: float) -> bool:
    return clock.monotonic_s() >= seconds


async def test_who_is_known_to_be_dead_is_asked_last(here: RunningServer, peer: Peer) -> None:
    """More dead candidates than are ever tried, named before the living one, keep nobody out of a room."""
    alice, room = await here.user("alice"), PeerRoom(peer)
    assert here.hansa.federation is not None
    for name in dead(12):
        here.hansa.federation.reachability.failed(name, "a test")
    room.answer_joins(alice.user_id)
    query = "&".join(f"via={name}" for name in [*dead(12), peer.name])
    (await alice.post(f"/join/{{}}?{query}", room.room_id)).ok()


@pytest.mark.slow
async def test_a_clock_that_was_ahead_keeps_nobody_away(
    postgres: PostgresForTests, authority: Authority, peer: Peer
) -> None:
    """T-O13: a server that failed while our clock was a year ahead is tried again soon after it is right."""
    clock = WrongClock()
    async with postgres.fresh() as dsn, federated_server(dsn, authority, clock=clock) as here:
        alice, room_id = await room_with(here, peer.name)
        assert here.hansa.federation is not None
        clock.ahead_s = 365 * 86_400
        here.hansa.federation.reachability.failed(peer.name, "a test")
        await alice.send(room_id, "while it is ahead")
        clock.ahead_s = 0
        await alice.send(room_id, "while it is right")
        await peer.until(lambda: [pdu["content"].get("body") for pdu in peer.pdus][-1:] == ["while it is right"])


async def test_waits_outlive_a_restart(database_dsn: str, authority: Authority) -> None:
    """T-E14: who was down before isn't asked sooner for it; and who asks something itself is up."""
    port, peer_port = free_port(), free_port()
    name = ServerName(f"localhost:{peer_port}")
    async with federated_server(database_dsn, authority, port=port) as server:
        assert server.hansa.federation is not None
        reachability = server.hansa.federation.reachability
        before = reachability.failed(name, "a test")
        await reachability.save()
    async with (
        running_peer(authority, port=peer_port) as peer,
        federated_server(database_dsn, authority, port=port) as server,
    ):
        assert server.hansa.federation is not None
        reachability = server.hansa.federation.reachability
        assert reachability.outage(name) == before
        bob = await server.user("bob")
        (await bob.get("/directory/room/{}", f"#x:{name}")).refused(404, "M_NOT_FOUND")
        if server.hansa.world.clock.now_ms() < before.retry_at_ms:
            assert not [path for _, path, _ in peer.asked if "/directory" in path]
        # Its key isn't known yet: that is asked for although it was down.
        asked = await peer.ask(
            "GET", server.hansa.config.server_name, "/_matrix/federation/v1/query/profile?user_id=@x:y"
        )
        assert asked.status != 401 and reachability.outage(name) is None


class _Places:
    """Two places, as two SRV records name them."""

    async def places(self, name: ServerName) -> list[Place]:
        return [Place(host, 8448, name, name, "4") for host in ("gone.test", "here.test")]

    def forget(self, name: ServerName) -> None: ...


class _Way:
    def __init__(self) -> None:
        self.tried: list[str] = []

    @asynccontextmanager
    async def stream(self, method: str, url: str, *, connect_to: Any, **_: Any) -> AsyncIterator[OutgoingStream]:
        self.tried.append(connect_to[0])
        if connect_to[0] == "gone.test":
            raise OutgoingError("unreachable", "nobody is there")

        async def pieces() -> AsyncIterator[bytes]:
            yield b"picture"

        yield OutgoingStream(200, {}, pieces(), url)


async def test_files_come_from_the_second_place_too() -> None:
    """As other requests: a name with several SRV records is up while one of them is."""
    clock, way = FakeClock(), _Way()
    reachability = Reachability(None, clock, SystemRandomness())  # type: ignore[arg-type]
    access = ServerAccess(ServerName("own.test"), allow=None)
    outgoing: Outgoing = way  # type: ignore[assignment]
    client = FederationClient(outgoing, _Places(), reachability, access, signer_of("own.test"), ClientSettings())  # type: ignore[arg-type]
    name = ServerName("two.test")
    async with client.download(name, "/x", timeout_s=5, response_bytes_max=100) as answer:
        assert [piece async for piece in answer.pieces] == [b"picture"]
    assert way.tried == ["gone.test", "here.test"]
    assert reachability.outage(name) is None
