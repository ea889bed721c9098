"""The bell that wakes background tasks: heard whenever it was rung, and without it after a while."""

from __future__ import annotations

import asyncio

from homeserver.runtime.bell import Bell
from tests.kit.clock import FakeClock
from tests.kit.until import a_moment


async def test_what_rang_before_and_what_rings_meanwhile_is_heard() -> None:
    bell, clock = Bell(), FakeClock()
    bell.ring()
    await asyncio.wait_for(bell.wait(clock, 60), 30)
    bell.answer()
    waiting = asyncio.ensure_future(bell.wait(clock, 60))
    await a_moment()
    assert not waiting.done()
    bell.ring()
    await asyncio.wait_for(waiting, 30)
    assert bell.is_rung


async def test_a_silent_bell_is_waited_for_only_so_long() -> None:
    bell, clock = Bell(), FakeClock()
    waiting = asyncio.ensure_future(bell.wait(clock, 60))
    await a_moment()
    clock.advance(61)
    await asyncio.wait_for(waiting, 30)
    assert not bell.is_rung
