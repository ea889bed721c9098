"""A bot on mautrix-python lives on Hansa."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.kit.irc import running_bot
from tests.kit.server import Client, running_server
from tests.kit.until import until


async def said(client: Client, room_id: str, body: str) -> bool:
    page = (await client.get("/rooms/{}/messages", room_id, dir="b", limit=20)).ok()
    return any(event["content"].get("body") == body and event["sender"] != client.user_id for event in page["chunk"])


async def has_reaction(client: Client, room_id: str, event_id: str) -> bool:
    path = "/_matrix/client/v1/rooms/{}/relations/{}/m.annotation"
    found = (await client.get(path, room_id, event_id)).ok()["chunk"]
    return any(event["content"]["m.relates_to"]["key"] == "👍" for event in found)


@pytest.mark.slow
@pytest.mark.bridge
async def test_a_bot_comes_and_answers(database_dsn: str, tmp_path: Path) -> None:
    async with running_server(database_dsn) as server:
        alice, bot = await server.user("alice"), await server.user("bot")
        assert bot.token is not None
        async with running_bot(tmp_path, server.base_url, bot.user_id, bot.token):
            room_id = await alice.create_room(preset="private_chat", invite=[bot.user_id])

            async def is_there() -> bool:
                return bot.user_id in (await alice.get("/rooms/{}/joined_members", room_id)).ok()["joined"]

            await until(is_there)
            event_id = await alice.send(room_id, "!echo moin")
            await until(partial(said, alice, room_id, "moin"))
            await until(partial(has_reaction, alice, room_id, event_id))
