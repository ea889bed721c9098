"""Unread counts: by user, room and thread, in step with the journal, and across restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from homeserver.core.identifiers import EventId, UserId
from homeserver.push.tallies import UnreadCounts
from tests.api.live import ALICE, BOB, CAROL, Live, running_live


@pytest.fixture
async def live(database_dsn: str) -> AsyncIterator[Live]:
    async with running_live(database_dsn) as parts:
        yield parts


async def test_messages_count_until_they_are_read(live: Live) -> None:
    room = await live.room(ALICE, BOB)
    assert await live.unread_of(BOB, room) == UnreadCounts()
    events = [await live.say(ALICE, room) for _ in range(3)]
    assert await live.unread_of(BOB, room) == UnreadCounts(3, 0, {})
    assert await live.unread_of(ALICE, room) == UnreadCounts()
    await live.read(BOB, room, events[0])
    assert (await live.unread_of(BOB, room)).notifications == 2
    await live.ok(BOB, "POST", f"/rooms/{room}/receipt/m.read.private/{events[1]}", {})
    assert (await live.unread_of(BOB, room)).notifications == 1
    # A public receipt behind the private one rewinds nothing.
    await live.read(BOB, room, events[0])
    assert (await live.unread_of(BOB, room)).notifications == 1
    await live.say(BOB, room)
    assert await live.unread_of(BOB, room) == UnreadCounts()


async def test_only_what_came_after_joining_counts(live: Live) -> None:
    room = await live.room(ALICE)
    await live.say(ALICE, room)
    await live.join(BOB, room)
    await live.say(ALICE, room)
    assert (await live.unread_of(BOB, room)).notifications == 1
    await live.leave(BOB, room)
    await live.say(ALICE, room)
    await live.join(BOB, room)
    assert (await live.unread_of(BOB, room)).notifications == 0


@pytest.mark.parametrize(
    ("type", "content", "counts"),
    [
        ("m.room.message", {"msgtype": "m.text", "body": "a"}, (1, 0)),
        ("m.room.message", {"msgtype": "m.notice", "body": "a"}, (0, 0)),
        ("m.room.encrypted", {"algorithm": "x", "ciphertext": "y"}, (1, 0)),
        ("m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$a", "key": "+"}}, (0, 0)),
        ("m.room.message", {"body": "b", "m.relates_to": {"rel_type": "m.replace", "event_id": "$a"}}, (0, 0)),
        ("m.room.message", {"body": "a", "m.mentions": {"user_ids": [BOB]}}, (1, 1)),
        ("m.room.message", {"body": "a", "m.mentions": {"user_ids": [CAROL, "\x00", 5, {}]}}, (1, 0)),
        ("m.room.message", {"body": "a", "m.mentions": {"room": True}}, (1, 1)),
        ("m.room.message", {"body": "a", "m.mentions": [BOB]}, (1, 0)),
        ("m.room.message", {"msgtype": "m.text", "body": "Well, Bob?"}, (1, 1)),
        ("m.room.message", {"msgtype": "m.text", "body": f"well, {BOB}?"}, (1, 1)),
        ("m.room.message", {"msgtype": "m.text", "body": "bobsleigh"}, (1, 0)),
        ("m.room.message", {"msgtype": "m.text", "body": "well, bob?", "m.mentions": {}}, (1, 0)),
        ("m.room.message", {"msgtype": "m.text", "body": "hey @room"}, (1, 1)),
        ("org.example.other", {"m.mentions": {"user_ids": [BOB]}}, (1, 1)),
        ("org.example.other", {}, (0, 0)),
    ],
)
async def test_what_counts(live: Live, type: str, content: dict[str, object], counts: tuple[int, int]) -> None:
    room = await live.room(ALICE, BOB)
    await live.send(ALICE, room, type, content)
    found = await live.unread_of(BOB, room)
    assert (found.notifications, found.highlights) == counts


async def test_display_names_in_a_text_highlight(live: Live) -> None:
    """For bots and bridges, which don't say whom they mention. Names are read with the first such message."""
    room = await live.room(ALICE, BOB, CAROL)
    await live.send(BOB, room, "m.room.member", {"membership": "join", "displayname": "Robert B."}, state_key=BOB)
    await live.say(ALICE, room)
    await live.unread.flush()
    assert await live.unread_of(BOB, room) == UnreadCounts(1, 0, {})
    named = {"msgtype": "m.text", "body": "robert b.: the build is red"}
    await live.send(ALICE, room, "m.room.message", named)
    assert await live.unread_of(BOB, room) == UnreadCounts(2, 1, {})
    await live.send(ALICE, room, "m.room.message", {**named, "body": "robert became red"})
    await live.send(BOB, room, "m.room.member", {"membership": "join", "displayname": "Bo"}, state_key=BOB)
    await live.send(ALICE, room, "m.room.message", named)
    assert await live.unread_of(BOB, room) == UnreadCounts(4, 1, {})
    assert await live.unread_of(CAROL, room) == UnreadCounts(4, 0, {})


