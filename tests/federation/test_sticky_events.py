"""Events that stick (MSC4354), between servers: who comes in or was away has them, and a judgement may change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.core.auth_rules import auth_keys
from homeserver.core.events import Event, parse_pdu
from homeserver.core.identifiers import RoomId, ServerName
from homeserver.rooms.arrivals import Arrival, Fate
from homeserver.runtime.clock import SystemClock
from tests.kit.authority import Authority
from tests.kit.dag import make_event
from tests.kit.federation import federated_server
from tests.kit.foreign_members import join_foreign
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import PeerRoom
from tests.kit.ports import free_port
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

PATIENCE_S = 45.0
MEMBER, JOIN = "m.room.member", {"membership": "join"}
LASTS: dict[str, Any] = {"msc4354_sticky": {"duration_ms": 3_600_000}}


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


async def stick(client: Client, room_id: str, text: str) -> str:
    path, query = f"/rooms/{{}}/send/m.room.message/{text}", {"org.matrix.msc4354.sticky_duration_ms": 3_600_000}
    answer = await client.request("PUT", path, room_id, body={"body": text, "msgtype": "m.text"}, query=query)
    event_id: str = answer.ok()["event_id"]
    return event_id


async def section(client: Client, room_id: str) -> set[str]:
    """What a first sync tells beside the timeline."""
    room = (await client.sync(filter='{"room":{"timeline":{"limit":1}}}'))["rooms"]["join"].get(room_id, {})
    return {event["event_id"] for event in room.get("msc4354_sticky", {}).get("events", [])}


@pytest.mark.slow
async def test_who_comes_in_is_told_what_sticks(here: RunningServer, there: RunningServer) -> None:
    """A server that had no part in the room when it was said has it for its users, by and by."""
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    event_id = await stick(alice, room_id, "lasting")
    for number in range(5):
        await alice.send(room_id, f"chatter {number}")
    via = here.hansa.config.server_name
    (await bob.post(f"/join/{{}}?via={via}&server_name={via}", room_id)).ok()

    async def is_told() -> bool:
        room = (await bob.sync())["rooms"]["join"][room_id]
        shown = [*room["timeline"]["events"], *room.get("msc4354_sticky", {}).get("events", [])]
        return any(event["event_id"] == event_id and "msc4354_sticky" in event for event in shown)

    await until(is_told, within_s=PATIENCE_S)


@pytest.mark.slow
async def test_who_was_away_is_told_what_sticks(here: RunningServer, authority: Authority) -> None:
    """Of much that happened a server gets the newest event alone, but all that sticks."""
    port = free_port()
    name = ServerName(f"localhost:{port}")
    alice = await here.user("alice")
    room_id = await alice.create_room()
    await join_foreign(here, room_id, [f"@bob:{name}"])
    await stick(alice, room_id, "lasting")
    for number in range(30):
        await alice.send(room_id, f"missed {number}")
    assert here.hansa.federation is not None and here.hansa.outbound is not None
    reachability, sender = here.hansa.federation.reachability, here.hansa.outbound.sender

    async def is_behind() -> bool:
        reachability.failed(name, "the test says so")
        await alice.send(room_id, "more")
        outage = reachability.outage(name)
        return outage is not None and outage.failures > 1 and sender.is_lagging(name)

    await until(is_behind, within_s=PATIENCE_S)
    for number in range(30):
        await alice.send(room_id, f"missed too {number}")
    async with running_peer(authority, port=port) as peer:
        reachability.reached(name)
        await peer.until(lambda: "lasting" in [pdu["content"].get("body") for pdu in peer.pdus], PATIENCE_S)


async def joined(here: RunningServer, peer: Peer) -> tuple[Client, PeerRoom, str]:
    """Alice of ours in a room of the peer's, in which Bob is as well."""
    alice, room, bob = await here.user("alice"), PeerRoom(peer), f"@bob:{peer.name}"
    room.add("m.room.member", {"membership": "join"}, bob, sender=bob)
    room.answer_joins(alice.user_id)
    (await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)).ok()
    sent = next(body for method, path, body in peer.asked if method == "PUT" and "/send_join/" in path)
    room.take(parse_pdu(room.version, sent))
    return alice, room, bob


def sticky_from(room: PeerRoom, sender: str) -> Event:
    said = {"msgtype": "m.text", "body": "still here"}
    return room.make("m.room.message", said, sender=sender, ts=SystemClock().now_ms() - 1_000, **LASTS)


