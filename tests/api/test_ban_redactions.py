"""What a banned user said goes with the ban, where it asks for it (MSC4293)."""

from __future__ import annotations

import pytest

from tests.api.test_relations import bundled, to
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until

KEY = "org.matrix.msc4293.redact_events"


async def said(client: Client, room_id: str, by: Client) -> list[str | None]:
    chunk = (await client.get("/rooms/{}/messages", room_id, dir="b", limit=100)).ok()["chunk"]
    return [
        event["content"].get("body")
        for event in chunk
        if event["type"] == "m.room.message" and event["sender"] == by.user_id
    ]


@pytest.mark.parametrize("how", ["ban", "kick", "state"])
async def test_a_spammers_messages_go_along(server: RunningServer, how: str) -> None:
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    room_id = await alice.create_room(preset="public_chat")
    for user in (bob, carol):
        await user.join(room_id)
    since = (await carol.sync())["next_batch"]
    spam = [await bob.send(room_id, "spam") for _ in range(5)]
    await carol.send(room_id, "moin")
    if how == "state":
        content = {"membership": "ban", KEY: True}
        (await alice.put("/rooms/{}/state/m.room.member/{}", room_id, bob.user_id, body=content)).ok()
    else:
        (await alice.post(f"/rooms/{{}}/{how}", room_id, body={"user_id": bob.user_id, KEY: True})).ok()

    async def is_gone() -> bool:
        return await said(carol, room_id, bob) == [None] * 5

    await until(is_gone)
    assert await said(carol, room_id, carol) == ["moin"]
    shown = (await carol.get("/rooms/{}/event/{}", room_id, spam[0])).ok()
    assert shown["content"] == {} and shown["unsigned"]["redacted_because"]["type"] == "m.room.member"
    timeline = (await carol.sync(since=since))["rooms"]["join"][room_id]["timeline"]["events"]
    assert "spam" not in [event["content"].get("body") for event in timeline]
    if how == "kick":
        await bob.join(room_id)
        await bob.send(room_id, "sorry")
        assert "sorry" in await said(carol, room_id, bob)


async def test_nothing_counts_what_went_along(server: RunningServer) -> None:
    """T-C13, T-G17: neither the thread nor who is referred to, neither unread counts nor notifications."""
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    room_id = await alice.create_room(preset="public_chat")
    for user in (bob, carol):
        await user.join(room_id)
    root = await alice.send(room_id, "root")
    reply = await alice.send(room_id, "reply", **to("m.thread", root))
    (await carol.post("/rooms/{}/receipt/m.read/{}", room_id, reply, body={"thread_id": root})).ok()
    (await carol.post("/rooms/{}/receipt/m.read/{}", room_id, root, body={"thread_id": "main"})).ok()
    mention = {"m.mentions": {"user_ids": [carol.user_id]}}
    await bob.send(room_id, "look here", **mention)
    await bob.send(room_id, "and here", **mention, **to("m.thread", root))
    await bob.send(room_id, "see above", **to("m.reference", root))
    before = await bundled(carol, room_id, root)
    assert before["m.thread"]["count"] == 2 and len(before["m.reference"]["chunk"]) == 1

    async def unread() -> tuple[int, int]:
        counts = (await carol.sync())["rooms"]["join"][room_id]["unread_notifications"]
        listed = (await carol.get("/notifications")).ok()["notifications"]
        return counts["highlight_count"], sum(one["event"]["sender"] == bob.user_id for one in listed)

    assert await unread() == (2, 3)
    (await alice.post("/rooms/{}/ban", room_id, body={"user_id": bob.user_id, KEY: True})).ok()

    async def is_gone() -> bool:
        return await said(carol, room_id, bob) == [None] * 3

    await until(is_gone)
    after = await bundled(carol, room_id, root)
    assert after["m.thread"]["count"] == 1 and after["m.thread"]["latest_event"]["event_id"] == reply
    assert "m.reference" not in after
    await server.hansa.live.unread.flush()
    assert await unread() == (0, 0)