async def test_display_names_are_found_after_a_restart(database_dsn: str) -> None:
    """The message waits until the names are read, and counts once."""
    async with running_live(database_dsn) as live:
        room = await live.room(ALICE, BOB)
        await live.send(BOB, room, "m.room.member", {"membership": "join", "displayname": "Robert"}, state_key=BOB)
        await live.unread.flush()
    async with running_live(database_dsn) as live:
        await live.send(ALICE, room, "m.room.message", {"msgtype": "m.text", "body": "robert: the build is red"})
        await live.unread.flush()
        assert await live.unread_of(BOB, room) == UnreadCounts(1, 1, {})


async def test_a_name_in_a_text_is_silent_for_whom_the_rule_is_off(live: Live) -> None:
    room = await live.room(ALICE, BOB)
    rule = "/pushrules/global/content/.m.rule.contains_user_name"
    await live.ok(BOB, "PUT", f"{rule}/enabled", {"enabled": False})
    await live.send(ALICE, room, "m.room.message", {"msgtype": "m.text", "body": "well, bob?"})
    assert await live.unread_of(BOB, room) == UnreadCounts(1, 0, {})


async def test_room_mentions_need_power(live: Live) -> None:
    room = await live.room(ALICE, BOB, CAROL)
    await live.send(CAROL, room, "m.room.message", {"body": "a", "m.mentions": {"room": True}})
    assert await live.unread_of(BOB, room) == UnreadCounts(1, 0, {})


async def test_threads_count_apart(live: Live) -> None:
    room = await live.room(ALICE, BOB)
    root = await live.say(ALICE, room)
    replies = [await live.say(ALICE, room, thread=root) for _ in range(2)]
    await live.say(ALICE, room, thread=root, mention=[BOB])
    counts = await live.unread_of(BOB, room)
    assert counts == UnreadCounts(4, 1, {root: (3, 1)})
    assert (counts.main_notifications, counts.main_highlights) == (1, 0)
    await live.read(BOB, room, root, thread_id="main")
    assert await live.unread_of(BOB, room) == UnreadCounts(3, 1, {root: (3, 1)})
    await live.read(BOB, room, replies[1], thread_id=root)
    assert await live.unread_of(BOB, room) == UnreadCounts(1, 1, {root: (1, 1)})
    last = await live.say(ALICE, room, thread=root)
    await live.read(BOB, room, last)
    assert await live.unread_of(BOB, room) == UnreadCounts()


async def test_an_own_message_reads_its_thread(live: Live) -> None:
    room = await live.room(ALICE, BOB)
    root = await live.say(ALICE, room)
    await live.say(ALICE, room, thread=root)
    await live.say(BOB, room)
    assert await live.unread_of(BOB, room) == UnreadCounts(1, 0, {root: (1, 0)})
    await live.say(BOB, room, thread=root)
    assert await live.unread_of(BOB, room) == UnreadCounts()


async def test_redacted_messages_do_not_count(live: Live) -> None:
    room = await live.room(ALICE, BOB)
    events = [await live.say(ALICE, room), await live.say(ALICE, room, mention=[BOB])]
    await live.send(ALICE, room, "m.room.redaction", {"redacts": events[1]})
    assert await live.unread_of(BOB, room) == UnreadCounts(1, 0, {})


async def mute(live: Live, user_id: UserId, room: str) -> None:
    await live.ok(user_id, "PUT", f"/pushrules/global/room/{room}", {"actions": []})


async def test_own_rules_count_from_their_change_on(live: Live) -> None:
    room = await live.room(ALICE, BOB, CAROL)
    await live.say(ALICE, room)
    await mute(live, BOB, room)
    await live.say(ALICE, room)
    await live.say(ALICE, room, mention=[BOB])
    assert await live.unread_of(BOB, room) == UnreadCounts(2, 1, {})
    assert await live.unread_of(CAROL, room) == UnreadCounts(3, 0, {})
    await live.ok(BOB, "DELETE", f"/pushrules/global/room/{room}")
    await live.say(ALICE, room)
    assert await live.unread_of(BOB, room) == UnreadCounts(3, 1, {})
    await live.ok(
        BOB,
        "PUT",
        "/pushrules/global/content/cake",
        {"actions": ["notify", {"set_tweak": "highlight"}], "pattern": "cake"},
    )
    await live.say(ALICE, room, body="The Cake is a lie")
    assert await live.unread_of(BOB, room) == UnreadCounts(4, 2, {})


