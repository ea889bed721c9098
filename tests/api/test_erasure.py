"""What a redacted event said is erased from storage, at once or after a while."""

from __future__ import annotations

import json
from typing import Any

from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until

SECRET = "what nobody shall read"
AT_ONCE = "[rooms]\nredacted_retention_s = 0\n"


async def said(client: Client) -> tuple[str, str]:
    """A room, and an event in it that says the secret."""
    room_id = await client.create_room(preset="private_chat")
    return room_id, await client.send(room_id, SECRET)


async def kept(server: RunningServer, event_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        await server.db.fetchval("SELECT json FROM events WHERE event_id = $1", event_id)
    )
    return found


async def test_redacted_content_leaves_the_disk_at_once_if_so_wished(database_dsn: str) -> None:
    """T-G11: hiding is not deleting."""
    async with running_server(database_dsn, toml=AT_ONCE) as server:
        alice = await server.user("alice")
        room_id, event_id = await said(alice)
        before = await kept(server, event_id)
        (await alice.put("/rooms/{}/redact/{}/1", room_id, event_id)).ok()

        async def is_erased() -> bool:
            return "body" not in (await kept(server, event_id))["content"]

        await until(is_erased)
        after = await kept(server, event_id)
        assert after["hashes"] == before["hashes"] and after["sender"] == alice.user_id
        assert await server.db.fetchval("SELECT count(*) FROM event_erasures") == 0
        shown = (await alice.get("/rooms/{}/event/{}", room_id, event_id)).ok()
        assert shown["content"] == {} and "redacted_because" in shown["unsigned"]


async def test_what_was_due_when_the_server_stopped_is_erased_at_its_next_start(database_dsn: str) -> None:
    """T-G11: kept for as long as is configured; no restart forgets it."""
    async with running_server(database_dsn, toml="[rooms]\nredacted_retention_s = 3600\n") as server:
        alice = await server.user("alice")
        room_id, event_id = await said(alice)
        (await alice.put("/rooms/{}/redact/{}/1", room_id, event_id)).ok()
        assert SECRET not in str((await alice.get("/rooms/{}/event/{}", room_id, event_id)).ok())
    async with running_server(database_dsn, toml="[rooms]\nredacted_retention_s = 3600\n") as server:
        assert (await kept(server, event_id))["content"]["body"] == SECRET
        await server.db.execute("UPDATE event_erasures SET redacted_ts = redacted_ts - 3600000")
    async with running_server(database_dsn, toml="[rooms]\nredacted_retention_s = 3600\n") as server:

        async def is_erased() -> bool:
            content: dict[str, Any] = (await kept(server, event_id))["content"]
            return content == {}

        await until(is_erased)


async def test_what_replaced_a_redacted_message_is_erased_with_it(database_dsn: str) -> None:
    """T-C13: an edit says the same as what it replaced; nobody else's event goes with it."""
    async with running_server(database_dsn, toml=AT_ONCE) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        await bob.join(room_id)
        event_id = await alice.send(room_id, SECRET)
        relation = {"rel_type": "m.replace", "event_id": event_id}
        new = {"msgtype": "m.text", "body": SECRET + "!"}
        edit = await alice.send(room_id, "* " + SECRET, **{"m.relates_to": relation, "m.new_content": new})
        forged = await bob.send(room_id, "* mine", **{"m.relates_to": relation, "m.new_content": new})
        assert (await alice.get("/rooms/{}/event/{}", room_id, edit)).ok()["content"]["body"] == "* " + SECRET
        (await alice.put("/rooms/{}/redact/{}/1", room_id, event_id)).ok()

        async def is_erased() -> bool:
            return "body" not in (await kept(server, edit))["content"]

        await until(is_erased)
        shown = (await bob.get("/rooms/{}/event/{}", room_id, edit)).ok()
        assert "body" not in shown["content"] and shown["unsigned"]["redacted_because"]["sender"] == alice.user_id
        assert (await bob.get("/rooms/{}/event/{}", room_id, forged)).ok()["content"]["body"] == "* mine"
