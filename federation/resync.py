"""The members of rooms that were joined without them, fetched afterwards: one background task a room, taken up again
after a restart.

Some rooms at a time: the others wait, also after a restart with many of them.
The servers that are in the room are asked in turn, first the one that let us in, until one tells a state that is
complete and that allows our join. While none does the room stays usable as it is, and all are asked again after waits
that grow. spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
"""

from __future__ import annotations

import asyncio

import structlog
from immutables import Map

from federation.client import FederationError, Unreachable
from federation.gaps import Tools
from federation.pdu_checks import Uncheckable
from federation.pdu_checks import awaited as awaited_of
from federation.room_access import joined_servers
from homeserver.core.errors import MatrixError
from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, RoomId, ServerName
from homeserver.rooms.completing import Completing
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from homeserver.storage import partial_rooms
from homeserver.storage.database import Database
from homeserver.storage.events import REJECTED, StoredEvent
from homeserver.storage.states import StateMap

log = structlog.get_logger()

ROOMS_AT_ONCE = 8
SERVERS_EACH_ROUND = 10
STATE_EVENTS_MAX = 500_000
# Fewer missing events than this are fetched one by one, more as a whole state.
SINGLE_MAX = 20
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 600.0
# Whoever has just come in reads first: many members are much work. The few of a small room come at once.
READING_S = 0.3


class NotHad(Exception):
    """Why a server's answer is of no use."""


