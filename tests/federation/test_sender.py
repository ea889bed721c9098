"""What our users do reaches the servers of the room: once each, in order, also after either side was away."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from federation.outbound.destination import QUEUE_MAX
from homeserver.core.identifiers import ServerName
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.foreign_members import join_foreign
from tests.kit.peer import Peer, running_peer
from tests.kit.ports import free_port
from tests.kit.server import Client, RunningServer

ROWS = "SELECT server_name, sent_position FROM lagging_servers"


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


async def room_with(server: RunningServer, *names: str) -> tuple[Client, str]:
    """Alice in a room of hers, with a member from each of these servers."""
    alice = await server.user("alice")
    room_id = await alice.create_room()
    await join_foreign(server, room_id, [f"@bob:{name}" for name in names])
    return alice, room_id


async def test_events_arrive_in_order_and_in_batches(here: RunningServer, peer: Peer) -> None:
    alice, room_id = await room_with(here, peer.name)
    sent = [await alice.send(room_id, f"number {number}") for number in range(60)]
    await peer.until(lambda: len(peer.pdus) == 60)
    assert [pdu["content"]["body"] for pdu in peer.pdus] == [f"number {number}" for number in range(60)]
    assert len(set(sent)) == 60
    for _, body in peer.transactions:
        assert body["origin"] == here.hansa.config.server_name
        assert len(body["pdus"]) <= 50
    assert len({txn_id for txn_id, _ in peer.transactions}) == len(peer.transactions)


async def test_nothing_is_sent_to_servers_outside_of_the_room(here: RunningServer, peer: Peer) -> None:
    alice, _ = await room_with(here, peer.name)
    private = await alice.create_room()
    await alice.send(private, "for us alone")
    shared = await alice.create_room()
    await join_foreign(here, shared, [f"@bob:{peer.name}"])
    await alice.send(shared, "for all")
    await peer.until(lambda: peer.pdus)
    assert [pdu["content"].get("body") for pdu in peer.pdus] == ["for all"]


async def test_who_is_kicked_hears_of_it_and_of_nothing_after(here: RunningServer, peer: Peer) -> None:
    alice, room_id = await room_with(here, peer.name)
    (await alice.post("/rooms/{}/kick", room_id, body={"user_id": f"@bob:{peer.name}"})).ok()
    await alice.send(room_id, "gone at last")
    other = await alice.create_room()
    await join_foreign(here, other, [f"@bob:{peer.name}"])
    await alice.send(other, "the end")
    await peer.until(lambda: any(pdu["content"].get("body") == "the end" for pdu in peer.pdus))
    assert [pdu["content"].get("membership", pdu["content"].get("body")) for pdu in peer.pdus] == ["leave", "the end"]


async def test_a_failed_transaction_comes_again_under_its_id(here: RunningServer, peer: Peer) -> None:
    alice, room_id = await room_with(here, peer.name)
    peer.fails = 500
    await alice.send(room_id, "patience")
    await peer.until(lambda: peer.asked)
    peer.fails = None
    assert here.hansa.federation is not None
    here.hansa.federation.reachability.reached(peer.name)
    await peer.until(lambda: peer.pdus)
    failed = [txn_id for kind, txn_id, _ in peer.asked if kind == "FAILED"]
    assert peer.transactions[0][0] == failed[0]


async def test_who_was_down_catches_up_when_heard_from(here: RunningServer, authority: Authority) -> None:
    """A row while it lags, none afterwards; back-off ends when the server asks something itself."""
    port = free_port()
    alice, room_id = await room_with(here, f"localhost:{port}")
    await alice.send(room_id, "missed 0")
    assert here.hansa.federation is not None and here.hansa.outbound is not None
    reachability, sender = here.hansa.federation.reachability, here.hansa.outbound.sender
    async with running_peer(authority) as probe:  # something to wait by: the outage is noted once the try has failed
        await join_foreign(here, room_id, [f"@eve:{probe.name}"])
        while reachability.outage(ServerName(f"localhost:{port}")) is None:
            await alice.send(room_id, "tick")
            await probe.until(lambda: probe.pdus)
            probe.transactions.clear()
    missed = [f"missed {number}" for number in range(1, 6)]
    for text in missed:
        await alice.send(room_id, text)
    await sender.flush()
    rows = {row["server_name"]: row["sent_position"] for row in await here.db.fetch(ROWS)}
    assert f"localhost:{port}" in rows
    async with running_peer(authority, port=port) as peer:
        await peer.ask("GET", here.hansa.config.server_name, "/_matrix/federation/v1/query/profile?user_id=@x:y")
        await peer.until(lambda: peer.pdus and peer.pdus[-1]["content"].get("body") == missed[-1])
        bodies = [pdu["content"].get("body") for pdu in peer.pdus]
        assert set(missed) <= set(bodies)
        while sender.is_lagging(peer.name):
            await alice.get("/account/whoami")
        await sender.flush()
        assert f"localhost:{port}" not in {row["server_name"] for row in await here.db.fetch(ROWS)}


async def test_what_was_not_sent_before_a_restart_is_sent_after_it(database_dsn: str, authority: Authority) -> None:
    """T-E15: the cursor is durable; neither the events before a stop nor those nobody flushed are lost."""
    port, peer_port = free_port(), free_port()
    async with federated_server(database_dsn, authority, port=port) as server:
        alice, room_id = await room_with(server, f"localhost:{peer_port}")
        for number in range(3):
            await alice.send(room_id, f"number {number}")
    async with (
        running_peer(authority, port=peer_port) as peer,
        federated_server(database_dsn, authority, port=port) as server,
    ):
        await peer.ask("GET", server.hansa.config.server_name, "/_matrix/federation/v1/query/profile?user_id=@x:y")
        await peer.until(lambda: len(peer.pdus) >= 3)
        assert [pdu["content"]["body"] for pdu in peer.pdus[-3:]] == [f"number {number}" for number in range(3)]


async def test_a_busy_room_missed_for_long_is_told_by_its_newest_event(database_dsn: str, authority: Authority) -> None:
    """T-E15: the work for whoever comes back is bounded by its rooms; what waits for it is a place in the log."""
    port, peer_port = free_port(), free_port()
    async with federated_server(database_dsn, authority, port=port) as server:
        alice, room_id = await room_with(server, f"localhost:{peer_port}")
        quiet = await alice.create_room()
        await join_foreign(server, quiet, [f"@bob:localhost:{peer_port}"])
        assert server.hansa.federation is not None and server.hansa.outbound is not None
        server.hansa.federation.reachability.failed(ServerName(f"localhost:{peer_port}"), "a test")
        await alice.send(quiet, "quiet")
        for number in range(QUEUE_MAX + 10):
            await alice.send(room_id, f"number {number}")
        async with running_peer(authority, port=peer_port) as peer:
            await peer.ask("GET", server.hansa.config.server_name, "/_matrix/federation/v1/query/profile?user_id=@x:y")
            await peer.until(lambda: any(pdu["content"].get("body") == "quiet" for pdu in peer.pdus))
            bodies = [pdu["content"].get("body") for pdu in peer.pdus]
            assert bodies[0] == f"number {QUEUE_MAX + 9}"
            assert len(bodies) < 30
