"""Invites without end, by the endpoint for them and as events of rooms."""

from __future__ import annotations

import pytest

from homeserver.core.events import parse_pdu
from tests.federation.test_hostile_peers import joined, name_of, texts
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V2, PeerRoom
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer
from tests.kit.sliding import SlidingClient, window
from tests.kit.until import until


@pytest.mark.parametrize("enabled", ["true", "false"])
async def test_nobody_is_flooded_with_invites(postgres: PostgresForTests, authority: Authority, enabled: str) -> None:
    """T-E22: invites of many servers count together for who is invited; what is refused anyway doesn't count."""
    limit = f"federation_invite_recipient = {{enabled = {enabled}, per_second = 0.001, burst = 2}}"
    async with (
        postgres.fresh() as dsn,
        federated_server(dsn, authority, toml=f"[rate_limits]\n{limit}") as here,
        running_peer(authority) as first,
        running_peer(authority) as second,
    ):
        bob, carol = await here.user("bob"), await here.user("carol")

        async def invite(server: Peer, user_id: str, number: int) -> int:
            room = PeerRoom(server)
            event = room.make("m.room.member", {"membership": "invite", "n": number}, user_id)
            body = {"room_version": "11", "event": event.pdu}
            return (await server.ask("PUT", name_of(here), f"{V2}/invite/{room.room_id}/{event.event_id}", body)).status

        wish = "/user/{}/account_data/m.invite_permission_config"
        (await bob.put(wish, bob.user_id, body={"default_action": "block"})).ok()
        assert [await invite(first, bob.user_id, number) for number in range(4)] == [403] * 4
        (await bob.put(wish, bob.user_id, body={})).ok()
        asked = [(first, bob), (second, bob), (second, bob), (first, bob), (first, carol)]
        statuses = [await invite(server, user.user_id, 9 + number) for number, (server, user) in enumerate(asked)]
        assert statuses == ([200, 200, 429, 429, 200] if enabled == "true" else [200] * 5)
        room_id = await carol.create_room()
        (await carol.post("/rooms/{}/invite", room_id, body={"user_id": bob.user_id})).ok()


async def test_invites_that_nobody_asked_for_count_as_well(postgres: PostgresForTests, authority: Authority) -> None:
    """T-E22: as events of rooms that this server is in; one that was asked for counts once, however often it comes."""
    limit = "federation_invite_recipient = {per_second = 0.001, burst = 2}"
    async with (
        postgres.fresh() as dsn,
        federated_server(dsn, authority, toml=f"[rate_limits]\n{limit}") as here,
        running_peer(authority) as first,
        running_peer(authority) as second,
        running_peer(authority) as third,
    ):
        bob = await here.user("bob")
        invited = []
        for peer in (first, second, third):
            alice, room = await (joined(here, peer) if peer is first else joined_again(here, peer))
            event = room.make("m.room.member", {"membership": "invite"}, bob.user_id)
            if peer is first:
                path = f"{V2}/invite/{room.room_id}/{event.event_id}"
                body = {"room_version": "11", "event": event.pdu}
                signed = (await peer.ask_json("PUT", name_of(here), path, body))["event"]
                event = parse_pdu(room.version, signed)
            room.take(event)
            await room.send(name_of(here), event, room.text("come in"))

            async def has_come(room: PeerRoom = room, alice: Client = alice) -> bool:
                return await texts(alice, room.room_id) == ["come in"]

            await until(has_come)
            invited.append(room.room_id)
        # The event after the invite cites it, so that it is part of the room's state all the same.
        assert sorted((await bob.sync())["rooms"]["invite"]) == sorted(invited[:2])
        sliding = SlidingClient(bob)
        await sliding.sync(lists={"all": window()})
        assert sorted(sliding.rooms) == sorted(invited[:2])


async def joined_again(here: RunningServer, peer: Peer) -> tuple[Client, PeerRoom]:
    """The same Alice in another peer's room."""
    alice, room = await here.login("alice"), PeerRoom(peer)
    room.answer_joins(alice.user_id)
    (await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)).ok()
    sent = next(body for method, path, body in peer.asked if method == "PUT" and "/send_join/" in path)
    room.take(parse_pdu(room.version, sent))
    return alice, room