async def test_only_a_ban_by_who_may_redact(server: RunningServer) -> None:
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    levels = {"ban": 10, "kick": 10, "redact": 60}
    room_id = await alice.create_room(preset="public_chat", power_level_content_override=levels)
    for user in (bob, carol):
        await user.join(room_id)
    current = (await alice.get("/rooms/{}/state/m.room.power_levels", room_id)).ok()
    current["users"] = {**current.get("users", {}), carol.user_id: 20}
    (await alice.put("/rooms/{}/state/m.room.power_levels", room_id, body=current)).ok()
    await bob.send(room_id, "once")
    (await carol.post("/rooms/{}/ban", room_id, body={"user_id": bob.user_id, KEY: True})).ok()
    other = await alice.create_room(preset="public_chat")
    await carol.join(other)
    await carol.send(other, "noise")
    (await alice.post("/rooms/{}/ban", other, body={"user_id": carol.user_id, KEY: True})).ok()

    async def is_gone() -> bool:
        return await said(alice, other, carol) == [None]

    await until(is_gone)
    assert await said(alice, room_id, bob) == ["once"]


async def test_what_was_said_in_an_earlier_stay_is_kept(server: RunningServer) -> None:
    """The proposal's example; a new name within the stay ends it not, and a second ban takes nothing more."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await bob.send(room_id, "useful")
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    await bob.join(room_id)
    await bob.send(room_id, "spam")
    (await bob.put("/profile/{}/displayname", bob.user_id, body={"displayname": "B"})).ok()
    await bob.send(room_id, "more spam")
    (await alice.post("/rooms/{}/ban", room_id, body={"user_id": bob.user_id, KEY: True})).ok()

    async def is_gone() -> bool:
        return await said(alice, room_id, bob) == [None, None, "useful"]

    await until(is_gone)
    (await alice.post("/rooms/{}/ban", room_id, body={"user_id": bob.user_id, "reason": "x", KEY: True})).ok()
    other = await alice.create_room(preset="public_chat")
    await bob.join(other)
    await bob.send(other, "noise")
    (await alice.post("/rooms/{}/ban", other, body={"user_id": bob.user_id, KEY: True})).ok()

    async def is_done() -> bool:
        return await said(alice, other, bob) == [None]

    await until(is_done)
    assert await said(alice, room_id, bob) == [None, None, "useful"]


async def test_who_may_send_no_redaction_takes_nothing_along(server: RunningServer) -> None:
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    levels = {"ban": 10, "redact": 10, "events": {"m.room.redaction": 60}, "users": {carol.user_id: 20}}
    room_id = await alice.create_room(preset="public_chat", power_level_content_override=levels)
    other = await alice.create_room(preset="public_chat")
    for user in (bob, carol):
        await user.join(room_id)
    await bob.join(other)
    await bob.send(room_id, "once")
    await bob.send(other, "noise")
    (await carol.post("/rooms/{}/ban", room_id, body={"user_id": bob.user_id, KEY: True})).ok()
    (await alice.post("/rooms/{}/ban", other, body={"user_id": bob.user_id, KEY: True})).ok()

    async def is_done() -> bool:
        return await said(alice, other, bob) == [None]

    await until(is_done)
    assert await said(alice, room_id, bob) == ["once"]


async def test_a_crash_between_forgets_no_ban(database_dsn: str) -> None:
    async with running_server(database_dsn) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        await bob.join(room_id)
        await bob.send(room_id, "spam")
        (await alice.post("/rooms/{}/ban", room_id, body={"user_id": bob.user_id, KEY: True})).ok()
        await server.db.execute("UPDATE events SET redacted_by = NULL")
        await server.db.execute("DELETE FROM journal_cursors WHERE consumer = 'ban_redactions'")
    async with running_server(database_dsn) as server:
        again = server.anonymous()
        again.token = alice.token

        async def is_gone() -> bool:
            return await said(again, room_id, bob) == [None]

        await until(is_gone)
