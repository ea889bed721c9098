"""Guests leave a room that no longer takes them. spec: client-server-api/#guest-access"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from homeserver.core.errors import MatrixError
from homeserver.journal.journal import Entry
from homeserver.rooms.building import Written
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.tasks import Tasks
from homeserver.storage import memberships
from homeserver.storage.database import Database

BATCH = 100
GUEST_ACCESS = "m.room.guest_access"


class GuestDoor:
    """Hears of changed guest access, and sees this server's guests out."""

    def __init__(self, db: Database, rooms: Rooms, submission: Submission, tasks: Tasks) -> None:
        self._db = db
        self._rooms = rooms
        self._submission = submission
        self._tasks = tasks

    def hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry.payload, Written) and _takes_no_more(entry.payload):
                self._tasks.start(self._see_out(entry.payload.room), name="guests_leave")

    async def resume(self) -> None:
        """Sees out whom a crash has left behind: goes at every start."""
        for room_id in await memberships.rooms_with_guests(self._db):
            access = await self._rooms.state_event(room_id, GUEST_ACCESS)
            room = await self._rooms.get(room_id)
            if room is not None and (access is None or access.content.get("guest_access") != "can_join"):
                await self._see_out(room)

    async def _see_out(self, room: Room) -> None:
        guests = await memberships.guests(self._db, room.nid)
        drafts = [
            self._submission.draft("m.room.member", guest, {"membership": "leave"}, guest)
            for guest in guests
            if self._submission.is_local(guest)
        ]
        for start in range(0, len(drafts), BATCH):
            with contextlib.suppress(MatrixError):  # one of them has left meanwhile: the others go one by one
                await self._submission.send_all(room.room_id, drafts[start : start + BATCH])
                continue
            for draft in drafts[start : start + BATCH]:
                with contextlib.suppress(MatrixError):
                    await self._submission.send(room.room_id, draft)


def _takes_no_more(written: Written) -> bool:
    """Whether an event stops a room from taking guests: says so, or redacts what said that it takes them."""
    event, redacted = written.event, written.redacts.event if written.redacts is not None else None
    if event.type == GUEST_ACCESS:
        # A room that had none let nobody in as a guest.
        return written.replaced is not None and event.content.get("guest_access") != "can_join"
    if redacted is None or redacted.type != GUEST_ACCESS:
        return False
    current = written.room.known_state(GUEST_ACCESS)
    return current is not None and current.event_id == redacted.event_id
