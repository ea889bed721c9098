"""Keeps the overview of all rooms: a consumer of the journal, a moment behind the events.

What it hears is remembered by room alone, so that a busy room costs one row a round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from admin.jobs import Job
from admin.storage import room_overviews
from admin.storage.room_overviews import CONSUMER, Overview
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import Written
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.clock import Clock
from homeserver.storage import events, journal_cursors
from homeserver.storage.database import Database

EVERY_S = 0.5
AT_ONCE = 200
CATCH_UP_EVENTS = 1_000
# Counting more members than this would hold up everybody else.
_INLINE_MEMBERS = 20_000
REBUILD = "rebuild_room_overviews"


class RoomOverviews:
    """`start` catches up and listens, `run` is one round of its task, `rebuild` the job that makes all anew."""

    def __init__(self, db: Database, journal: Journal, rooms: Rooms, clock: Clock, server_name: ServerName) -> None:
        self._db = db
        self._journal = journal
        self._rooms = rooms
        self._clock = clock
        self._server_name = server_name
        self._changed: dict[RoomId, None] = {}
        self._heard = asyncio.Event()
        self._writing = asyncio.Lock()
        self._written = 0

    async def start(self) -> None:
        # First of all: what happens while this catches up is heard.
        self._journal.listen(self._hear)
        at = await journal_cursors.position(self._db, CONSUMER)
        upto = self._journal.visible
        if at is None:
            await self._all(0)
        else:
            while nids := await events.after_position(self._db, at, upto, CATCH_UP_EVENTS):
                stored = await events.by_nids(self._db, list(nids))
                at = max(nids.values())
                await self._write({found.event.room_id for found in stored if found.event.is_state}, at)
        await self._write((), upto)
        self._journal.follow(CONSUMER, lambda: self._written)

    async def run(self) -> None:
        """Waits until something was heard, then writes it down."""
        await self._heard.wait()
        await self._clock.sleep(EVERY_S)
        self._heard.clear()
        await self.write()

    async def write(self) -> None:
        """Writes down what was heard until now; waits for who does so now."""
        async with self._writing:
            upto, changed = self._journal.visible, self._changed
            self._changed = {}
            try:
                await self._write(changed, upto)
            except BaseException:
                self._changed = {**changed, **self._changed}
                self._heard.set()
                raise

    async def forget(self, user_id: UserId) -> int | None:
        """As a place where content lies (ports.ContentKeeper): what an erased user called their rooms is in it."""
        await self.write()
        return None

    async def scrub(self) -> None:
        """Nothing of a name that is no more is in its table now; the table itself is rewritten with the others."""
        await self.write()

    async def rebuild(self, job: Job) -> None:
        """Work of a job: makes the overviews of all rooms anew."""
        at = int(job.progress.get("after", 0))
        while following := await self._some(at):
            at, count = following
            job.progress.update(after=at, rooms=job.progress.get("rooms", 0) + count)
            await job.note()

    def _hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry.payload, Written):
                if entry.payload.event.is_state:
                    self._changed[entry.payload.event.room_id] = None
            elif entry.kind == "state_jump" and entry.room_id is not None:
                self._changed[entry.room_id] = None
            else:
                continue
            self._heard.set()
        if not self._changed:
            self._written = self._journal.visible

    async def _all(self, after: int) -> None:
        while following := await self._some(after):
            after = following[0]

    async def _some(self, after: int) -> tuple[int, int] | None:
        rooms = await room_overviews.room_ids_after(self._db, after, AT_ONCE)
        if not rooms:
            return None
        await self._write([room_id for _, room_id in rooms], None)
        return rooms[-1][0], len(rooms)

    async def _write(self, room_ids: Collection[RoomId], upto: int | None) -> None:
        """The overviews of these; the cursor, if there is one to advance, with the last of them."""
        waiting = list(room_ids)
        for start in range(0, max(1, len(waiting)), AT_ONCE):
            rooms = await self._rooms.get_many(waiting[start : start + AT_ONCE])
            made = [await self._overview(room) for room in rooms.values()]
            async with self._db.transaction() as tx:
                if made:
                    await room_overviews.upsert(tx, made)
                if upto is not None and start + AT_ONCE >= len(waiting):
                    await journal_cursors.advance(tx, CONSUMER, upto)
        if upto is not None:
            self._written = upto

    async def _overview(self, room: Room) -> Overview:
        if len(room.members) > _INLINE_MEMBERS:
            local, invited = await asyncio.to_thread(_counts, room, self._server_name)
        else:
            local, invited = _counts(room, self._server_name)
        create = room.known_state("m.room.create")
        return Overview(
            room_nid=room.nid,
            room_id=room.room_id,
            name=_stored(room.known_text("m.room.name", "name")),
            topic=_stored(room.known_text("m.room.topic", "topic"), 1_000),
            avatar=_stored(room.known_text("m.room.avatar", "url")),
            canonical_alias=_stored(room.known_text("m.room.canonical_alias", "alias")),
            room_type=_stored(room.known_text("m.room.create", "type")),
            creator=create.sender if create is not None else "",
            version=room.version.id,
            encryption=_stored(room.known_text("m.room.encryption", "algorithm")),
            join_rules=_stored(room.known_text("m.room.join_rules", "join_rule")),
            guest_access=_stored(room.known_text("m.room.guest_access", "guest_access")),
            history_visibility=_stored(room.known_text("m.room.history_visibility", "history_visibility")),
            federatable=create is None or create.content.get("m.federate") is not False,
            tombstoned=room.known_state("m.room.tombstone") is not None,
            joined_members=room.joined,
            joined_local_members=local,
            invited_members=invited,
            state_events=len(await self._rooms.state_map(room)),
        )


def _counts(room: Room, server_name: ServerName) -> tuple[int, int]:
    """Joined users of ours, and all who are invited."""
    local = invited = 0
    for user_id, membership in room.members.items():
        if membership == "join":
            local += domain_of(user_id) == server_name
        elif membership == "invite":
            invited += 1
    return local, invited


def _stored(text: str | None, chars_max: int = 255) -> str | None:
    """What PostgreSQL can hold, and its indexes, and no more than a list shows."""
    return text.replace("\x00", "")[:chars_max] if text else None
