"""Typing notices over HTTP, and their end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.core.identifiers import UserId
from homeserver.ephemeral.typing import ROOMS_OF_USER_MAX
from tests.api.live import ALICE, BOB, CAROL, Live, running_live


@pytest.fixture
async def live(database_dsn: str) -> AsyncIterator[Live]:
    async with running_live(database_dsn) as parts:
        yield parts


async def test_typing_starts_and_stops(live: Live) -> None:
    room = await live.room(ALICE, BOB)
    live.heard.clear()
    for body, typing in [
        ({"typing": True, "timeout": 5_000}, [BOB]),
        ({"typing": True, "timeout": 5_000}, [BOB]),
        ({"typing": False}, []),
        ({"typing": False}, []),
    ]:
        await live.ok(BOB, "PUT", f"/rooms/{room}/typing/{BOB}", body)
        assert await live.typing.users(room) == typing
    assert [(entry.kind, entry.room_id) for entry in live.heard] == [("typing", room)] * 2
    assert live.typing.changed_at(room) == live.journal.visible


@pytest.mark.parametrize(("timeout", "ends_after_s"), [(None, 30), (5_000, 5), (-1, 0.001), (10**15, 120)])
async def test_typing_ends_by_itself(live: Live, timeout: int | None, ends_after_s: float) -> None:
    """T-F17: after two minutes at most, and the room hears of it."""
    room = await live.room(ALICE, BOB)
    body = {"typing": True} if timeout is None else {"typing": True, "timeout": timeout}
    await live.ok(BOB, "PUT", f"/rooms/{room}/typing/{BOB}", body)
    started = live.typing.changed_at(room)
    live.clock.advance(ends_after_s * 0.9)
    await live.typing.expire()
    assert (await live.typing.users(room), live.typing.changed_at(room)) == ([BOB], started)
    live.clock.advance(ends_after_s * 0.2)
    assert await live.typing.users(room) == []
    await live.typing.expire()
    assert live.typing.changed_at(room) > started


@pytest.mark.parametrize(
    ("caller", "who", "body", "status"),
    [
        (BOB, BOB, {"typing": True}, 200),
        (ALICE, BOB, {"typing": True}, 403),
        (CAROL, CAROL, {"typing": True}, 403),
        (BOB, BOB, {}, 400),
        (BOB, BOB, {"typing": "yes"}, 400),
        (BOB, BOB, {"typing": True, "timeout": 1.5}, 400),
    ],
)
async def test_who_may_type(live: Live, caller: UserId, who: UserId, body: Any, status: int) -> None:
    room = await live.room(ALICE, BOB)
    assert (await live.call(caller, "PUT", f"/rooms/{room}/typing/{who}", body))[0] == status


async def test_who_left_is_not_typing(live: Live) -> None:
    room = await live.room(ALICE, BOB)
    await live.typing.set(BOB, room, True)
    await live.leave(BOB, room)
    assert await live.typing.users(room) == []


async def test_typing_in_many_rooms_is_bounded(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-F17: so are the rooms that a user types in."""
    monkeypatch.setattr("homeserver.ephemeral.typing.ROOMS_OF_USER_MAX", 2)
    rooms = [await live.room(ALICE) for _ in range(3)]
    for room in rooms:
        await live.typing.set(ALICE, room, True)
    assert [await live.typing.users(room) for room in rooms] == [[ALICE], [ALICE], []]
    await live.typing.set(ALICE, rooms[0], False)
    await live.typing.set(ALICE, rooms[2], True)
    assert await live.typing.users(rooms[2]) == [ALICE]
    assert ROOMS_OF_USER_MAX == 50
