"""Rooms whose graphs end in many places, tied together: so that what follows needs no resolution of all of them.

Whoever sends events that all follow from one place leaves a room with as many ends, and each has a say in what the
room's state is. A user of ours who may then sends an event that does nothing but cite the ends, as many as one event
may, and another, until they are few. Other servers get it like any event; nobody is shown it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from homeserver.core.errors import MatrixError
from homeserver.core.events import Draft
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of
from homeserver.core.room import KNOT
from homeserver.journal.journal import Entry
from homeserver.rooms.building import Written
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.writer import RoomWriter
from homeserver.runtime.clock import Clock

log = structlog.get_logger()

HEADS_MAX = 10
ROOMS_REMEMBERED_MAX = 10_000
KNOTS_AT_ONCE = 20
EVERY_S = 0.25


class Ties:
    """A background task: `run` does one round."""

    def __init__(self, rooms: Rooms, writer: RoomWriter, clock: Clock, server_name: ServerName) -> None:
        self._rooms = rooms
        self._writer = writer
        self._clock = clock
        self._server_name = server_name
        self._loose: set[RoomId] = set()
        # How many ends the rooms have that have too many.
        self._ends: dict[RoomId, int] = {}
        self._is_some = asyncio.Event()

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener."""
        for entry in entries:
            if not isinstance(entry.payload, Written):
                continue
            room_id, ends = entry.payload.room.room_id, len(entry.payload.room.head.heads)
            if ends <= HEADS_MAX:
                self._ends.pop(room_id, None)
                continue
            if room_id in self._ends or len(self._ends) < ROOMS_REMEMBERED_MAX:
                self._ends[room_id] = ends
            self._loose.add(room_id)
            self._is_some.set()

    def figures(self) -> Mapping[str, float]:
        """In how many rooms the graph ends in too many places, and in how many in the worst of them."""
        return {"rooms": len(self._ends), "most": max(self._ends.values(), default=0)}

    async def run(self) -> None:
        """Waits until some room has too many ends, ties them, and rests for a moment."""
        await self._is_some.wait()
        self._is_some.clear()
        loose, self._loose = self._loose, set()
        for room_id in sorted(loose):
            await self._tie(room_id)
        await self._clock.sleep(EVERY_S)

    async def _tie(self, room_id: RoomId) -> None:
        for _ in range(KNOTS_AT_ONCE):
            room = await self._rooms.get(room_id)
            if room is None or room.partial is not None or len(room.head.heads) <= HEADS_MAX:
                return
            sender = self._sender(room)
            if sender is None:
                log.info("room_ends_left_loose", room_id=room_id, reason="none of our users may tie them")
                return
            draft = Draft(type=KNOT, sender=sender, content={}, origin_server_ts=self._clock.now_ms())
            try:
                await self._writer.send(room_id, draft)
            except MatrixError as error:
                log.info("room_ends_left_loose", room_id=room_id, reason=error.message)
                return

    def _sender(self, room: Room) -> UserId | None:
        """A user of ours who may send it; always the same one, as long as they may."""
        levels = room.power_levels()
        if levels is None:
            return None
        able = (
            user_id
            for user_id in room.joined_members()
            if domain_of(user_id) == self._server_name and levels.may_send(user_id, KNOT, is_state=False)
        )
        return min(able, default=None)
