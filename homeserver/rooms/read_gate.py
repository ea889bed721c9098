"""The one read gate: (room, event, viewer) → full, redacted or nothing.

Sync, /messages, /context, /event, relations, push, media of events and search all ask here. spec:
client-server-api/#room-history-visibility
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from homeserver.core.events import StateKey
from homeserver.core.identifiers import RoomId, UserId
from homeserver.core.visibility import Verdict, VisibilityTimeline, visibility_of
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import Written
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.storage import events, memberships
from homeserver.storage.database import Database
from homeserver.storage.events import SOFT_FAILED, StoredEvent

TIMELINES_MAX = 50_000
FIRST = -(2**62)
_VISIBILITY: StateKey = ("m.room.history_visibility", "")


class NumberedRoom(Protocol):
    """What the gate must know of a room; a whole `Room` isn't needed."""

    @property
    def nid(self) -> int: ...

    @property
    def room_id(self) -> RoomId: ...


class ErasedUsers(Protocol):
    """Accounts that were erased. Implemented by accounts."""

    async def erased_at(self, user_ids: Collection[UserId]) -> Mapping[UserId, int]:
        """The journal position at which each of those that were erased was; others are left out."""
        ...

    async def erased(self) -> Mapping[UserId, int]:
        """The same of all that ever were."""
        ...


class ReadGate:
    """Decides, for many events at once, what a viewer gets of each."""

    def __init__(
        self, db: Database, event_store: EventStore, numbers: StateNumbers, erased: ErasedUsers, journal: Journal
    ) -> None:
        self._db = db
        self._events = event_store
        self._numbers = numbers
        self._erased = erased
        # A viewer of None is the public: whoever is no member.
        self._timelines: OrderedDict[tuple[RoomId, UserId | None], VisibilityTimeline] = OrderedDict()
        self._viewers: dict[RoomId, set[UserId | None]] = {}
        self._changes = 0
        journal.listen(self._hear)

    async def filter(
        self, viewer: UserId | None, room: NumberedRoom, stored: Sequence[StoredEvent]
    ) -> list[StoredEvent]:
        """Those of these events of one room that the viewer may see, in the same order; redacted where they must be.

        At most two queries, none when this viewer has read this room lately.
        """
        shown = [event for event in stored if event.room_nid == room.nid and event.is_for_people]
        if not shown:
            return []
        timeline = (await self.timelines(viewer, [room]))[room.room_id]
        erased = await self._erased.erased_at({event.event.sender for event in shown})
        kept = []
        for event in shown:
            assert event.ordering is not None
            verdict = timeline.verdict(
                event.ordering,
                erased_at=erased.get(event.event.sender) if erased else None,
                soft_failed=bool(event.flags & SOFT_FAILED),
            )
            if verdict is Verdict.FULL:
                kept.append(event)
            elif verdict is Verdict.REDACTED:
                kept.append(replace(event, event=event.event.redacted(), rendered=None))
        return kept

    async def timelines(
        self, viewer: UserId | None, rooms: Collection[NumberedRoom]
    ) -> dict[RoomId, VisibilityTimeline]:
        """The viewer's view of each of these rooms. At most two queries for all."""
        found = {
            room.room_id: timeline
            for room in rooms
            if (timeline := self._timelines.get((room.room_id, viewer))) is not None
        }
        missing = [room for room in rooms if room.room_id not in found]
        if missing:
            before = self._changes
            built = await self._build(viewer, missing)
            found.update(built)
            if before == self._changes:
                self._keep(viewer, built)
        return found

    async def erased_in(self, room_nids: Collection[int]) -> dict[UserId, tuple[int, set[int]]]:
        """Who was erased and may have said something in these rooms: the journal position of that, and which of them.

        One query where anybody was ever erased, else none.
        """
        positions = await self._erased.erased()
        found: dict[UserId, tuple[int, set[int]]] = {}
        if positions and room_nids:
            for user_id, room_nid in await memberships.of_users_in(self._db, positions, room_nids):
                found.setdefault(user_id, (positions[user_id], set()))[1].add(room_nid)
        return found

    async def _build(self, viewer: UserId | None, rooms: Collection[NumberedRoom]) -> dict[RoomId, VisibilityTimeline]:
        keys = [_VISIBILITY] if viewer is None else [_VISIBILITY, ("m.room.member", viewer)]
        numbers = await self._numbers.find(keys)
        ids = {room.nid: room.room_id for room in rooms}
        history = await events.state_history(self._db, list(ids), list(numbers.values())) if numbers else []
        stored = await self._events.by_nids({event_nid for *_, event_nid, _ in history})
        visibilities: dict[int, list[tuple[int, str]]] = {nid: [] for nid in ids}
        memberships: dict[int, list[tuple[int, str | None]]] = {nid: [] for nid in ids}
        for room_nid, key_nid, ordering, event_nid, is_jump in history:
            event = stored[event_nid].event if event_nid in stored else None
            if key_nid == numbers.get(_VISIBILITY):
                # What a room was joined with held before, as far as anybody here can know.
                since = FIRST if is_jump and not visibilities[room_nid] else ordering
                visibilities[room_nid].append((since, visibility_of(event.content if event else None)))
            else:
                memberships[room_nid].append((ordering, event.membership if event else None))
        return {ids[nid]: VisibilityTimeline(visibilities[nid], memberships[nid]) for nid in ids}

    def _keep(self, viewer: UserId | None, built: Mapping[RoomId, VisibilityTimeline]) -> None:
        for room_id, timeline in built.items():
            self._timelines[room_id, viewer] = timeline
            self._viewers.setdefault(room_id, set()).add(viewer)
        while len(self._timelines) > TIMELINES_MAX:
            (room_id, oldest), _ = self._timelines.popitem(last=False)
            self._viewers[room_id].discard(oldest)
            if not self._viewers[room_id]:
                del self._viewers[room_id]

    def _hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind in ("state_jump", "room_purged") and entry.room_id is not None:
                self._changes += 1
                for viewer in list(self._viewers.get(entry.room_id, ())):
                    self._forget(entry.room_id, viewer)
            written = entry.payload
            if not isinstance(written, Written):
                continue
            event = written.event
            if event.type == "m.room.member":
                self._changes += 1
                self._forget(event.room_id, UserId(event.state_key or ""))
            elif event.type == _VISIBILITY[0]:
                self._changes += 1
                for viewer in list(self._viewers.get(event.room_id, ())):
                    self._forget(event.room_id, viewer)

    def _forget(self, room_id: RoomId, viewer: UserId | None) -> None:
        if self._timelines.pop((room_id, viewer), None) is not None:
            self._viewers[room_id].discard(viewer)
