"""Members whose servers are down when we come into a room, so that their signatures can't be checked: they are left
out, and taken in once the keys come."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from homeserver.core.events import Event, sign_event
from tests.federation.test_rooms import bodies, join, members, name_of
from tests.kit.authority import Authority
from tests.kit.clock import FastClock
from tests.kit.federation import federated_server, signer_of
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, PeerRoom
from tests.kit.ports import free_port
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

LEFT = "SELECT count(*) FROM awaited_keys"


@pytest.fixture
async def hasty(postgres: PostgresForTests, authority: Authority) -> AsyncIterator[RunningServer]:
    """A server for which a minute passes in a second."""
    async with postgres.fresh() as dsn, federated_server(dsn, authority, clock=FastClock(60)) as server:
        yield server


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


class RoomOfTheDead(PeerRoom):
    """A room with Dan in it, whose server is down, and which has another name and key than the one that lets us in."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer)
        self.port = free_port()
        self.dead = f"localhost:{self.port}"
        self.dan = f"@dan:{self.dead}"
        self.member = self.by_dan("m.room.member", {"membership": "join"}, self.dan)
        self.add("m.room.topic", {"topic": "Gone"}, "")
        known = list(self.state.values())
        ids = [event.event_id for event in known]
        peer.answers[V1 + "/state_ids"] = lambda _: {"pdu_ids": ids, "auth_chain_ids": ids}
        peer.answers[V1 + "/state/"] = lambda _: {"pdus": [e.pdu for e in known], "auth_chain": []}
        peer.answers[V1 + "/event/"] = lambda _: {"pdus": [self.member.pdu]}

    def by_dan(self, type: str, content: dict[str, str], state_key: str | None = None) -> Event:
        made = self.make(type, content, state_key, sender=self.dan)
        pdu = {key: value for key, value in made.pdu.items() if key not in ("hashes", "signatures")}
        event = sign_event(self.version, pdu, signer_of(self.dead))
        self.take(event)
        return event


async def came_in(server: RunningServer, room: PeerRoom) -> Client:
    """A user of ours who is in the room, which goes on from there."""
    alice = await server.user("alice")
    room.answer_joins(alice.user_id)
    (await alice.post(f"/join/{{}}?via={room.peer.name}", room.room_id)).ok()
    sent = next(body for method, path, body in room.peer.asked if method == "PUT" and "/send_join/" in path)
    event_id = next(path for method, path, _ in room.peer.asked if "/send_join/" in path).rpartition("/")[2]
    room.take(Event(room.version, sent, event_id.replace("%24", "$")))  # type: ignore[arg-type]
    return alice


@pytest.mark.slow
async def test_who_was_down_is_a_member_once_it_is_up(hasty: RunningServer, peer: Peer, authority: Authority) -> None:
    """T-A14: the room is whole but for the one that can't be checked; then that one is in, and is heard."""
    room = RoomOfTheDead(peer)
    alice = await came_in(hasty, room)
    assert await members(alice, room.room_id) == {alice.user_id, room.eve}
    assert await hasty.db.fetchval(LEFT) == 1
    said = room.by_dan("m.room.message", {"msgtype": "m.text", "body": "I am back"})
    async with running_peer(authority, port=room.port):

        async def is_taken() -> bool:
            return bool((await room.send(name_of(hasty), said))[said.event_id] == {})

        await until(is_taken, within_s=60)

        async def all_is_here() -> bool:
            is_member = room.dan in await members(alice, room.room_id)
            return is_member and "I am back" in await bodies(alice, room.room_id)

        await until(all_is_here, within_s=60)
    assert await hasty.db.fetchval(LEFT) == 0
    shown = (await alice.sync())["rooms"]["join"][room.room_id]
    assert shown["summary"]["m.joined_member_count"] == 3
    told = [event["event_id"] for event in shown["state"]["events"] + shown["timeline"]["events"]]
    assert told.count(room.member.event_id) == 1


@pytest.mark.slow
async def test_who_never_comes_back_is_not_waited_for_for_ever(hasty: RunningServer, peer: Peer) -> None:
    room = RoomOfTheDead(peer)
    alice = await came_in(hasty, room)

    async def was_tried() -> bool:
        return bool(await hasty.db.fetchval("SELECT tries FROM awaited_keys"))

    await until(was_tried, within_s=60)
    await hasty.db.execute("UPDATE awaited_keys SET tries = 1000, due_ms = 0")

    async def is_given_up() -> bool:
        return bool(await hasty.db.fetchval(LEFT) == 0)

    await until(is_given_up, within_s=60)
    assert not await hasty.db.fetchval("SELECT awaits_keys FROM partial_rooms")
    assert await members(alice, room.room_id) == {alice.user_id, room.eve}
    (await alice.put("/rooms/{}/send/m.room.message/1", room.room_id, body={"msgtype": "m.text", "body": "x"})).ok()


@pytest.mark.slow
async def test_a_forgery_stays_out(hasty: RunningServer, peer: Peer, authority: Authority) -> None:
    """T-A5: once the key is there, an event that it didn't sign is no longer waited for, and never in the room."""
    room = RoomOfTheDead(peer)
    false = sign_event(
        room.version,
        {key: value for key, value in room.member.pdu.items() if key not in ("hashes", "signatures")},
        signer_of("localhost:1"),
    )
    signature = {"ed25519:test": next(iter(false.pdu["signatures"]["localhost:1"].values()))}
    forged = Event(room.version, {**room.member.pdu, "signatures": {room.dead: signature}}, room.member.event_id)
    room.state[forged.key] = forged
    alice = await came_in(hasty, room)
    assert await hasty.db.fetchval(LEFT) == 1
    async with running_peer(authority, port=room.port):

        async def is_settled() -> bool:
            return bool(await hasty.db.fetchval(LEFT) == 0)

        await until(is_settled, within_s=60)
    assert await members(alice, room.room_id) == {alice.user_id, room.eve}


@pytest.mark.slow
async def test_who_is_down_when_members_are_fetched_comes_later(
    here: RunningServer, hasty: RunningServer, postgres: PostgresForTests, authority: Authority
) -> None:
    """The same where the room is joined without its members first."""
    port, alice = free_port(), await here.user("alice")
    room_id = await alice.create_room(preset="public_chat", name="Town")
    async with postgres.fresh() as dsn:
        async with federated_server(dsn, authority, port=port) as third:
            dan = await third.user("dan")
            await join(dan, room_id, here)
        eve = await hasty.user("eve")
        await join(eve, room_id, here)
        assert await members(eve, room_id) == {alice.user_id, eve.user_id}
        await eve.send(room_id, "said meanwhile")
        await alice.send(room_id, "this too")
        async with federated_server(dsn, authority, port=port):

            async def dan_is_in() -> bool:
                return dan.user_id in await members(eve, room_id)

            await until(dan_is_in, within_s=60)
    assert {"said meanwhile", "this too"} <= set(await bodies(eve, room_id))
    await eve.send(room_id, "further")
    state = [{one["event_id"] for one in (await user.get("/rooms/{}/state", room_id)).ok()} for user in (alice, eve)]
    assert state[0] == state[1]
