"""Receipts and read markers, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from homeserver.core.identifiers import UserId
from tests.api.live import ALICE, BOB, CAROL, Live, running_live


@pytest.fixture
async def live(database_dsn: str) -> AsyncIterator[Live]:
    async with running_live(database_dsn) as parts:
        yield parts


async def test_receipts_are_told_by_room_and_thread(live: Live) -> None:
    room = await live.room(ALICE, BOB)
    root = await live.say(ALICE, room)
    reply = await live.say(ALICE, room, thread=root)
    before = live.journal.visible
    await live.read(BOB, room, root)
    await live.read(BOB, room, root, thread_id="main")
    await live.read(BOB, room, reply, thread_id=root)
    changes = await live.receipts.changes(ALICE, [room], before, live.journal.visible)
    ts = live.clock.now_ms()
    assert changes == {
        room: {root: {"m.read": {BOB: {"ts": ts}}}, reply: {"m.read": {BOB: {"ts": ts, "thread_id": root}}}}
    }
    assert await live.receipts.changes(ALICE, [room], live.journal.visible, live.journal.visible) == {}
    # The same from the database, as after a restart.
    assert await live.receipts.changes(ALICE, [room], 0, live.journal.visible) == changes


async def test_a_receipt_never_moves_back(live: Live) -> None:
    """T-F16: neither does one that changes nothing make traffic."""
    room = await live.room(ALICE, BOB)
    first, second = await live.say(ALICE, room), await live.say(ALICE, room)
    await live.read(BOB, room, second)
    told = len(live.heard)
    await live.read(BOB, room, first)
    await live.read(BOB, room, second)
    assert len(live.heard) == told
    changes = await live.receipts.changes(ALICE, [room], 0, live.journal.visible)
    assert list(changes[room]) == [second]


async def test_private_receipts_are_for_their_owner(live: Live) -> None:
    """T-F15: in no answer to others, and nobody else is woken."""
    room = await live.room(ALICE, BOB)
    event = await live.say(ALICE, room)
    live.heard.clear()
    await live.ok(BOB, "POST", f"/rooms/{room}/receipt/m.read.private/{event}", {})
    assert [(entry.kind, entry.room_id, entry.user_ids) for entry in live.heard] == [("receipt", None, (BOB,))]
    for since in (0, live.journal.visible - 1):
        assert await live.receipts.changes(ALICE, [room], since, live.journal.visible) == {}
        own = await live.receipts.changes(BOB, [room], since, live.journal.visible)
        assert own[room][event]["m.read.private"].keys() == {BOB}


@pytest.mark.parametrize(
    ("receipt_type", "body", "status", "errcode"),
    [
        ("m.read", {}, 200, None),
        ("m.read", {"thread_id": "main"}, 200, None),
        ("m.read", {"thread_id": ""}, 400, "M_INVALID_PARAM"),
        ("m.read", {"thread_id": 5}, 400, "M_INVALID_PARAM"),
        ("m.read", {"thread_id": None}, 400, "M_INVALID_PARAM"),
        ("m.read", {"thread_id": "$elsewhere"}, 400, "M_INVALID_PARAM"),
        ("m.fully_read", {}, 200, None),
        ("m.fully_read", {"thread_id": "main"}, 400, "M_INVALID_PARAM"),
        ("m.seen", {}, 400, "M_INVALID_PARAM"),
    ],
)
async def test_what_a_receipt_may_be(
    live: Live, receipt_type: str, body: object, status: int, errcode: str | None
) -> None:
    room = await live.room(ALICE)
    event = await live.say(ALICE, room)
    got, answer = await live.call(ALICE, "POST", f"/rooms/{room}/receipt/{receipt_type}/{event}", body)
    assert (got, answer.get("errcode")) == (status, errcode)


async def test_a_receipt_belongs_to_the_thread_of_its_event(live: Live) -> None:
    room = await live.room(ALICE)
    root = await live.say(ALICE, room)
    reply = await live.say(ALICE, room, thread=root)
    related = {"m.relates_to": {"rel_type": "m.annotation", "event_id": reply, "key": "+"}}
    reaction = (await live.send(ALICE, room, "m.reaction", related)).event_id
    for event, thread_id, status in [
        (reply, "main", 400),
        (reply, root, 200),
        (reaction, "main", 400),
        (reaction, root, 200),
        (root, "main", 200),
        (root, root, 200),
        (root, reply, 400),
    ]:
        got, _ = await live.call(ALICE, "POST", f"/rooms/{room}/receipt/m.read/{event}", {"thread_id": thread_id})
        assert got == status, (event, thread_id)


@pytest.mark.parametrize(("who", "status"), [(BOB, 200), (CAROL, 403)])
async def test_receipts_are_for_members_and_what_they_see(live: Live, who: UserId, status: int) -> None:
    """T-F14: an event that is elsewhere, unknown, or hidden gives one answer."""
    room, other = await live.room(ALICE, BOB), await live.room(ALICE)
    event, elsewhere = await live.say(ALICE, room), await live.say(ALICE, other)
    await live.send(ALICE, room, "m.room.history_visibility", {"history_visibility": "joined"}, "")
    got, _ = await live.call(who, "POST", f"/rooms/{room}/receipt/m.read/{event}", {})
    assert got == status
    if status == 200:
        answers = [
            await live.call(who, "POST", f"/rooms/{room}/receipt/m.read/{hidden}", {})
            for hidden in (elsewhere, "$nothing")
        ]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    hidden = await live.say(ALICE, room)
    await live.join(CAROL, room)
    assert (await live.call(CAROL, "POST", f"/rooms/{room}/receipt/m.read/{hidden}", {}))[0] == 404


async def test_the_read_marker_is_account_data(live: Live) -> None:
    room = await live.room(ALICE)
    first, second = await live.say(ALICE, room), await live.say(ALICE, room)
    before = live.journal.visible
    live.heard.clear()
    await live.ok(ALICE, "POST", f"/rooms/{room}/read_markers", {"m.fully_read": second, "m.read": first})
    assert sorted(entry.kind for entry in live.heard) == ["account_data", "receipt"]
    markers = await live.receipts.markers(ALICE, before, live.journal.visible)
    assert [(where, content) for where, content, _ in markers] == [(room, {"event_id": second})]
    await live.ok(ALICE, "POST", f"/rooms/{room}/receipt/m.fully_read/{first}", {})
    assert await live.receipts.marker(room, ALICE) == {"event_id": second}
    assert await live.receipts.marker(room, BOB) is None


@pytest.mark.parametrize("body", [{"m.read": 5}, {"m.fully_read": ["$a"]}, {"m.read": "no event id"}])
async def test_read_markers_refuse_what_is_no_event_id(live: Live, body: object) -> None:
    room = await live.room(ALICE)
    assert (await live.call(ALICE, "POST", f"/rooms/{room}/read_markers", body))[0] == 400


async def test_threads_with_receipts_are_bounded(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-H2: the least recent ones go, the unthreaded one stays."""
    monkeypatch.setattr("homeserver.storage.receipts.THREADS_MAX", 3)
    room = await live.room(ALICE)
    roots = [await live.say(ALICE, room) for _ in range(8)]
    for root in roots:
        await live.read(ALICE, room, root, thread_id=root)
    kept = await live.db.fetch("SELECT thread_id FROM receipts ORDER BY position")
    assert [row["thread_id"] for row in kept] == roots[-len(kept) :]
    assert len(kept) <= 5
