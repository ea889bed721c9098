"""The sender: a durable consumer of the journal that brings each event to the servers of its room.

Invariant: one cursor for all servers that have everything, and a row only for those that lag. The cursor never passes
an event that was not enqueued, and a row is never ahead of what its server has acknowledged.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import structlog

from federation.outbound.catch_up import STICKY_MAX, StickyEvents
from federation.outbound.deliveries import Deliveries
from federation.outbound.destination import QueuedPdu
from federation.outbound.room_servers import RoomServers
from federation.server_access import ServerAccess
from federation.storage import lagging_servers, remote_devices
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import Written
from homeserver.rooms.completing import Whole
from homeserver.rooms.residents import Room, Rooms
from homeserver.storage import events, journal_cursors, partial_rooms
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

log = structlog.get_logger()

FLUSH_S = 2.0
# A server that is still busy with coming in lets go of what it is sent: it is told a second time, so many rounds later.
GREETED_AGAIN_AFTER = 5
CATCH_UP_EVENTS = 500
CHANGED_USERS_MAX = 1_000
TOLD_MAX = 1_000


class Sender:
    """Hears of events, finds out whom they are for, and keeps the cursors."""

    # Of what sticks, a server that comes into a room is told what was said before. Set by the assembly.
    sticky: StickyEvents | None = None

    def __init__(
        self, db: Database, journal: Journal, rooms: Rooms, deliveries: Deliveries, access: ServerAccess
    ) -> None:
        self._db = db
        self._journal = journal
        self._rooms = rooms
        self._deliveries = deliveries
        self._access = access
        self.servers = RoomServers()
        self._heard = 0
        self._written = 0
        self._saved: dict[ServerName, int] = {}
        self._told: dict[EventId, None] = {}
        self._newcomers: list[tuple[ServerName, int, int, int]] = []  # with the rounds since they came

    async def start(self) -> None:
        """Takes up what was not sent when the process ended. Call it before anybody can write; then `hear`."""
        upto = self._journal.visible
        cursor = await journal_cursors.position(self._db, lagging_servers.CONSUMER)
        self._saved = await lagging_servers.all_lagging(self._db)
        self._deliveries.restore(self._saved)
        at = cursor = upto if cursor is None else cursor
        while nids := await events.after_position(self._db, at, upto, CATCH_UP_EVENTS):
            concerned = await self._concerned(await events.by_nids(self._db, nids))
            self._deliveries.restore({server: self._saved.get(server, cursor) for server in concerned})
            at = max(nids.values())
        for user_id in await remote_devices.own_since(self._db, self._access.own, cursor, CHANGED_USERS_MAX):
            concerned = await self.servers_with(user_id)
            self._deliveries.restore({server: self._saved.get(server, cursor) for server in concerned})
        # Who was in a room unknowingly is known as long as the process lives: afterwards all are told again.
        for room_id, join_nid in (await partial_rooms.finished_since(self._db, cursor)).items():
            concerned = await self.servers_in(room_id)
            self._deliveries.restore({server: min(self._saved.get(server, cursor), join_nid) for server in concerned})
        self._heard = max(self._heard, upto)
        self._journal.follow(lagging_servers.CONSUMER, lambda: self._heard)
        self._deliveries.seen(self._heard)
        await self.flush()
        await self._deliveries.start()

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: enqueues events of our users, and keeps count of who is where."""
        for entry in entries:
            try:
                if entry.kind == "event":
                    self._event(entry.position, entry.payload)
                elif entry.kind == "state_jump" and entry.room_id is not None:
                    self.servers.forget(entry.room_id)
                elif isinstance(entry.payload, Whole):
                    self._deliveries.missed(self.allowed(entry.payload.missed), entry.payload.join_nid)
            except Exception:
                log.exception("event_not_enqueued", room_id=entry.room_id, position=entry.position)
            self._heard = entry.position
        self._deliveries.seen(self._heard)

    def forward(self, stored: StoredEvent, room: Room, *, apart_from: Collection[ServerName] = ()) -> None:
        """Sends on an event of another server's user that came to us first, as by send_join, to the room's servers."""
        self._enqueue(stored, stored.ordering or stored.nid, self.servers.of(room) - set(apart_from))

    def is_lagging(self, server: ServerName) -> bool:
        """Whether events that are meant for a server haven't arrived there yet."""
        return server in self._deliveries.lagging()

    async def servers_in(self, room_id: RoomId) -> set[ServerName]:
        """The other servers in a room that may be talked with."""
        room = await self._rooms.get(room_id)
        return self.allowed(self.servers.of(room)) if room is not None else set()

    async def servers_with(self, user_id: UserId) -> set[ServerName]:
        """The other servers that share a room with a user of ours."""
        rooms = await self._rooms.get_many(await self._rooms.joined_rooms(user_id))
        return self.allowed(set().union(*(self.servers.of(room) for room in rooms.values())))

    async def presumed_with(self, user_id: UserId) -> set[ServerName]:
        """Those that are in a room with a user of ours by what we were told, while its members are missing."""
        return self.allowed(await partial_rooms.servers_with(self._db, user_id))

    def told_elsewhere(self, event_id: EventId) -> None:
        """An event of ours that another server took in and tells the others of: a join through it."""
        self._told[event_id] = None
        if len(self._told) > TOLD_MAX:
            del self._told[next(iter(self._told))]

    def allowed(self, servers: Collection[ServerName]) -> set[ServerName]:
        """Those of these servers that are talked with: others, and not denied."""
        return {server for server in servers if self._access.may_talk_with(server)}

    async def run(self) -> None:
        """One round of a background task: waits a moment, then writes how far everybody is."""
        await self._deliveries.rest(FLUSH_S)
        await self.flush()

    async def flush(self) -> None:
        """Writes the cursor, and the rows of those whose lag has changed, in one transaction."""
        await self._greet()
        heard, lagging = self._heard, self._deliveries.lagging()
        changed = {name: position for name, position in lagging.items() if self._saved.get(name) != position}
        over = [name for name in self._saved if name not in lagging]
        if heard == self._written and not changed and not over:
            return
        if not changed and not over:
            await journal_cursors.pass_by(self._db, lagging_servers.CONSUMER, heard)
        else:
            async with self._db.transaction() as tx:
                if changed:
                    await lagging_servers.upsert(tx, changed)
                if over:
                    await lagging_servers.delete(tx, over)
                await journal_cursors.advance(tx, lagging_servers.CONSUMER, heard)
        self._saved, self._written = lagging, heard

    def _event(self, position: int, written: Written) -> None:
        concerned = self.servers.concerned(written)
        newcomer = self.servers.newcomer(written)
        if newcomer is not None and self.sticky is not None and self.sticky.has_some(written.event.room_id):
            self._newcomers.append((newcomer, written.stored.room_nid, position, 0))
        is_told = written.is_entry or written.event.event_id in self._told
        is_ours = domain_of(written.event.sender) == self._access.own and not is_told
        if is_ours and written.stored.is_shown:
            self._enqueue(written.stored, position, concerned)

    async def _greet(self) -> None:
        """Sends those who have just come into a room what of our users' events still sticks there."""
        newcomers, self._newcomers = self._newcomers, []
        for server, room_nid, position, rounds in newcomers:
            if rounds < GREETED_AGAIN_AFTER:
                self._newcomers.append((server, room_nid, position, rounds + 1))
            if self.sticky is not None and rounds in (0, GREETED_AGAIN_AFTER):
                for stored in await self.sticky.sent_by(self._access.own, [room_nid], STICKY_MAX):
                    self._enqueue(stored, position, {server})

    def _enqueue(self, stored: StoredEvent, position: int, servers: set[ServerName]) -> None:
        others = self.allowed(servers)
        if others:
            self._deliveries.enqueue(others, QueuedPdu(position, stored.event.canonical))

    async def _concerned(self, found: Sequence[StoredEvent]) -> set[ServerName]:
        """The servers that events which were written, but perhaps not enqueued, may be for."""
        own = [stored for stored in found if domain_of(stored.event.sender) == self._access.own and stored.is_shown]
        rooms = await self._rooms.get_many({stored.event.room_id for stored in own})
        members = {domain_of(s.event.state_key or "") for s in own if s.event.type == "m.room.member"}
        if self.sticky is not None:
            joins = [s.event for s in found if s.event.type == "m.room.member" and s.event.membership == "join"]
            members |= {domain_of(e.state_key or "") for e in joins if self.sticky.has_some(e.room_id)}
        return self.allowed(members.union(*(self.servers.of(room) for room in rooms.values())))
