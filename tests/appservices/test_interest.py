"""What an application service's interest remembers of comings and goings."""

from __future__ import annotations

from typing import Any, cast

import pytest

from homeserver.appservices import interest
from homeserver.appservices.interest import Interest, Turn
from homeserver.core.identifiers import RoomId, ServerName, UserId

USER = UserId("@_irc_ann:hansa.test")
A, B = RoomId("!a:hansa.test"), RoomId("!b:hansa.test")


def _interest() -> Interest:
    unused = cast(Any, None)
    return Interest(unused, unused, unused, ServerName("hansa.test"))


def _remembered(remembers: Interest) -> dict[str, list[int]]:
    return {room_id: [turn.position for turn in turns] for room_id, turns in remembers._turns.items()}


def _turns(*positions: int) -> list[Turn]:
    return [Turn(position, USER, False) for position in positions]


def test_what_was_judged_is_forgotten_and_nothing_else() -> None:
    remembers = _interest()
    for room_id, position in ((A, 1), (B, 2), (A, 3), (B, 4), (A, 5)):
        remembers.remember(room_id, _turns(position))
    remembers.forget_turns(0)
    assert _remembered(remembers) == {A: [1, 3, 5], B: [2, 4]}
    remembers.forget_turns(3)
    assert _remembered(remembers) == {A: [5], B: [4]}
    remembers.forget_turns(4)
    assert _remembered(remembers) == {A: [5]}
    remembers.forget_turns(9)
    assert _remembered(remembers) == {}


def test_past_the_cap_the_oldest_turns_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interest, "TURNS_MAX", 3)
    remembers = _interest()
    remembers.remember(A, _turns(1, 2))
    remembers.remember(B, _turns(3, 4, 5))
    assert _remembered(remembers) == {B: [3, 4, 5]}
