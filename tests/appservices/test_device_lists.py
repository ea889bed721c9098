"""MSC3202: whose devices a bridge must know follows who shares encrypted rooms with its users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.appservices.conftest import World, bridge_client, ghost
from tests.kit.clock import passing
from tests.kit.server import Client, RunningServer

pytestmark = pytest.mark.slow

LISTS = "org.matrix.msc3202.device_lists"
ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}


class Heard:
    """What a bridge was told of device lists, from all transactions so far."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.changed: list[str] = []
        self.left: list[str] = []
        self.said: list[str] = []

    async def until(self, is_enough: Callable[[Heard], bool]) -> None:
        async with passing(self._world.clock, 0.2):
            while not is_enough(self):
                body: dict[str, Any] = await self._world.bridge.next()
                lists = body.get(LISTS, {"changed": [], "left": []})
                assert not set(lists["changed"]) & set(lists["left"])
                self.changed += lists["changed"]
                self.left += lists["left"]
                self.said += [event["content"].get("body", "") for event in body["events"]]

    async def all_before(self, client: Client, room_id: str, mark: str) -> None:
        """Until a message that is sent now is heard: what happened before it was told with it, or before."""
        await client.send(room_id, mark)
        await self.until(lambda heard: mark in heard.said)


def encrypted_world(world: World) -> World:
    world.files = [world.bridge.register(world.folder, "irc", **{"org.matrix.msc3202": True})]
    return world


async def bridge_does(server: RunningServer, path: str, user_id: str) -> None:
    (await bridge_client(server).request("POST", path, body={}, query={"user_id": user_id})).ok()


async def test_who_comes_into_an_encrypted_room_is_named(world: World) -> None:
    """The bridge's user comes to others, others come to the bridge's user; a name that changes is no coming."""
    async with encrypted_world(world).running() as server:
        alice, carol, eve = [await server.user(name) for name in ("alice", "carol", "eve")]
        user_id = await ghost(server, "_irc_bob")
        heard = Heard(world)
        room_id = await alice.create_room(preset="public_chat", initial_state=[ENCRYPTION])
        await eve.create_room(preset="public_chat", initial_state=[ENCRYPTION])
        await bridge_does(server, f"/join/{room_id}", user_id)
        await heard.all_before(alice, room_id, "the ghost came")
        assert alice.user_id in heard.changed
        assert carol.user_id not in heard.changed
        heard.changed.clear()
        (await carol.post("/join/{}", room_id)).ok()
        await heard.all_before(alice, room_id, "carol came")
        assert heard.changed == [carol.user_id]
        heard.changed.clear()
        (await carol.put("/profile/{}/displayname", carol.user_id, body={"displayname": "Carol"})).ok()
        await heard.all_before(carol, room_id, "renamed")
        assert heard.changed == []
        assert heard.left == []


async def test_who_shares_no_encrypted_room_any_more_is_named(world: World) -> None:
    """T-J8: not who still shares another, and nobody who never shared one."""
    async with encrypted_world(world).running() as server:
        alice, carol, eve = [await server.user(name) for name in ("alice", "carol", "eve")]
        user_id = await ghost(server, "_irc_bob")
        heard = Heard(world)
        first, second, plain = [
            await alice.create_room(preset="public_chat", initial_state=state)
            for state in ([ENCRYPTION], [ENCRYPTION], [])
        ]
        foreign = await alice.create_room(preset="public_chat", initial_state=[ENCRYPTION])
        (await eve.post("/join/{}", foreign)).ok()
        for room_id in (first, second, plain):
            await bridge_does(server, f"/join/{room_id}", user_id)
            (await carol.post("/join/{}", room_id)).ok()
        (await carol.post("/rooms/{}/leave", first)).ok()
        (await eve.post("/rooms/{}/leave", foreign)).ok()
        await heard.all_before(alice, first, "carol is in the second still")
        assert heard.left == []
        (await carol.post("/rooms/{}/leave", second)).ok()
        await heard.all_before(alice, first, "carol is in a room without encryption alone")
        assert heard.left == [carol.user_id]
        heard.left.clear()
        for room_id in (first, second):
            await bridge_does(server, f"/rooms/{room_id}/leave", user_id)
        await heard.all_before(alice, plain, "the ghost has left")
        assert heard.left == [alice.user_id]
        assert eve.user_id not in heard.changed


async def test_a_room_that_is_encrypted_later_makes_its_members_matter(world: World) -> None:
    async with encrypted_world(world).running() as server:
        alice, carol = await server.user("alice"), await server.user("carol")
        user_id = await ghost(server, "_irc_bob")
        heard = Heard(world)
        room_id = await alice.create_room(preset="public_chat")
        await bridge_does(server, f"/join/{room_id}", user_id)
        (await carol.post("/join/{}", room_id)).ok()
        await heard.all_before(alice, room_id, "in the clear")
        assert heard.changed == []
        (await alice.put("/rooms/{}/state/m.room.encryption", room_id, body=ENCRYPTION["content"])).ok()
        await heard.all_before(alice, room_id, "encrypted")
        assert {alice.user_id, carol.user_id} <= set(heard.changed)
        assert heard.left == []


async def test_names_wait_for_a_bridge_that_is_down(world: World) -> None:
    """T-J10: what changed while a transaction was repeated is in the next."""
    async with encrypted_world(world).running() as server:
        alice, carol = await server.user("alice"), await server.user("carol")
        user_id = await ghost(server, "_irc_bob")
        heard = Heard(world)
        room_id = await alice.create_room(preset="public_chat", initial_state=[ENCRYPTION])
        await bridge_does(server, f"/join/{room_id}", user_id)
        await heard.all_before(alice, room_id, "up")
        world.bridge.status = 500
        await alice.send(room_id, "holds the queue")
        await world.bridge.next()
        (await carol.post("/join/{}", room_id)).ok()
        world.bridge.status = 200
        await heard.all_before(alice, room_id, "up again")
        assert carol.user_id in heard.changed
