"""What a message said before it was edited: found by those who may not see the edit, and by nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from homeserver.assembly.search import readers_of
from tests.kit.archives import job
from tests.kit.server import Client, running_server
from tests.kit.until import until
from tests.search.test_rebuilding import ENGINES, config_on
from tests.search.test_search import edit, found, ids

OLD, NEW, NEWEST = "grosvenor", "lighthouse", "breakwater"


async def all_of(client: Client) -> list[list[str]]:
    return [await ids(client, term) for term in (OLD, NEW, NEWEST)]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("is_archived", [False, True])
async def test_everybody_finds_the_text_that_they_see(
    database_dsn: str, tmp_path: Path, engine: str, is_archived: bool, request: pytest.FixtureRequest
) -> None:
    """T-G8, T-G9, T-G11: by the old text alone who left before the edit; by the new one alone who saw it."""
    config = config_on(engine, tmp_path, request)

    async def documents() -> int:
        tier = readers_of(config)(0)
        try:
            census = await tier.census() if await tier.open() else {}
            return sum(one.documents for one in census.values())
        finally:
            await tier.close()

    async with running_server(database_dsn, config=config) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        visibility = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
        room = await alice.create_room(preset="public_chat", initial_state=[visibility])
        await bob.join(room)
        said = await alice.send(room, f"{OLD} common")
        assert await all_of(bob) == [[said], [], []]
        (await bob.post("/rooms/{}/leave", room)).ok()
        first = await edit(alice, room, said, f"{NEW} common")
        if is_archived:
            assert (await job(server, "run"))["messages"]
        assert await all_of(alice) == [[], [said], []]
        assert await all_of(bob) == [[said], [], []]
        assert await ids(bob, "common") == await ids(alice, "common") == [said]
        told = await found(bob, "common", event_context={"before_limit": 3, "after_limit": 3})
        assert told["results"][0]["result"]["content"]["body"] == f"{OLD} common"
        assert NEW not in json.dumps(told)
        # Of several edits each sees the newest that they may: bob the second, not the third.
        await bob.join(room)
        second = await edit(alice, room, said, f"{NEWEST} common")
        (await bob.post("/rooms/{}/leave", room)).ok()
        third = await edit(alice, room, said, f"{OLD} again")
        assert await all_of(alice) == [[said], [], []]
        assert await all_of(bob) == [[], [], [said]]
        # What is redacted is what nobody sees: what was said before counts again.
        for event_id in (third, second):
            (await alice.put("/rooms/{}/redact/{}/{}", room, event_id, f"redact{event_id[1:9]}", body={})).ok()
        assert await all_of(alice) == [[], [said], []]
        assert await all_of(bob) == [[said], [], []]
        (await alice.put("/rooms/{}/redact/{}/last", room, said, body={})).ok()
        assert await all_of(alice) == await all_of(bob) == [[], [], []]
        (await alice.put("/rooms/{}/redact/{}/first", room, first, body={})).ok()
        for term in (OLD, NEW):
            assert await ids(alice, term) == []

        async def is_empty() -> bool:
            await ids(alice, "common")
            return await documents() == 0

        await until(is_empty, within_s=30)
