"""Edits of what somebody else said, in every tier."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.archives import bodies, job
from tests.kit.server import running_server
from tests.search.test_search import edit

pytestmark = pytest.mark.slow


async def test_nobody_puts_words_into_others_mouths(database_dsn: str, tmp_path: Path) -> None:
    """T-P5: neither the hot index nor the archive finds a message by what another user's edit, or one of another type,
    would have it say."""
    async with running_server(database_dsn, toml=f'[archive]\nstore_path = "{tmp_path}/archive"\n') as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        said = await alice.send(room, "harbour")
        await edit(bob, room, said, "treason")
        relation = {"m.relates_to": {"rel_type": "m.replace", "event_id": said}}
        body = {"body": "* x", "m.new_content": {"body": "treason", "msgtype": "m.text"}, **relation}
        (await alice.put("/rooms/{}/send/m.sticker/{}", room, "t", body=body)).ok()
        for _ in ("hot", "cold"):
            assert await bodies(alice, "treason") == []
            assert await bodies(alice, "harbour") == ["harbour"]
            await job(server, "run")
        await edit(alice, room, said, "pier")
        assert await bodies(alice, "harbour") == [] and len(await bodies(alice, "pier")) == 1
