"""Transactions arrive in order, once acknowledged never again, and a bad bridge hurts nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.appservices.conftest import World, bridge_client, ghost
from tests.kit.clock import passing
from tests.kit.until import SOON_S, until


async def test_events_of_interest_arrive_and_no_others(world: World) -> None:
    """T-J8: only rooms that its users are in, and what they do."""
    async with world.running() as server:
        alice = await server.user("alice")
        private = await alice.create_room(name="none of its business")
        room_id = await alice.create_room(preset="public_chat")
        user_id = await ghost(server, "_irc_bob")
        await alice.send(private, "unheard")
        await alice.post("/rooms/{}/invite", room_id, body={"user_id": user_id})
        event_id = await alice.send(room_id, "before the join: not in the room")

        async def is_past() -> bool:
            """What concerns the bridge is what does when its turn comes."""
            return server.hansa.metrics.value("hansa_consumer_lag_positions", consumer="appservice irc") == 0

        await until(is_past)
        (await bridge_client(server).request("POST", f"/join/{room_id}", body={}, query={"user_id": user_id})).ok()
        heard = await alice.send(room_id, "heard")
        events = await world.bridge.events(3)
        assert [(event["type"], event.get("state_key")) for event in events[:2]] == [("m.room.member", user_id)] * 2
        assert (events[2]["event_id"], events[2]["room_id"]) == (heard, room_id)
        assert event_id not in [event["event_id"] for event in events]
        assert world.bridge.transactions.empty()


async def test_a_transaction_is_repeated_unaltered_until_it_is_acknowledged(world: World) -> None:
    """T-J10: also over a restart, and what comes after waits."""
    async with world.running() as server:
        alice = await server.user("alice")
        user_id = await ghost(server, "_irc_bob")
        room_id = await alice.create_room(preset="public_chat", invite=[user_id])
        await world.bridge.next()
        (await bridge_client(server).request("POST", f"/join/{room_id}", body={}, query={"user_id": user_id})).ok()
        await world.bridge.next()
        world.bridge.status = 500
        await alice.send(room_id, "one")
        first = await world.bridge.next_numbered()
        await alice.send(room_id, "two")
        async with passing(world.clock, 0.5):
            assert await world.bridge.next_numbered() == first
    async with world.running() as server:
        world.bridge.status = 200
        async with passing(world.clock, 1):
            again = await world.bridge.next_numbered()
            assert again == first
            while again == first:  # it may have been tried more than once before the stop
                again = await world.bridge.next_numbered()
        number, body = again
        assert int(number) == int(first[0]) + 1
        assert [event["content"]["body"] for event in body["events"]] == ["two"]

        async def is_crossed_out() -> bool:
            return bool(await server.db.fetchval("SELECT pending IS NULL FROM appservice_queues"))

        await until(is_crossed_out)
    async with world.running():
        await world.pass_time(5)
        assert world.bridge.transactions.empty()


async def test_what_happens_while_the_server_is_down_for_a_bridge_is_caught_up(world: World) -> None:
    """The bridge is away for more events than one transaction holds."""
    async with world.running() as server:
        alice = await server.user("alice")
        user_id = await ghost(server, "_irc_bob")
        room_id = await alice.create_room(preset="public_chat", invite=[user_id])
        await world.bridge.next()
        (await bridge_client(server).request("POST", f"/join/{room_id}", body={}, query={"user_id": user_id})).ok()
        await world.bridge.next()
        world.bridge.status = 502
        sent = [await alice.send(room_id, str(number)) for number in range(120)]
        await world.bridge.next()
        assert server.hansa.metrics.value("hansa_consumer_lag_positions", consumer="appservice irc") > 0
    while not world.bridge.transactions.empty():
        await world.bridge.next()
    world.bridge.status = 200
    async with world.running() as server, passing(world.clock, 1):
        assert [event["event_id"] for event in await world.bridge.events(120)] == sent


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_slow_bridge_hears_what_its_users_were_in_the_room_for(world: World, restarts: bool) -> None:
    """T-J8: who was in the room when an event was sent decides, not who is when the bridge is told."""
    async with world.running() as server:
        alice = await server.user("alice")
        user_id = await ghost(server, "_irc_bob")
        world.bridge.status = 500
        await alice.create_room(preset="public_chat", invite=[user_id])
        await world.bridge.next()
        room_id = await alice.create_room(preset="public_chat")
        await alice.send(room_id, "before the join")
        for step, said in (("join", "while in the room"), ("leave", "after the leave"), ("join", "back")):
            path = f"/rooms/{room_id}/{step}"
            (await bridge_client(server).request("POST", path, body={}, query={"user_id": user_id})).ok()
            await alice.send(room_id, said)
        if not restarts:
            world.bridge.status = 200
            await told_what_it_may_hear(world, room_id)
    if restarts:
        world.bridge.status = 200
        async with world.running():
            await told_what_it_may_hear(world, room_id)


async def told_what_it_may_hear(world: World, room_id: str) -> None:
    """Fails the test unless the bridge hears the messages of while its user was in the room, and no others."""
    found: list[dict[str, Any]] = []
    async with passing(world.clock, 1):
        while "back" not in [event["content"].get("body") for event in found]:
            found += [event for event in (await world.bridge.next())["events"] if event["room_id"] == room_id]
    assert [event["content"].get("body") or event["content"]["membership"] for event in found] == [
        "join",
        "while in the room",
        "leave",
        "join",
        "back",
    ]


async def test_a_silent_bridge_delays_nobody(world: World) -> None:
    """T-J10: neither senders nor another bridge."""
    world.files.append(world.bridge.register(world.folder, "other", url=None))
    async with world.running() as server:
        alice = await server.user("alice")
        user_id = await ghost(server, "_irc_bob")
        world.bridge.is_silent = True
        room_id = await alice.create_room(preset="public_chat", invite=[user_id])
        await world.bridge.next()
        async with asyncio.timeout(SOON_S):
            await alice.send(room_id, "sent all the same")


async def test_a_bridge_of_earlier_times_gets_its_transactions(world: World) -> None:
    """spec: application-service-api/#legacy-routes"""
    world.bridge.is_legacy = True
    async with world.running() as server:
        alice = await server.user("alice")
        user_id = await ghost(server, "_irc_bob")
        await alice.create_room(preset="public_chat", invite=[user_id])
        assert (await world.bridge.next())["events"][0]["state_key"] == user_id


