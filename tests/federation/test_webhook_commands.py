"""Commands of a room are for users of this server."""

from __future__ import annotations

from tests.kit.server import Client, RunningServer
from tests.kit.until import until

HOOKS = "/_hansa/client/v1/rooms/{}/webhooks"


async def test_nobody_commands_from_elsewhere(here: RunningServer, there: RunningServer) -> None:
    """T-J3: not even who has every power in the room: neither a webhook nor an answer comes of it."""
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat", power_level_content_override={"users": {bob.user_id: 100}})
    (
        await alice.post(HOOKS + "/inbound", room_id, body={"name": "mine", "source": "json"})
    ).ok()  # brings the account in
    server_name = here.hansa.config.server_name
    (await bob.post(f"/join/{{}}?server_name={server_name}", room_id)).ok()
    for words in ("!hook", "!hook list", "!hook add json theirs", "!hook out https://x.test/hook"):
        await bob.send(room_id, words)
    await until(lambda: _says(alice, room_id, bob.user_id, 4), within_s=60)
    await alice.send(room_id, "!hook list")
    me = f"@_webhooks:{server_name}"
    await until(lambda: _says(alice, room_id, me, 1), within_s=60)
    assert len(await _said(alice, room_id, me)) == 1
    made = (await alice.get(HOOKS, room_id)).ok()
    assert [one["name"] for one in made["inbound"]] == ["mine"] and "theirs" not in str(made)
    assert await here.db.fetchval("SELECT count(*) FROM webhooks") == 1
    assert await here.db.fetchval("SELECT count(*) FROM event_webhooks") == 0


async def _said(client: Client, room_id: str, user_id: str) -> list[str]:
    chunk = (await client.get("/rooms/{}/messages", room_id, dir="b", limit=50)).ok()["chunk"]
    return [one["content"]["body"] for one in chunk if one["sender"] == user_id and one["type"] == "m.room.message"]


async def _says(client: Client, room_id: str, user_id: str, count: int) -> bool:
    return len(await _said(client, room_id, user_id)) >= count
