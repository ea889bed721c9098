"""What happened in a room before we knew it, or while we were away: asked of its servers when somebody reads so far.

spec: server-server-api/#backfilling-and-retrieving-missing-events
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from immutables import Map

from federation.client import FederationError, Unreachable
from federation.gaps import Gaps, Tools
from federation.room_access import joined_servers
from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId
from homeserver.rooms.graph_reads import GraphReads
from homeserver.rooms.residents import Room
from homeserver.runtime.clock import Clock

log = structlog.get_logger()

EVENTS_MAX = 100
SERVERS_TRIED_MAX = 4
# Gaps that are looked at, and of these that are asked about.
GAPS_MAX, GAPS_TRIED_MAX = 100, 3
AUTH_ASKED_MAX = 20
AGAIN_AFTER_S = 60
ROOMS_REMEMBERED_MAX = 10_000
STEPS_BACK_MAX = 10
LAST_PLACE = 2**62


class Backfill:
    """Implements `ports.EarlierEvents`."""

    def __init__(self, tools: Tools, gaps: Gaps, reads: GraphReads, clock: Clock, server_name: ServerName) -> None:
        self._tools = tools
        self._gaps = gaps
        self._reads = reads
        self._clock = clock
        self._server_name = server_name
        # Gaps that nobody could fill just now: room, and the event that is missing.
        self._shared: dict[int, tuple[Map[UserId, str], bool]] = {}
        self._failed: dict[tuple[RoomId, EventId], float] = {}

    async def reach_back(self, room_id: RoomId, place: int, floor: int) -> bool:
        """Fills the nearest gap between these places that can be filled. Whether anything came in."""
        room = await self._reads.room(room_id)
        if room is None or not self._is_shared(room):
            return False
        # One that nobody can fill doesn't keep away what lies before it.
        gaps = await self._reads.last_gaps(room, floor, place, GAPS_MAX)
        untried = [gap for gap in gaps if not self._has_failed(room_id, gap[1])]
        # The first of all among them: before it lies what everybody had said before those came who cite what they
        # give to nobody, and they can cite as much of that as they like.
        for gap in dict.fromkeys([*untried[: GAPS_TRIED_MAX - 1], *untried[-1:]]):
            for server in self._likely(room):
                if await self._from(server, room, gap, EVENTS_MAX):
                    return True
            self._remember(room.room_id, gap[1])
        return False

    async def find_at(self, room_id: RoomId, timestamp_ms: int, *, later: bool) -> tuple[EventId, int] | None:
        """Asks others for the event, and fetches the past down to it where that isn't far."""
        room = await self._reads.room(room_id)
        if room is None or not self._is_shared(room):
            return None
        for server in self._likely(room):
            try:
                found = await self._tools.peers.timestamp_to_event(server, room_id, timestamp_ms, later=later)
            except (Unreachable, FederationError) as fault:
                log.info("time_not_found", server=server, room_id=room_id, reason=str(fault))
                continue
            for _ in range(STEPS_BACK_MAX):
                stored = (await self._reads.by_ids([found[0]])).get(found[0])
                if stored is not None and stored.is_shown:
                    return found
                if not await self.reach_back(room_id, LAST_PLACE, -LAST_PLACE):
                    break
        return None

    def _likely(self, room: Room) -> list[ServerName]:
        """Whom to ask, whoever is down last."""
        others = [server for server in joined_servers(room) if server != self._server_name]
        return self._tools.peers.by_hope(others)[:SERVERS_TRIED_MAX]

    async def _from(self, server: ServerName, room: Room, gap: tuple[EventId, EventId], limit: int) -> bool:
        edge, missing = gap
        try:
            # From what is missing: between it and the edge there may be any number of events that were refused.
            pdus = await self._tools.peers.backfill(server, room.room_id, [missing, edge], limit)
        except (Unreachable, FederationError) as fault:
            log.info("backfill_not_had", server=server, room_id=room.room_id, reason=str(fault))
            return False
        checked = await self._tools.checks.check(room.version, pdus[:EVENTS_MAX])
        events = [one for one in checked if isinstance(one, Event) and one.room_id == room.room_id]
        await self._obtain_auth_events(server, room, events)
        return await self._tools.incoming.extend_back(room.room_id, edge, events) > 0

    async def _obtain_auth_events(self, server: ServerName, room: Room, events: Sequence[Event]) -> None:
        """What these cite as their authorisation: one that still lacks some of it is passed over."""
        ids = {event.event_id for event in events}
        lacking = [event for event in events if not ids.issuperset(event.auth_event_ids)]
        await self._gaps.auth_events(room, lacking[:AUTH_ASKED_MAX], server)

    def _is_shared(self, room: Room) -> bool:
        """Whether there are others to ask. A look at the members, once for each change of them."""
        if room.partial is not None:
            return True
        known = self._shared.get(room.nid)
        if known is None or known[0] is not room.members:
            own = ":" + self._server_name
            known = room.members, any(m == "join" and not name.endswith(own) for name, m in room.members.items())
            self._shared[room.nid] = known
            if len(self._shared) > ROOMS_REMEMBERED_MAX:
                self._shared.pop(next(iter(self._shared)))
        return known[1]

    def _has_failed(self, room_id: RoomId, missing: EventId) -> bool:
        until_s = self._failed.get((room_id, missing))
        return until_s is not None and until_s > self._clock.monotonic_s()

    def _remember(self, room_id: RoomId, missing: EventId) -> None:
        if len(self._failed) >= ROOMS_REMEMBERED_MAX:
            self._failed.clear()
        self._failed[room_id, missing] = self._clock.monotonic_s() + AGAIN_AFTER_S
