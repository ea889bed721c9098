"""Bridges hear what users of other servers want of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.appservices.conftest import bridge_client, ghost
from tests.kit.authority import Authority
from tests.kit.bridge import BridgeForTests, bridge_for_tests
from tests.kit.federation import federated_server
from tests.kit.ports import free_port
from tests.kit.postgres import PostgresForTests
from tests.kit.server import RunningServer


async def heard_of(bridge: BridgeForTests, room_id: str, membership: str) -> dict[str, Any]:
    """The next member event of a room with this membership that the bridge is told."""
    while True:
        for event in await bridge.events(1):
            if event["room_id"] == room_id and event["content"].get("membership") == membership:
                return event


async def test_invites_into_rooms_elsewhere_are_told(
    postgres: PostgresForTests, authority: Authority, here: RunningServer, tmp_path: Path
) -> None:
    """Also what came while the bridge's server was about to go down, and that an invite was taken back."""
    port = free_port()
    async with bridge_for_tests() as bridge, postgres.fresh() as dsn:
        toml = f'[appservices]\nregistration_paths = ["{bridge.register(tmp_path)}"]\n'
        async with federated_server(dsn, authority, port=port, toml=toml) as there:
            alice, user_id = await here.user("alice"), await ghost(there, "_irc_bob")
            room_id = await alice.create_room(preset="private_chat", name="Parlour", is_direct=True)
            (await alice.post("/rooms/{}/invite", room_id, body={"user_id": user_id})).ok()
            invite = await heard_of(bridge, room_id, "invite")
            assert (invite["sender"], invite["state_key"]) == (alice.user_id, user_id)
            told = {event["type"]: event["content"] for event in invite["unsigned"]["invite_room_state"]}
            assert told["m.room.name"] == {"name": "Parlour"}
            (await alice.post("/rooms/{}/kick", room_id, body={"user_id": user_id})).ok()
            assert (await heard_of(bridge, room_id, "leave"))["sender"] == alice.user_id
            bridge.status = 500
            (await alice.post("/rooms/{}/invite", room_id, body={"user_id": user_id})).ok()
            await heard_of(bridge, room_id, "invite")
            second = await alice.create_room(preset="private_chat")
            (await alice.post("/rooms/{}/invite", second, body={"user_id": user_id})).ok()
        bridge.status = 200
        async with federated_server(dsn, authority, port=port, toml=toml) as there:
            told_by: dict[str, list[str]] = {}
            while second not in [room for rooms in told_by.values() for room in rooms]:
                number, body = await bridge.next_numbered()
                told_by[number] = [event["room_id"] for event in body["events"]]
            assert [room for rooms in told_by.values() for room in rooms] == [room_id, second]
            (await bridge_client(there).request("POST", f"/_matrix/client/v3/join/{second}?user_id={user_id}")).ok()
            assert (await heard_of(bridge, second, "join"))["state_key"] == user_id
