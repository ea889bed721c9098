"""Waiting for something to happen in a room that one only looks into."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from homeserver.core.identifiers import RoomId
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import Written

WATCHERS_MAX = 1_000


class RoomWatch:
    """Wakes those who wait for a room's events."""

    def __init__(self, journal: Journal) -> None:
        self._waiting: dict[RoomId, set[asyncio.Event]] = {}
        self._count = 0
        self._journal = journal
        journal.listen(self._hear)

    @property
    def position(self) -> int:
        """Up to where all that happened can be read now."""
        return self._journal.visible

    @contextlib.contextmanager
    def watching(self, room_id: RoomId) -> Iterator[asyncio.Event]:
        """What is set as soon as something happens in the room. Set from the start where too many watch."""
        woken = asyncio.Event()
        if self._count >= WATCHERS_MAX:
            woken.set()
        waiting = self._waiting.setdefault(room_id, set())
        waiting.add(woken)
        self._count += 1
        try:
            yield woken
        finally:
            self._count -= 1
            waiting.discard(woken)
            if not waiting and self._waiting.get(room_id) is waiting:
                del self._waiting[room_id]

    def _hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries if self._waiting else ():
            if isinstance(entry.payload, Written):
                for woken in self._waiting.get(entry.payload.event.room_id, ()):
                    woken.set()
