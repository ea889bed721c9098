"""The timelines of many rooms at once, and the state that goes before them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.filters import EventLike, RoomEventFilter, RoomFilter, compile_event_filter
from homeserver.core.identifiers import UserId
from homeserver.core.room import KNOT
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.history import FIRST_PLACE
from homeserver.rooms.read_gate import ReadGate
from homeserver.rooms.related_by import related
from homeserver.rooms.residents import Rooms
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.storage import events, forks
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.states import StateMap
from homeserver.sync.hub import SyncHub
from homeserver.sync.lazy_members import LazyMembers
from homeserver.sync.plans import IN, Plan, Told

# With a filter some events are left out, so more are read; a timeline so found may be marked limited needlessly.
FILTERED_READ_MAX = 500

Passes = Callable[[StoredEvent], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomReads:
    """The rooms package as sync reads it."""

    db: Database
    rooms: Rooms
    store: EventStore
    numbers: StateNumbers
    gate: ReadGate
    client_events: ClientEvents


class Timelines:
    """Builds `Told` for many rooms: a handful of queries, none for what memory has."""

    def __init__(self, reads: RoomReads, hub: SyncHub, lazy_members: LazyMembers) -> None:
        self._reads = reads
        self._hub = hub
        self._lazy = lazy_members

    async def read(
        self, viewer: UserId, plans: Sequence[Plan], wanted: RoomFilter, *, device: str, state_after: bool
    ) -> list[Told]:
        """Each room's timeline and state, in the order of `plans`."""
        told = await self._timelines(viewer, plans, wanted)
        await self._bound(viewer, told)
        maps = await self._states(told, state_after=state_after)
        wanted_nids = await self._lazy.chosen(viewer, device, told, maps, wanted)
        stored = await self._reads.store.by_nids({nid for nids in wanted_nids for nid in nids})
        passes = compile_event_filter(wanted.state)
        for room, nids in zip(told, wanted_nids, strict=True):
            found = [stored[nid] for nid in nids if nid in stored]
            room.state = [event for event in found if passes is None or passes(event.event)]
        return told

    async def _timelines(self, viewer: UserId, plans: Sequence[Plan], wanted: RoomFilter) -> list[Told]:
        limit = wanted.timeline.limited()
        by_event, is_by_relations = compile_event_filter(wanted.timeline), wanted.timeline.is_by_relations
        is_filtered = by_event is not None or is_by_relations
        most = min(10 * limit + 20, FILTERED_READ_MAX) if is_filtered else limit + 1
        recent = [self._recent(plan) for plan in plans]
        spans = {
            plan.room.nid: (plan.since or FIRST_PLACE, plan.upto)
            for plan, known in zip(plans, recent, strict=True)
            if known is None
        }
        read = await events.windows(self._reads.db, spans, limit=most) if spans else {}
        stored = await self._reads.store.by_nids({nid for nids in read.values() for nid in nids}) if read else {}
        strange = [plan.room for plan in plans if not plan.is_steady]
        if strange:
            await self._reads.gate.timelines(viewer, strange)
        edges = await self._gaps(plans)
        founds = [
            known if known is not None else [stored[nid] for nid in read[plan.room.nid] if nid in stored]
            for plan, known in zip(plans, recent, strict=True)
        ]
        related_nids = await self._related(viewer, plans, founds, wanted.timeline) if is_by_relations else None
        passes = _passes(by_event, related_nids)
        told = []
        for plan, known, found in zip(plans, recent, founds, strict=True):
            edge = edges.get(plan.room.nid)
            if edge is not None:
                found = [event for event in found if (event.ordering or 0) >= edge]
            room = await self._cut(viewer, plan, found, limit, most, passes, is_read=known is None)
            if edge is not None and not room.is_limited:
                room.is_limited, room.start = True, room.start if room.events else edge
            told.append(room)
        return told

    async def _related(
        self, viewer: UserId, plans: Sequence[Plan], found: Sequence[Sequence[StoredEvent]], wanted: RoomEventFilter
    ) -> set[int]:
        """Of some events of rooms those to which others relate as the filter wants. One query."""
        rooms, nids = [plan.room for plan in plans], [stored.nid for events in found for stored in events]
        timelines = await self._reads.gate.timelines(viewer, rooms)
        return await related(self._reads.db, rooms, timelines, nids, wanted)

    async def _gaps(self, plans: Sequence[Plan]) -> dict[int, int]:
        """Room nid → where its timeline begins after the last gap. One query at most, none where memory knows of none.

        What lies before a gap doesn't follow on it: the client asks /messages, which fills the gap.
        """
        spans = {
            plan.room.nid: (plan.since or FIRST_PLACE, plan.upto)
            for plan in plans
            if plan.since < self._hub.start or self._hub.gap_last(plan.room.room_id) > plan.since
        }
        return await forks.newest_gaps(self._reads.db, spans) if spans else {}

    def _recent(self, plan: Plan) -> list[StoredEvent] | None:
        """The room's events from memory, where it reaches back far enough."""
        return self._hub.recent(plan.room.room_id, plan.since, plan.upto) if plan.since else None

    async def _cut(
        self,
        viewer: UserId,
        plan: Plan,
        found: list[StoredEvent],
        limit: int,
        most: int,
        passes: Passes | None,
        *,
        is_read: bool,
    ) -> Told:
        seen = found if plan.is_steady else await self._visible(viewer, plan, found)
        seen = [stored for stored in seen if stored.event.type != KNOT]
        visible = seen if passes is None else [stored for stored in seen if passes(stored)]
        shown = visible[len(visible) - limit :] if len(visible) > limit else visible
        is_limited = len(visible) > limit or (is_read and len(found) >= most)
        is_limited |= plan.is_back or (plan.is_newly_joined and len(visible) < len(seen))
        if shown:
            start = shown[0].ordering or 0
        elif found and is_limited:
            start = (found[-1].ordering or 0) + 1
        else:
            start = plan.upto + 1
        has_state = any(stored.event.is_state for stored in found)
        told = Told(plan, shown, is_limited, has_state, start)
        if passes is not None and has_state:
            told.left_out = [
                stored
                for stored in seen
                if stored.event.is_state and (stored.ordering or 0) >= start and not passes(stored)
            ]
        return told

    async def _visible(self, viewer: UserId, plan: Plan, found: list[StoredEvent]) -> list[StoredEvent]:
        seen = {stored.nid: stored for stored in await self._reads.gate.filter(viewer, plan.room, found)}
        # What concerns the viewer's own membership is always told: a declined invite, say.
        return [
            seen.get(stored.nid, stored)
            for stored in found
            if stored.nid in seen or (stored.event.state_key == viewer and stored.event.type == "m.room.member")
        ]

    async def _bound(self, viewer: UserId, told: Sequence[Told]) -> None:
        """Says up to where each room's state is the viewer's: who left gets nothing of what came after that.

        A ban, or an invite that was turned down, shows nothing more to who had left before or was never inside.
        """
        left = [room.plan.room for room in told if room.plan.membership != IN]
        timelines = await self._reads.gate.timelines(viewer, left) if left else {}
        for room in told:
            plan = room.plan
            if plan.membership == IN:
                room.state_upto = plan.upto
                continue
            seen = timelines[plan.room.room_id]
            room.state_upto = plan.upto if seen.is_left_last else min(plan.upto, seen.left_at or FIRST_PLACE)

    async def _states(self, told: Sequence[Told], *, state_after: bool) -> list[StateMap | dict[int, int]]:
        """Key nid → event nid that each room's state section is about: all of it, or what changed."""
        maps: list[StateMap | dict[int, int]] = [{} for _ in told]
        full: dict[int, int] = {}  # index → state nid
        spans: dict[int, tuple[int, int]] = {}
        for index, room in enumerate(told):
            if room.plan.is_full:
                nid = _state_nid(room, state_after=state_after)
                if nid is not None:
                    full[index] = nid
            elif state_after and (room.is_limited or room.has_state):
                spans[room.plan.room.nid] = (room.plan.since, room.state_upto)
            elif room.is_limited:
                spans[room.plan.room.nid] = (room.plan.since, min(room.start - 1, room.state_upto))
        jumps = await self._jumps(told, full)
        lines = [told[index].plan.room.line for index, nid in full.items() if nid == told[index].plan.room.line.nid]
        found = await self._reads.rooms.maps_of_lines(lines)
        found.update(await self._reads.rooms.maps({nid for nid in full.values() if nid not in found}))
        for index, nid in full.items():
            maps[index] = found[nid]
        changes = await events.state_changes(self._reads.db, spans) if spans else {}
        left_out = await self._left_out(told, state_after=state_after)
        for index, room in enumerate(told):
            if room.plan.room.nid in changes:
                maps[index] = changes[room.plan.room.nid]
            if index in left_out:
                maps[index] = {**maps[index], **left_out[index]}
            if room.plan.room.nid in jumps:
                maps[index] = {**maps[index], **jumps[room.plan.room.nid]}
        return maps

    async def _left_out(self, told: Sequence[Told], *, state_after: bool) -> dict[int, dict[int, int]]:
        """Index → key → event of the state that the timelines' filter leaves out, and that must be told apart."""
        wanted: dict[int, list[StoredEvent]] = {}
        for index, room in enumerate(told):
            # The state after the timeline has what happened within it.
            after = (room.events[-1].ordering or 0) if state_after and room.events else room.start - 1
            found = [stored for stored in room.left_out if (stored.ordering or 0) > after]
            if found:
                wanted[index] = found
        keys = {stored.event.key for found in wanted.values() for stored in found}
        numbers = await self._reads.numbers.find(keys) if keys else {}
        return {index: {numbers[stored.event.key]: stored.nid for stored in found} for index, found in wanted.items()}

    async def _jumps(self, told: Sequence[Told], full: Mapping[int, int]) -> dict[int, dict[int, int]]:
        """What changed of the rooms' states otherwise than by the events of their timelines. One query at most."""
        spans: dict[int, tuple[int, int]] = {}
        for index, room in enumerate(told):
            plan = room.plan
            since = room.start - 1 if index in full else plan.since
            if since < self._hub.start or self._hub.jump_last(plan.room.room_id) > since:
                spans[plan.room.nid] = (since, room.state_upto)
        return await forks.jumps_within(self._reads.db, spans) if spans else {}


def _passes(by_event: Callable[[EventLike], bool] | None, nids: set[int] | None) -> Passes | None:
    """Whether an event is wanted by what it is, and is one of these; None where all are."""
    if nids is None:
        return None if by_event is None else lambda stored: by_event(stored.event)
    return lambda stored: stored.nid in nids and (by_event is None or by_event(stored.event))


def _state_nid(room: Told, *, state_after: bool) -> int | None:
    """The state at the start of the timeline, or after its end. None before the create event."""
    shown = [stored for stored in room.events if (stored.ordering or 0) <= room.state_upto]
    if not shown and room.state_upto < room.plan.upto:
        return None
    if not shown:
        # Who has left gets the state after the event with which they left.
        return room.plan.room.line.nid if room.plan.membership == "join" else room.plan.upto
    if state_after:
        last = shown[-1]
        return last.state_after
    return shown[0].state_nid
