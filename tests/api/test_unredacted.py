"""What redacted events had said, for moderators (MSC2815)."""

from __future__ import annotations

from tests.kit.server import Answered, Client, RunningServer, running_server


async def look(client: Client, room_id: str, event_id: str) -> Answered:
    query = {"fi.mau.msc2815.include_unredacted_content": "true"}
    return await client.request("GET", "/rooms/{}/event/{}", room_id, event_id, query=query)


async def redact(client: Client, room_id: str, event_id: str) -> None:
    (await client.put("/rooms/{}/redact/{}/{}", room_id, event_id, "r" + event_id[1:9])).ok()


async def test_moderators_see_it_and_are_written_down(server: RunningServer) -> None:
    """Only who may redact sees it, and each look leaves a row."""
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    event_id = await bob.send(room_id, "spam")
    assert (await look(bob, room_id, event_id)).ok()["content"]["body"] == "spam", "nothing is redacted yet"
    await redact(alice, room_id, event_id)
    assert (await alice.get("/rooms/{}/event/{}", room_id, event_id)).ok()["content"] == {}
    shown = (await look(alice, room_id, event_id)).ok()
    assert shown["content"]["body"] == "spam" and shown["unsigned"]["redacted_because"]["sender"] == alice.user_id
    (await look(bob, room_id, event_id)).refused(403, "M_FORBIDDEN")
    (await look(carol, room_id, event_id)).refused(404, "M_NOT_FOUND")
    rows = await server.db.fetch("SELECT user_id, event_id FROM unredacted_reads")
    assert [tuple(row) for row in rows] == [(alice.user_id, event_id)]
    assert (await alice.get("/rooms/{}/event/{}", room_id, event_id)).ok()["content"] == {}


async def test_what_is_erased_is_gone_for_all(database_dsn: str) -> None:
    async with running_server(database_dsn, toml="[rooms]\nredacted_retention_s = 0") as server:
        alice = await server.user("alice")
        room_id = await alice.create_room()
        event_id = await alice.send(room_id, "spam")
        await redact(alice, room_id, event_id)
        while (answered := await look(alice, room_id, event_id)).status == 200:
            pass
        answered.refused(404, "FI.MAU.MSC2815_UNREDACTED_CONTENT_DELETED")