async def test_ephemeral_data_go_to_who_asked_for_them(world: World) -> None:
    """Typing, receipts and presence of the bridge's rooms; private receipts of its own users alone (T-F15)."""
    world.files = [world.bridge.register(world.folder, receive_ephemeral=True)]
    async with world.running() as server:
        alice = await server.user("alice")
        user_id = await ghost(server, "_irc_bob")
        room_id = await alice.create_room(preset="public_chat", invite=[user_id])
        (await bridge_client(server).request("POST", f"/join/{room_id}", body={}, query={"user_id": user_id})).ok()
        elsewhere = await alice.create_room(preset="private_chat", name="elsewhere")
        event_id = await alice.send(room_id, "read me")
        (await alice.put("/rooms/{}/typing/{}", elsewhere, alice.user_id, body={"typing": True})).ok()
        (await alice.put("/rooms/{}/typing/{}", room_id, alice.user_id, body={"typing": True})).ok()
        (await alice.post("/rooms/{}/receipt/m.read.private/{}", room_id, event_id)).ok()
        (await alice.post("/rooms/{}/receipt/m.read/{}", room_id, event_id)).ok()
        await alice.sync()
        found: list[dict[str, Any]] = []
        async with passing(world.clock, 0.2):
            while {entry["type"] for entry in found} != {"m.typing", "m.receipt", "m.presence"}:
                found += (await world.bridge.next()).get("ephemeral", [])
        typing = [entry for entry in found if entry["type"] == "m.typing"]
        assert {entry["room_id"] for entry in typing} == {room_id}
        assert typing[0]["content"] == {"user_ids": [alice.user_id]}
        receipts = [entry for entry in found if entry["type"] == "m.receipt"]
        assert [(entry["room_id"], list(entry["content"][event_id])) for entry in receipts] == [(room_id, ["m.read"])]
        assert {entry["sender"] for entry in found if entry["type"] == "m.presence"} == {alice.user_id}


async def test_messages_to_devices_and_key_counts(world: World) -> None:
    """MSC3202: taken along once, and not lost by a bridge that is down."""
    world.files = [world.bridge.register(world.folder, "irc", **{"org.matrix.msc3202": True})]
    async with world.running() as server:
        alice = await server.user("alice")
        user_id = await ghost(server, "_irc_bob", inhibit_login=False, device_id="DEVICE")
        world.bridge.status = 500
        message = {"messages": {user_id: {"DEVICE": {"secret": 1}}}}
        (await alice.put("/sendToDevice/m.test/{}", "t1", body=message)).ok()
        await world.bridge.next()
    async with world.running() as server:
        world.bridge.status = 200
        async with passing(world.clock, 1):
            parts = await world.bridge.next()
        assert parts["to_device"] == [
            {
                "type": "m.test",
                "sender": alice.user_id,
                "content": {"secret": 1},
                "to_user_id": user_id,
                "to_device_id": "DEVICE",
            }
        ]
        counts = parts["org.matrix.msc3202.device_one_time_keys_count"]
        assert counts == {user_id: {"DEVICE": {"signed_curve25519": 0}}}
        assert await server.db.fetchval("SELECT count(*) FROM to_device_messages") == 0


async def test_changed_device_lists_are_told(world: World) -> None:
    """MSC3202: of those who share a room with the bridge's users."""
    world.files = [world.bridge.register(world.folder, "irc", **{"org.matrix.msc3202": True})]
    async with world.running() as server:
        alice, carol = await server.user("alice"), await server.user("carol")
        user_id = await ghost(server, "_irc_bob")
        room_id = await alice.create_room(preset="public_chat", invite=[user_id])
        (await bridge_client(server).request("POST", f"/join/{room_id}", body={}, query={"user_id": user_id})).ok()
        for localpart in ("carol", "alice"):
            (await (await server.login(localpart)).post("/logout")).ok()
        changed: list[str] = []
        while not changed:
            changed = (await world.bridge.next()).get("org.matrix.msc3202.device_lists", {}).get("changed", [])
        assert changed == [alice.user_id]
        assert carol.user_id not in changed


async def test_redacted_content_is_not_told_late(world: World) -> None:
    """T-C13."""
    async with world.running() as server:
        alice = await server.user("alice")
        user_id = await ghost(server, "_irc_bob")
        room_id = await alice.create_room(preset="public_chat", invite=[user_id])
        (await bridge_client(server).request("POST", f"/join/{room_id}", body={}, query={"user_id": user_id})).ok()
        await world.bridge.events(2)
        world.bridge.status = 500
        await alice.send(room_id, "holds the queue")
        await world.bridge.next()
        event_id = await alice.send(room_id, "regretted")
        (await alice.put("/rooms/{}/redact/{}/{}", room_id, event_id, "t")).ok()
        world.bridge.status = 200
        async with passing(world.clock, 1):
            await world.bridge.next()
            told = (await world.bridge.next())["events"]
        assert told[0]["event_id"] == event_id
        assert "body" not in told[0]["content"]