class Resync:
    """Makes rooms whole."""

    def __init__(self, db: Database, rooms: Rooms, completing: Completing, tools: Tools, clock: Clock) -> None:
        self._db = db
        self._rooms = rooms
        self._completing = completing
        self._tools = tools
        self._clock = clock
        self._running: set[RoomId] = set()
        self._turns = asyncio.Semaphore(ROOMS_AT_ONCE)
        self.server_name = ServerName("")

    async def start(self, tasks: Tasks, server_name: ServerName) -> None:
        """Takes up what was not finished before a stop."""
        self._tasks, self.server_name = tasks, server_name
        for room_id in await partial_rooms.unfinished(self._db):
            self.begin(room_id)

    def begin(self, room_id: RoomId) -> None:
        """Told of a room that this server has come into without its members."""
        if room_id not in self._running:
            self._running.add(room_id)
            self._tasks.start(self._work(room_id), name="room_resync")

    async def _work(self, room_id: RoomId) -> None:
        wait_s = FIRST_WAIT_S
        try:
            while not await self._turn(room_id):
                await self._clock.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        finally:
            self._running.discard(room_id)

    async def _turn(self, room_id: RoomId) -> bool:
        async with self._turns:
            return await self._round(room_id)

    async def _round(self, room_id: RoomId) -> bool:
        """Asks some servers. Whether there is nothing more to do."""
        room = await self._rooms.get(room_id)
        if room is None or room.partial is None:
            return True
        return await self._whole_from_some(room)

    async def again(self, room: Room) -> bool:
        """The same for a room of whose state some wasn't checked, once it can be: whether it was made whole."""
        async with self._turns:
            return await self._whole_from_some(room)

    async def _whole_from_some(self, room: Room) -> bool:
        room_id = room.room_id
        servers = self._tools.peers.by_hope([name for name in joined_servers(room) if name != self.server_name])
        for server in servers[:SERVERS_EACH_ROUND]:
            try:
                await self._from(server, room)
            except (Unreachable, FederationError, NotHad, MatrixError) as fault:
                log.info("members_not_had", server=server, room_id=room_id, reason=str(fault))
                continue
            except Exception:
                # One room's trouble, which the next round may not have: the room stays as it is.
                log.exception("room_not_made_whole", server=server, room_id=room_id)
                continue
            log.info("room_made_whole", server=server, room_id=room_id)
            return True
        return False

    async def _from(self, server: ServerName, room: Room) -> None:
        """Makes a room whole with what one server tells. Raises NotHad, Unreachable, FederationError."""
        partial = room.partial or room.awaiting
        assert partial is not None
        join = (await self._tools.event_store.by_nids([partial.join_nid])).get(partial.join_nid)
        if join is None:
            raise NotHad("our own join can't be read")
        known = await self._tools.event_store.by_ids(join.event.prev_event_ids)
        # After what was read back only a state is known that we were told, without the members.
        missing = [name for name in join.event.prev_event_ids if not _is_followed(known.get(name))]
        awaited: dict[ServerName, bytes] = {}
        states = [await self._state_after(server, room, name, awaited) for name in missing]
        refusal = await self._completing.complete(room.room_id, states, awaited)
        if refusal is not None:
            raise NotHad(f"its state doesn't allow our join: {refusal}")

    async def _state_after(
        self, server: ServerName, room: Room, event_id: EventId, awaited: dict[ServerName, bytes]
    ) -> StateMap:
        """The whole state after an event; what of it isn't here is fetched, checked and kept.

        `awaited` gets an event each of servers whose keys can't be had now.
        """
        state_ids, chain_ids = await self._tools.peers.state_ids(server, room.room_id, event_id)
        if len(state_ids) + len(chain_ids) > STATE_EVENTS_MAX:
            raise NotHad("the state is too large")
        refused = await self._obtain(server, room, event_id, [*chain_ids, *state_ids], awaited)
        rows = await partial_rooms.state_rows(self._db, room.room_id, {*state_ids, event_id})
        own = rows.pop(event_id, None)
        if own is None and not await self._is_uncheckable(server, room, event_id):
            raise NotHad("the event before our join isn't told")
        # What can't be checked, for want of a dead server's key, is left out; what wasn't told is asked for elsewhere.
        if sum(1 for name in state_ids if name not in rows and name != event_id) > refused:
            raise NotHad("not all of the state is told")
        state = {one.key_nid: one.event_nid for one in rows.values() if not one.flags & REJECTED}
        if own is not None and own.key_nid is not None and not own.flags & REJECTED:
            state[own.key_nid] = own.event_nid
        return Map({key_nid: nid for key_nid, nid in state.items() if key_nid is not None})

    async def _obtain(
        self,
        server: ServerName,
        room: Room,
        event_id: EventId,
        wanted: list[EventId],
        awaited: dict[ServerName, bytes],
    ) -> int:
        """Fetches what isn't here. How much of what was told can't be believed."""
        refused = 0
        missing = await self._missing(room, [*wanted, event_id])
        if len(missing) > SINGLE_MAX:
            await self._rest()
            told = await self._tools.peers.state(server, room.room_id, event_id)
            refused += await self._keep(room, told, awaited)
            missing = await self._missing(room, [*wanted, event_id])
        if 0 < len(missing) <= SINGLE_MAX:
            pdus = []
            for name in missing:
                try:
                    pdus.append(await self._tools.peers.event(server, name))
                except FederationError as fault:
                    log.info("state_event_not_had", server=server, event_id=name, reason=str(fault))
            refused += await self._keep(room, pdus, awaited)
        return refused

    async def _is_uncheckable(self, server: ServerName, room: Room, event_id: EventId) -> bool:
        """Whether it is only for want of a key that an event isn't here: its effect is left out as its place is."""
        pdu = await self._tools.peers.event(server, event_id)
        is_it = await self._tools.checks.names(room.version, [pdu]) == [event_id]
        return is_it and isinstance(await self._tools.checks.check_one(room.version, pdu), Uncheckable)

    async def _rest(self) -> None:
        """Waits while whoever has just come in reads; the turn is another room's meanwhile."""
        self._turns.release()
        try:
            await self._clock.sleep(READING_S)
        finally:
            await self._turns.acquire()

    async def _missing(self, room: Room, event_ids: list[EventId]) -> list[EventId]:
        known = await partial_rooms.state_rows(self._db, room.room_id, event_ids)
        return [name for name in dict.fromkeys(event_ids) if name not in known]

    async def _keep(self, room: Room, pdus: list[object], awaited: dict[ServerName, bytes]) -> int:
        pdus = pdus[:STATE_EVENTS_MAX]
        checked = await self._tools.checks.check(room.version, pdus)
        awaited.update(awaited_of(pdus, checked))
        events = {one.event_id: one for one in checked if isinstance(one, Event)}
        mine = [one for one in events.values() if one.room_id == room.room_id]
        unknown = await self._tools.incoming.keep(room.room_id, mine)
        refused = sum(1 for one in checked if not isinstance(one, Event))
        return refused + unknown if refused else 0


def _is_followed(stored: StoredEvent | None) -> bool:
    return stored is not None and stored.has_place and stored.is_followed
