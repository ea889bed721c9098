"""A real bridge to a real IRC server carries messages both ways."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.kit.irc import irc_client, registration, running_heisenbridge, running_ngircd
from tests.kit.ports import free_port
from tests.kit.server import Client, running_server


class Listener:
    """A client that follows /sync: accepts every invite, and waits for what others say."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._since: str | None = None
        self.rooms: list[str] = []

    async def hear(self, part: str) -> tuple[str, dict[str, Any]]:
        """The room and the next event of somebody else whose body holds this."""
        async with asyncio.timeout(60):
            while True:
                for room_id, event in await self._news():
                    if event["sender"] != self._client.user_id and part in str(event["content"].get("body", "")):
                        return room_id, event

    async def invited(self) -> str:
        """The next room that one is invited to, and now is in."""
        async with asyncio.timeout(60):
            before = len(self.rooms)
            while len(self.rooms) == before:
                await self._news()
            return self.rooms[-1]

    async def _news(self) -> list[tuple[str, dict[str, Any]]]:
        since = {"since": self._since} if self._since else {}
        answer = await self._client.sync(timeout=1000, **since)
        self._since = answer["next_batch"]
        rooms = answer.get("rooms", {})
        for room_id in rooms.get("invite", {}):
            self.rooms.append(await self._client.join(room_id))
        return [
            (room_id, event) for room_id, room in rooms.get("join", {}).items() for event in room["timeline"]["events"]
        ]


@pytest.mark.slow
@pytest.mark.bridge
@pytest.mark.programs("ngircd")
async def test_messages_go_both_ways(database_dsn: str, tmp_path: Path) -> None:
    port = free_port()
    file = registration(tmp_path, port)
    toml = f'[appservices]\nregistration_paths = ["{file}"]\n'
    async with running_ngircd(tmp_path) as irc_port, running_server(database_dsn, toml=toml) as server:
        alice = await server.user("alice")
        listener = Listener(alice)
        async with (
            running_heisenbridge(file, port, server.base_url, alice.user_id),
            irc_client(irc_port, "bob") as bob,
        ):
            await bob.say("JOIN #harbour")
            control = await listener.invited()
            for command, answered in (
                ("ADDNETWORK test", "Network added."),
                (f"ADDSERVER test 127.0.0.1 {irc_port}", "Server added."),
            ):
                await alice.send(control, command)
                await listener.hear(answered)
            await alice.send(control, "OPEN test")
            network = await listener.invited()
            await alice.send(network, "NICK alice")
            await alice.send(network, "CONNECT")
            await listener.hear("Welcome to the Internet Relay Network")  # the bridge has a welcome of its own
            await alice.send(network, "JOIN #harbour")
            channel = await listener.invited()
            await bob.hear("JOIN")
            await alice.send(channel, "ahoy from Matrix")
            assert "PRIVMSG #harbour :ahoy from Matrix" in await bob.hear("ahoy")
            await bob.say("PRIVMSG #harbour :ahoy from IRC")
            room_id, event = await listener.hear("ahoy from IRC")
            assert (room_id, event["sender"]) == (channel, "@irc_test_bob:hansa.test")
