"""Reading a room as a graph: auth chains, states before events, what lies between events. For other servers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.core.state_resolution.sets import reachable
from homeserver.core.visibility import Verdict, VisibilityTimeline, visibility_of
from homeserver.rooms.auth_graph import AuthGraphs
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.read_gate import ErasedUsers
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.storage import events, forks
from homeserver.storage.database import Database
from homeserver.storage.events import REJECTED, StoredEvent

_VISIBILITY = ("m.room.history_visibility", "")
_OPEN = frozenset({"shared", "world_readable"})
FIRST = -(2**62)
# A chain of so few events and steps is read by itself; for others the room's whole graph is.
_INLINE_MAX = 2_000
NEAR_STEPS_MAX, NEAR_EVENTS_MAX = 8, 200


class GraphReads:
    """Answers other servers' questions about rooms."""

    def __init__(
        self, db: Database, rooms: Rooms, event_store: EventStore, numbers: StateNumbers, graphs: AuthGraphs
    ) -> None:
        self._db = db
        self._rooms = rooms
        self._events = event_store
        self._numbers = numbers
        self._graphs = graphs
        # Whose words those get whole alone who were there when they were said.
        self.erased: ErasedUsers | None = None

    async def by_ids(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        return await self._events.by_ids(event_ids)

    async def auth_chain(self, room: Room, starts: Collection[EventId]) -> list[StoredEvent]:
        """What these events cite as their authorisation, and what that cites, as it came. Ten queries at most."""
        near = None if self._graphs.is_held(room.nid) else await self._near_chain(room, starts)
        if near is not None:
            chain = near
        else:
            graph = await self._graphs.of(room.nid, room.version)
            if len(graph.auth_ids) > _INLINE_MAX:
                # Two microseconds an event. Meanwhile others only add to the graph, what nobody here leads to.
                chain = await asyncio.to_thread(reachable, list(starts), graph.auth_of)
            else:
                chain = reachable(starts, graph.auth_of)
            chain -= graph.rejected
        if room.version.room_id_from_create_event:
            chain.add(EventId("$" + room.room_id[1:]))  # nobody cites it, and all of them rest on it
        return sorted((await self._events.by_ids(chain)).values(), key=lambda stored: stored.nid)

    async def _near_chain(self, room: Room, starts: Collection[EventId]) -> set[EventId] | None:
        """The chain where it is short, step by step; None where it isn't."""
        found: dict[EventId, StoredEvent] = {}
        front = set(starts)
        for _ in range(NEAR_STEPS_MAX):
            if not front or len(front) + len(found) > NEAR_EVENTS_MAX:
                break
            stored = await self._events.by_ids(front)
            mine = {name: one for name, one in stored.items() if one.room_nid == room.nid and one.event.is_state}
            found |= mine
            front = {name for one in mine.values() for name in one.event.auth_event_ids} - found.keys()
        return None if front else {name for name, one in found.items() if not one.flags & REJECTED}

    async def chain_behind(self, room: Room, found: Sequence[Event]) -> list[StoredEvent]:
        """The auth chain of these events, without themselves unless one cites another."""
        return await self.auth_chain(room, {name for event in found for name in event.auth_event_ids})

    async def state_before(self, stored: StoredEvent) -> list[StoredEvent] | None:
        """All state before an event, or None where that isn't known."""
        if stored.state_nid is None:
            return [] if stored.event.type == "m.room.create" else None
        state = (await self._rooms.maps([stored.state_nid]))[stored.state_nid]
        return list((await self._events.by_nids(list(state.values()))).values())

    async def walk_back(
        self, room: Room, starts: Sequence[EventId], *, limit: int, stop: Collection[EventId] = (), min_depth: int = 0
    ) -> list[StoredEvent]:
        """Events of the timeline that lead to these ones (themselves included), by prev_events, nearest first.

        Bounded by `limit`; one query a generation.
        """
        found: dict[EventId, StoredEvent] = {}
        front = [event_id for event_id in starts if event_id not in stop]
        seen = set(front)
        while front and len(found) < limit:
            stored = await self._events.by_ids(front)
            following: list[EventId] = []
            for event_id in front:
                one = stored.get(event_id)
                if one is None or one.room_nid != room.nid or not one.has_place or one.event.depth < min_depth:
                    continue
                if len(found) < limit:
                    found[event_id] = one
                for name in one.event.prev_event_ids:
                    if name not in seen and name not in stop:
                        seen.add(name)
                        following.append(name)
            front = following
        return list(found.values())

    async def nearest(self, room: Room, timestamp_ms: int, *, later: bool) -> StoredEvent | None:
        nid = await events.nearest(self._db, room.nid, timestamp_ms, forwards_in_time=later)
        return (await self._events.by_nids([nid])).get(nid) if nid is not None else None

    async def shown_to(self, server: ServerName, room: Room, stored: Sequence[StoredEvent]) -> list[StoredEvent]:
        """These events as this server may have them, redacted where none of its users could see them.

        Nor where their sender was erased, and no user of that server was a member when they were sent. Rejected and
        soft-failed ones are left out. At most four queries.
        spec: server-server-api/#backfilling-and-retrieving-missing-events,
        client-server-api/#post_matrixclientv3accountdeactivate (`erase`)
        """
        shown = [one for one in stored if one.is_shown and one.room_nid == room.nid]
        if not shown:
            return []
        senders = {one.event.sender for one in shown}
        erased = await self.erased.erased_at(senders) if self.erased is not None else {}
        timeline = await self._timeline_of(server, room, is_open_enough=not erased)
        if timeline is None:
            return shown

        def is_whole(one: StoredEvent) -> bool:
            return timeline.verdict(one.ordering or 0, erased_at=erased.get(one.event.sender)) is Verdict.FULL

        return [one if is_whole(one) else _redacted(one) for one in shown]

    async def _timeline_of(self, server: ServerName, room: Room, *, is_open_enough: bool) -> VisibilityTimeline | None:
        """The server's view of the room; None where all of it is open to all members, and that is enough."""
        members = [user_id for user_id in room.members if domain_of(user_id) == server]
        numbers = await self._numbers.find([_VISIBILITY])
        history = await events.state_history(self._db, [room.nid], list(numbers.values())) if numbers else []
        stored = await self._events.by_nids({nid for *_, nid, _ in history})
        visibilities: list[tuple[int, str]] = []
        for _, _, ordering, nid, is_jump in history:
            content = stored[nid].event.content if nid in stored else None
            at = FIRST if is_jump and not visibilities else ordering
            visibilities.append((at, visibility_of(content)))
        if is_open_enough and all(value in _OPEN for _, value in visibilities):
            return None
        return VisibilityTimeline(visibilities, await self._memberships(room, members))

    async def _memberships(self, room: Room, members: Sequence[UserId]) -> list[tuple[int, str | None]]:
        """The best membership of these users after each change of one."""
        numbers = await self._numbers.find([("m.room.member", user_id) for user_id in members])
        history = await events.state_history(self._db, [room.nid], list(numbers.values())) if numbers else []
        stored = await self._events.by_nids({nid for *_, nid, _ in history})
        current: dict[int, str | None] = {}
        changes: list[tuple[int, str | None]] = []
        for _, number, ordering, nid, _ in history:
            current[number] = stored[nid].event.membership if nid in stored else None
            held = set(current.values())
            best = next((value for value in ("join", "invite", "knock") if value in held), "leave")
            changes.append((ordering, best))
        return changes

    async def last_gaps(self, room: Room, floor: int, place: int, limit: int) -> list[tuple[EventId, EventId]]:
        """The last gaps within these places, from the newest on: the event at the edge, and one missing before it.

        Of more than `limit` the first comes after them.
        """
        gaps = await forks.gaps_between(self._db, room.nid, floor, place, limit)
        stored = await self._events.by_nids([gap.event_nid for gap in gaps])
        return [(stored[gap.event_nid].event.event_id, gap.missing_id) for gap in gaps]

    async def room(self, room_id: RoomId) -> Room | None:
        return await self._rooms.get(room_id)


def _redacted(stored: StoredEvent) -> StoredEvent:
    return replace(stored, event=stored.event.redacted(), rendered=None)


def servers_in(room: Room) -> dict[ServerName, int]:
    """The servers with joined users, and how many each has."""
    found: dict[ServerName, int] = {}
    for user_id, membership in room.members.items():
        if membership == "join":
            server = domain_of(user_id)
            found[server] = found.get(server, 0) + 1
    return found
