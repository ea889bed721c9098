"""Reading a room's past: pages, the surroundings of an event, the state at a point. All through the read gate.

A place in a timeline is an integer: what lies *before* place n are the events with ordering < n.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from homeserver.core.errors import Forbidden, NotFound
from homeserver.core.events import StateKey
from homeserver.core.filters import RoomEventFilter
from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.core.visibility import VisibilityTimeline
from homeserver.ports import EarlierEvents
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.related_by import related
from homeserver.rooms.residents import Room, Rooms
from homeserver.storage import events, memberships
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.states import StateMap

FIRST_PLACE = -(2**62)
LAST_PLACE = 2**62
# A page looks at so many events at most before it answers with what it has; the client then asks on.
SCANNED_MAX = 2_000
# So many gaps of the timeline are filled for one page, each by a question to another server.
GAPS_FILLED_MAX = 3


EVERYTHING = RoomEventFilter()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a page is to have: those that pass, and where the filter says so, that others relate to."""

    passes: Callable[[StoredEvent], bool] | None = None
    asked: RoomEventFilter = EVERYTHING


@dataclass(frozen=True, slots=True)
class Page:
    """Events in the order asked for. `end` is the place to go on from, or None at the end of what there is."""

    events: list[StoredEvent]
    start: int
    end: int | None


class Gate(Protocol):
    """Says what a viewer gets. Implemented by rooms.read_gate, and by what reads for those who run the server."""

    async def filter(self, viewer: UserId | None, room: Room, stored: Sequence[StoredEvent]) -> list[StoredEvent]: ...

    async def timelines(
        self, viewer: UserId | None, rooms: Collection[Room]
    ) -> Mapping[RoomId, VisibilityTimeline]: ...


