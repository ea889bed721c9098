"""Erases what redacted events said from storage, some time after they were hidden. spec: client-server-api/#redactions

That they are due stands in the database since the transaction that redacted them: a crash forgets none. What replaced a
redacted message goes with it, and what a legal hold keeps waits until it is released.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from homeserver.core import canonical_json
from homeserver.core.identifiers import RoomId
from homeserver.core.redaction import redact
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.event_store import EventStore
from homeserver.runtime.clock import Clock
from homeserver.storage import event_erasures
from homeserver.storage.database import Database
from homeserver.storage.event_erasures import Due, Edit

EVERY_S = 60.0
AT_ONCE = 200


class Erasure:
    """A background task: `run` does one round."""

    def __init__(
        self, db: Database, journal: Journal, event_store: EventStore, clock: Clock, *, retention_s: int
    ) -> None:
        self._db = db
        self._journal = journal
        self._events = event_store
        self._clock = clock
        self._retention_s = retention_s
        self._redacted = asyncio.Event()

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: begins at once where nothing is kept for a while."""
        if self._retention_s == 0 and any(
            entry.kind == "event" and entry.payload.redacts is not None for entry in entries
        ):
            self._redacted.set()

    def wake(self) -> None:
        """Something is due: the next round begins now."""
        self._redacted.set()

    async def run(self) -> None:
        """Erases what is due, then waits for the next round."""
        self._redacted.clear()
        while await self.erase_due() == AT_ONCE:
            pass
        waits = [asyncio.ensure_future(self._redacted.wait()), asyncio.ensure_future(self._clock.sleep(EVERY_S))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def erase_due(self) -> int:
        """Erases the oldest ones that are due; how many it found."""
        due = await event_erasures.due(self._db, self._clock.now_ms() - self._retention_s * 1000, AT_ONCE)
        if due:
            redacted = {event.event_nid: _redacted(event) for event in due}
            edits = await event_erasures.edits(self._db, redacted)
            async with self._journal.write() as write:
                await event_erasures.erase(write.tx, redacted)
                if edits:
                    await event_erasures.redact_edits(write.tx, edits, [_redacted(edit) for edit in edits])
                for room_id, nids in _by_room(edits).items():
                    write.publish("redacted", room_id=room_id, payload=tuple(nids))
            self._events.redacted([edit.event_nid for edit in edits])
        return len(due)


def _by_room(edits: Sequence[Edit]) -> dict[RoomId, list[int]]:
    found: dict[RoomId, list[int]] = {}
    for edit in edits:
        found.setdefault(edit.room_id, []).append(edit.event_nid)
    return found


def _redacted(event: Due | Edit) -> bytes:
    return canonical_json.encode(redact(ROOM_VERSIONS[event.room_version], canonical_json.decode(event.json)))