@pytest.mark.parametrize("is_spam", [False, True])
async def test_a_judgement_may_change(here: RunningServer, peer: Peer, *, is_spam: bool) -> None:
    """T-C18: what only the room's state of that moment kept out is told once that lets it in; what was refused as
    spam never is.
    """
    alice, room, bob = await joined(here, peer)
    incoming, room_id = here.hansa.rooms.incoming, RoomId(room.room_id)
    late, spam = sticky_from(room, bob), sticky_from(room, room.eve)
    kick = room.add("m.room.member", {"membership": "leave"}, bob)
    arrivals = [Arrival(event=kick), Arrival(event=late, unwelcome="unwanted" if is_spam else None)]
    assert await incoming.take(room_id, arrivals) == [Fate.ACCEPTED, Fate.SOFT_FAILED]
    assert await incoming.take(room_id, [Arrival(event=spam, unwelcome="unwanted")]) == [Fate.SOFT_FAILED]
    assert await section(alice, room_id) == set()
    since = (await alice.sync())["next_batch"]
    back = room.add("m.room.member", {"membership": "join"}, bob, sender=bob)
    last = sticky_from(room, room.eve)
    room.take(last)
    assert await incoming.take(room_id, [Arrival(event=back), Arrival(event=last)]) == [Fate.ACCEPTED, Fate.ACCEPTED]
    end = room.add("m.room.topic", {"topic": "the end"}, "")
    assert await incoming.take(room_id, [Arrival(event=end)]) == [Fate.ACCEPTED]
    if is_spam:
        assert await section(alice, room_id) == {last.event_id}
        waiting = "SELECT count(*) FROM sticky_events WHERE place IS NULL"
        assert await here.db.fetchval(waiting) == 0
        return

    async def is_told() -> bool:
        return await section(alice, room_id) == {late.event_id, last.event_id}

    await until(is_told, within_s=PATIENCE_S)
    room_told = (await alice.sync(since=since))["rooms"]["join"][room_id]
    assert [event["event_id"] for event in room_told["msc4354_sticky"]["events"]] == [late.event_id]
    assert late.event_id not in [event["event_id"] for event in room_told["timeline"]["events"]]


async def test_nonsense_does_not_stick(here: RunningServer, peer: Peer) -> None:
    """T-A11: whatever another server writes there, nobody's sync breaks, and nothing lasts longer than an hour."""
    alice, room, bob = await joined(here, peer)
    now = SystemClock().now_ms()
    strange: list[Any] = [True, "soon", [], {"duration_ms": "60000"}, {"duration_ms": -5}, {"duration_ms": None}, {}]
    for nonsense in strange:
        room.text("odd", sender=bob, ts=now, msc4354_sticky=nonsense)
    long = room.text("long", sender=bob, ts=now + 5_000, msc4354_sticky={"duration_ms": 10**15})
    old = room.text("old", sender=bob, ts=now - 3_600_001, msc4354_sticky={"duration_ms": 10**15})
    end = room.text("end")
    sent = [event for event in room.events.values() if event.type == "m.room.message"]
    answers = await room.send(here.hansa.config.server_name, *sent)
    assert all(answer == {} for answer in answers.values()), answers

    async def has_come() -> bool:
        return (await alice.get("/rooms/{}/event/{}", room.room_id, end.event_id)).status == 200

    await until(has_come, within_s=PATIENCE_S)
    assert await section(alice, room.room_id) == {long.event_id}
    assert (await alice.get("/rooms/{}/event/{}", room.room_id, old.event_id)).ok()["content"]["body"] == "old"
    ends = await here.db.fetchval("SELECT max(expires_ts) FROM sticky_events")
    assert ends <= SystemClock().now_ms() + 3_600_000


async def come_in(server: RunningServer, room_id: str, user_id: str) -> None:
    """A join of a user of another server, as it comes from there."""
    rooms = server.hansa.rooms
    room = await rooms.rooms.get(RoomId(room_id))
    assert room is not None
    keys = auth_keys(room.version, type=MEMBER, sender=user_id, state_key=user_id, content=JOIN)
    room = await rooms.rooms.with_known(room, keys)
    auth = [found.event_id for key in keys if (found := room.head.known.get(key)) is not None]
    prev = [head.event_id for head in room.head.heads]
    join = make_event(
        room.version, type=MEMBER, sender=user_id, content=JOIN, state_key=user_id, room_id=room_id,
        prev=prev, auth=auth, depth=room.head.depth + 1, ts=SystemClock().now_ms(),
    )  # fmt: skip
    assert await rooms.incoming.take(RoomId(room_id), [Arrival(event=join)]) == [Fate.ACCEPTED]


@pytest.mark.slow
async def test_who_comes_in_is_told_twice(here: RunningServer, peer: Peer) -> None:
    """A server lets go of what comes for a room while it is still coming into it."""
    alice = await here.user("alice")
    room_id = await alice.create_room(preset="public_chat")
    await stick(alice, room_id, "lasting")
    await come_in(here, room_id, f"@bob:{peer.name}")
    await peer.until(lambda: [pdu["content"].get("body") for pdu in peer.pdus].count("lasting") == 2, PATIENCE_S)


@pytest.mark.slow
async def test_a_restart_forgets_nobody(here: RunningServer, authority: Authority, database_dsn: str) -> None:
    """A server that came in just before a stop is told after the start."""
    port = free_port()
    async with running_peer(authority) as peer:
        async with federated_server(database_dsn, authority, port=port) as server:
            alice = await server.user("alice")
            room_id = await alice.create_room(preset="public_chat")
            await stick(alice, room_id, "lasting")
            assert server.hansa.federation is not None
            server.hansa.federation.reachability.failed(peer.name, "the test says so")
            await come_in(server, room_id, f"@bob:{peer.name}")
        async with federated_server(database_dsn, authority, port=port) as server:
            assert server.hansa.federation is not None
            server.hansa.federation.reachability.reached(peer.name)
            await peer.until(lambda: "lasting" in [pdu["content"].get("body") for pdu in peer.pdus], PATIENCE_S)