@pytest.mark.parametrize("flushed", [True, False])
async def test_counts_survive_a_restart(database_dsn: str, flushed: bool) -> None:
    """What was written, and what came after the cursor, is counted once."""
    async with running_live(database_dsn) as live:
        room = await live.room(ALICE, BOB, CAROL)
        await mute(live, CAROL, room)
        root = await live.say(ALICE, room)
        await live.say(ALICE, room, thread=root)
        await live.unread.flush()
        await live.say(ALICE, room, mention=[BOB, CAROL])
        redacted = await live.say(ALICE, room)
        await live.send(ALICE, room, "m.room.redaction", {"redacts": redacted})
        await live.say(CAROL, room)
        if flushed:
            await live.unread.flush()
        before = {user: await live.unread_of(user, room) for user in (ALICE, BOB, CAROL)}
        assert before[BOB] == UnreadCounts(4, 1, {root: (1, 0)})
        assert before[CAROL] == UnreadCounts()
    async with running_live(database_dsn) as live:
        assert {user: await live.unread_of(user, room) for user in before} == before
        event = await live.say(ALICE, room)
        await live.unread.flush()
        assert await live.unread_of(BOB, room) == UnreadCounts(5, 1, {root: (1, 0)})
        await live.read(BOB, room, event)
    async with running_live(database_dsn) as live:
        assert await live.unread_of(BOB, room) == UnreadCounts()


async def test_counts_of_many_rooms_cost_three_queries(database_dsn: str) -> None:
    async with running_live(database_dsn) as live:
        rooms = [await live.room(ALICE, BOB) for _ in range(5)]
        for room in rooms:
            await live.say(ALICE, room)
        await live.unread.flush()
    async with running_live(database_dsn) as live:
        for queries in (3, 0):
            before = live.db.asked
            counts = await live.unread.counts(BOB, rooms)
            assert {room: count.notifications for room, count in counts.items()} == dict.fromkeys(rooms, 1)
            assert live.db.asked - before == queries


async def test_memory_of_a_busy_room_is_bounded(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-H2: what nobody reads is counted up to a limit, in memory and in the database."""
    monkeypatch.setattr("homeserver.push.unread.POSITIONS_MAX", 10)
    room = await live.room(ALICE, BOB)
    for _ in range(25):
        await live.say(ALICE, room)
        await live.unread.flush()
    assert 5 <= (await live.unread_of(BOB, room)).notifications <= 11
    assert await live.db.fetchval("SELECT count(*) FROM unread_pages") <= 11


async def test_listing_notifications(live: Live) -> None:
    rooms = [await live.room(ALICE, BOB), await live.room(ALICE, BOB)]
    events: list[EventId] = []
    for index in range(4):
        events.insert(0, await live.say(ALICE, rooms[index % 2], mention=[BOB] if index == 2 else None))
        await live.say(BOB, rooms[index % 2], body="own")
    first = await live.ok(BOB, "GET", "/notifications?limit=3")
    assert len(first["notifications"]) == 3
    rest = await live.ok(BOB, "GET", f"/notifications?limit=3&from={first['next_token']}")
    listed = first["notifications"] + rest["notifications"]
    assert [one["event"]["event_id"] for one in listed] == events
    assert "next_token" not in rest
    assert all(one["read"] and "room_id" not in one["event"] for one in listed)
    assert listed[1]["actions"][0] == "notify"
    await live.say(ALICE, rooms[0])
    only = await live.ok(BOB, "GET", "/notifications?only=highlight")
    assert [one["event"]["event_id"] for one in only["notifications"]] == [events[1]]
    assert [one["read"] for one in (await live.ok(BOB, "GET", "/notifications?limit=1"))["notifications"]] == [False]
    await live.leave(BOB, rooms[0])
    left = await live.ok(BOB, "GET", "/notifications")
    assert {one["room_id"] for one in left["notifications"]} == {rooms[1]}


@pytest.mark.parametrize("query", ["from=5", "from=n-1", "from=nn", "from=n99999999999999999999", "limit=0", "limit=x"])
async def test_bad_tokens_of_notifications(live: Live, query: str) -> None:
    """T-G6: 400, never 500."""
    status, answer = await live.call(BOB, "GET", f"/notifications?{query}")
    assert (status, answer["errcode"]) == (400, "M_INVALID_PARAM")
