"""Rooms that two servers share: coming in, talking, inviting, leaving, from both sides."""

from __future__ import annotations

import pytest

from tests.kit.server import Client, RunningServer

VERSIONS = ("6", "9", "10", "11", "12")


def name_of(server: RunningServer) -> str:
    return server.hansa.config.server_name


async def join(user: Client, room_id: str, through: RunningServer) -> None:
    (await user.post(f"/join/{{}}?via={name_of(through)}", room_id)).ok()


async def bodies(user: Client, room_id: str) -> list[str]:
    page = (await user.get("/rooms/{}/messages", room_id, dir="b", limit="50")).ok()
    return [event["content"].get("body") for event in reversed(page["chunk"]) if event["type"] == "m.room.message"]


async def members(user: Client, room_id: str) -> set[str]:
    return set((await user.get("/rooms/{}/joined_members", room_id)).ok()["joined"])


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_room_is_joined(here: RunningServer, there: RunningServer, version: str) -> None:
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat", room_version=version, name="Town")
    await alice.send(room_id, "before")
    await join(bob, room_id, here)
    assert await members(bob, room_id) == {alice.user_id, bob.user_id}
    assert (await bob.get("/rooms/{}/state/m.room.name", room_id)).ok()["name"] == "Town"
    assert await members(alice, room_id) == {alice.user_id, bob.user_id}
    await bob.send(room_id, "I am here")
    assert await bodies(bob, room_id) == ["I am here"]