class History:
    """Reads rooms for a viewer."""

    def __init__(
        self, db: Database, rooms: Rooms, event_store: EventStore, gate: Gate, earlier: EarlierEvents | None = None
    ) -> None:
        self.earlier = earlier
        self._db = db
        self._rooms = rooms
        self._events = event_store
        self._gate = gate

    async def room_for(self, viewer: UserId, room_id: RoomId) -> Room:
        """The room, for somebody who is or was in it, or could read it as a stranger.

        Raises Forbidden alike for rooms that don't exist and those that the viewer has nothing to do with.
        """
        room = await self._rooms.get(room_id)
        if room is None:
            raise Forbidden("you are not in this room")
        if room.membership(viewer) == "join":
            return room
        timeline = (await self._gate.timelines(viewer, [room]))[room_id]
        if not timeline.visible_ranges() or await self._is_forgotten(viewer, room):
            raise Forbidden("you are not in this room")
        return room

    async def _is_forgotten(self, viewer: UserId, room: Room) -> bool:
        if room.membership(viewer) is None:
            return False
        return await memberships.is_forgotten(self._db, room.nid, viewer)

    async def page(
        self,
        viewer: UserId,
        room: Room,
        *,
        start: int | None,
        backwards: bool,
        limit: int,
        stop: int | None = None,
        wanted: Wanted | None = None,
    ) -> Page:
        """Up to `limit` visible events from place `start` on. Queries by hundreds of events, not by one."""
        place = start if start is not None else (room.newest + 1 if backwards else FIRST_PLACE)
        first, found, scanned = place, list[StoredEvent](), 0
        gaps_left, may_be_more = GAPS_FILLED_MAX, False
        while len(found) < limit and scanned < SCANNED_MAX:
            batch = min(max(limit - len(found), 20), 500)
            nids = await self._nids(room, place, stop, batch, backwards=backwards)
            stored = await self._events.by_nids(nids)
            ordered = [stored[nid] for nid in nids if nid in stored]
            if backwards and gaps_left:
                gaps_left -= 1
                floor = _place(ordered[-1]) if ordered and len(nids) == batch else FIRST_PLACE
                if await self._reach_back(room, place, floor, stop):
                    # What came may be nothing that is shown, and what lies before it is asked for by the next page.
                    may_be_more = not gaps_left
                    continue
            seen_here = await self._chosen(viewer, room, await self._gate.filter(viewer, room, ordered), wanted)
            visible = {event.nid: event for event in seen_here}
            for event in ordered:
                scanned += 1
                place = _place(event) if backwards else _place(event) + 1
                seen = visible.get(event.nid)
                if seen is not None:
                    found.append(seen)
                    if len(found) == limit:
                        break
            if len(nids) < batch:
                ended = len(found) < limit or await self._is_end(room, place, stop, backwards=backwards)
                return Page(found, first, None if ended and not may_be_more else place)
        return Page(found, first, place)

    async def _chosen(
        self, viewer: UserId, room: Room, seen: list[StoredEvent], wanted: Wanted | None
    ) -> list[StoredEvent]:
        """Those of the visible events that are wanted. One query where the filter asks for what others relate to."""
        if wanted is None:
            return seen
        found = seen if wanted.passes is None else [event for event in seen if wanted.passes(event)]
        if found and wanted.asked.is_by_relations:
            timelines = await self._gate.timelines(viewer, [room])
            chosen = await related(self._db, [room], timelines, [event.nid for event in found], wanted.asked)
            return [event for event in found if event.nid in chosen]
        return found

    async def _reach_back(self, room: Room, place: int, floor: int, stop: int | None) -> bool:
        """Whether more of the past between these places came in from other servers."""
        if self.earlier is None or stop is not None:
            return False
        return await self.earlier.reach_back(room.room_id, place, floor)

    async def around(
        self, viewer: UserId, room: Room, event_id: EventId, *, limit: int, wanted: Wanted | None = None
    ) -> tuple[StoredEvent, Page, Page]:
        """An event with the pages before it (newest first) and after it. Raises NotFound if it isn't visible."""
        event = await self.event(viewer, room, event_id)
        place = _place(event)
        before = await self.page(viewer, room, start=place, backwards=True, limit=(limit + 1) // 2, wanted=wanted)
        after = await self.page(viewer, room, start=place + 1, backwards=False, limit=limit // 2, wanted=wanted)
        return event, before, after

    async def event(self, viewer: UserId, room: Room, event_id: EventId) -> StoredEvent:
        """One event as the viewer may see it. Raises NotFound alike if it isn't there or isn't theirs to see."""
        stored = await self._events.by_id(event_id)
        visible = await self._gate.filter(viewer, room, [stored]) if stored is not None else []
        if not visible:
            raise NotFound("there is no such event, or you may not see it")
        return visible[0]

    async def event_of(self, viewer: UserId, room_id: RoomId, event_id: EventId) -> StoredEvent:
        """The same by room id; an unknown room is no other answer than an unknown event."""
        room = await self._rooms.get(room_id)
        if room is None:
            raise NotFound("there is no such event, or you may not see it")
        return await self.event(viewer, room, event_id)

    async def member_events(self, viewer: UserId, room: Room, place: int | None) -> list[StoredEvent]:
        """All member events of a room's state: at a place, or as `state_for` gives it. Waits for missing members.

        Before anything happened there is nobody; who asks for then gets the room as its creator entered it.
        """
        room = await self._rooms.whole(room)
        if place is None or place > room.newest:
            stored = await self.state_for(viewer, room)
        else:
            place = await self._place_seen(viewer, room, place)
            founded = await events.forwards(self._db, room.nid, after=FIRST_PLACE, before=LAST_PLACE, limit=2)
            last = (await self._events.by_nids(founded))[founded[-1]] if founded else None
            earliest = _place(last) + 1 if last is not None else FIRST_PLACE
            state = await self.state_at(room, max(place, earliest))
            stored = list((await self._events.by_nids(list(state.values()))).values())
        return [event for event in stored if event.event.type == "m.room.member"]

    async def _place_seen(self, viewer: UserId, room: Room, place: int) -> int:
        """The place nearest to this one whose state is theirs: where they left, say. Raises Forbidden."""
        timeline = (await self._gate.timelines(viewer, [room]))[room.room_id]
        is_open = room.known_text("m.room.history_visibility", "history_visibility") == "world_readable"
        if room.membership(viewer) != "join" and not is_open and timeline.left_at is None:
            raise Forbidden("you are not in this room")
        return timeline.place_seen(place)

    async def state_after(self, stored: StoredEvent) -> StateMap:
        """All state after an event, as numbers."""
        nid = stored.state_after
        assert nid is not None
        return (await self._rooms.maps([nid]))[nid]

    async def state_at(self, room: Room, place: int) -> StateMap:
        """All state after the events before a place."""
        if place > room.newest:
            return await self._rooms.state_map(room)
        nids = await events.backwards(self._db, room.nid, before=place, after=FIRST_PLACE, limit=1)
        if not nids:
            raise NotFound("nothing happened in the room before that")
        return await self.state_after((await self._events.by_nids(nids))[nids[0]])

    async def state_for(self, viewer: UserId, room: Room) -> list[StoredEvent]:
        """The state that a viewer gets: the current one, or that at their leaving. Waits for missing members.

        Raises Forbidden.
        """
        room = await self._rooms.whole(room)
        membership = room.membership(viewer)
        visibility = room.known_text("m.room.history_visibility", "history_visibility")
        if membership == "join" or visibility == "world_readable":
            return await self._rooms.full_state(room)
        left = await self._left_with(viewer, room) if membership in ("leave", "ban") else None
        if left is None:
            raise Forbidden("you are not in this room")
        state = await self.state_after(left)
        return list((await self._events.by_nids(list(state.values()))).values())

    async def state_event_for(self, viewer: UserId, room: Room, key: StateKey) -> StoredEvent | None:
        """One event of what `state_for` gives, without loading the rest. Raises Forbidden."""
        if room.membership(viewer) == "join":
            if key[0] == "m.room.member" and room.membership(UserId(key[1])) is None:
                room = await self._rooms.whole(room)
            known = await self._rooms.with_known(room, [key])
            nid = known.nids.get(key)
            return (await self._events.by_nids([nid])).get(nid) if nid is not None else None
        found = await self.state_for(viewer, room)
        return next((stored for stored in found if stored.event.key == key), None)

    async def nearest(self, viewer: UserId, room: Room, timestamp_ms: int, *, later: bool) -> StoredEvent:
        """The visible event nearest to a time, in one direction. Raises NotFound.

        Where our part of the timeline begins later, other servers are asked too.
        """
        nid = await events.nearest(self._db, room.nid, timestamp_ms, forwards_in_time=later)
        if self.earlier is not None and await self._may_lack(room, nid, timestamp_ms):
            elsewhere = await self.earlier.find_at(room.room_id, timestamp_ms, later=later)
            stored = await self._events.by_id(elsewhere[0]) if elsewhere is not None else None
            if stored is not None and stored.room_nid == room.nid:
                nid = await events.nearest(self._db, room.nid, timestamp_ms, forwards_in_time=later)
        if nid is not None:
            stored = (await self._events.by_nids([nid]))[nid]
            page = await self._gate.filter(viewer, room, [stored])
            if page:
                return page[0]
        raise NotFound("there is no event in that direction")

    async def _may_lack(self, room: Room, nid: int | None, timestamp_ms: int) -> bool:
        """Whether a better answer may lie before what is here."""
        oldest = await events.oldest_place(self._db, room.nid)
        if nid is None or oldest is None:
            return True
        found = (await self._events.by_nids([nid]))[nid]
        return found.ordering == oldest and found.event.type != "m.room.create"

    async def _left_with(self, viewer: UserId, room: Room) -> StoredEvent | None:
        """The event with which somebody who was in the room left it."""
        known = await self._rooms.with_known(room, [("m.room.member", viewer)])
        nid = known.nids.get(("m.room.member", viewer))
        if nid is None:
            return None
        stored = (await self._events.by_nids([nid])).get(nid)
        if stored is None or stored.replaces is None:
            return None
        before = (await self._events.by_nids([stored.replaces])).get(stored.replaces)
        return stored if before is not None and before.event.membership == "join" else None

    async def _nids(self, room: Room, place: int, stop: int | None, limit: int, *, backwards: bool) -> Sequence[int]:
        if backwards:
            low = stop - 1 if stop is not None else FIRST_PLACE
            return await events.backwards(self._db, room.nid, before=place, after=low, limit=limit)
        high = stop if stop is not None else LAST_PLACE
        return await events.forwards(self._db, room.nid, after=place - 1, before=high, limit=limit)

    async def _is_end(self, room: Room, place: int, stop: int | None, *, backwards: bool) -> bool:
        return not await self._nids(room, place, stop, 1, backwards=backwards)


def _place(event: StoredEvent) -> int:
    assert event.ordering is not None
    return event.ordering
