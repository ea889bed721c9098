"""From staged PDUs to events of their rooms: one worker a room, in the order in which they came.

A PDU is durable before its server hears that we have it; whatever happens then, it is taken up again.
spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from federation.backlog import Backlog
from federation.gaps import Gaps, NotAllHad, leading_to
from federation.intake_figures import IntakeFigures, Step
from federation.pace import Pace
from homeserver.core import canonical_json
from homeserver.core.errors import Unavailable
from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, RoomId, ServerName
from homeserver.rooms.arrivals import Arrival, Fate
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from homeserver.storage import staged_pdus
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.staged_pdus import StagedPdu

log = structlog.get_logger()

# An event whose past can't be had is tried again after waits that grow; some days in all.
RETRY_EVERY_S = 2.0
RETRY_FIRST_MS = 5_000
RETRY_LONGEST_MS = 12 * 3_600_000
TRIES_MAX = 14
# So often it waits for the keys of what its past consists of (ten minutes); then what can't be checked is left out.
PATIENT_TRIES = 5


@dataclass(frozen=True, slots=True)
class _Staged:
    event: Event
    origin: ServerName
    nid: int | None
    tries: int = 0
    is_kept: bool = False  # so that it is tried again


class Relay(Protocol):
    """Implemented by federation.outbound.sender."""

    def forward(self, stored: StoredEvent, room: Room, *, apart_from: Collection[ServerName] = ()) -> None: ...

    def told_elsewhere(self, event_id: EventId) -> None: ...


class RoomIntake:
    """Stages what came in and takes it into the rooms."""

    relay: Relay | None = None
    figures: IntakeFigures | None = None

    def __init__(self, db: Database, rooms: Rooms, event_store: EventStore, gaps: Gaps, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._rooms = rooms
        self._events = event_store
        self._incoming = gaps.tools.incoming
        self._gaps = gaps
        self._running: set[RoomId] = set()
        self._again: set[RoomId] = set()
        self.backlog = Backlog(db, clock)
        self._paces: dict[RoomId, Pace] = {}

    async def start(self, tasks: Tasks) -> None:
        """Takes up what was staged before a stop."""
        self._tasks = tasks
        for room_id in await self.backlog.count():
            self._wake(room_id)
        tasks.forever(self._retry, name="intake_retries")

    async def stage(self, pdus: Sequence[StagedPdu]) -> None:
        """Makes these durable, and sees to it that they are taken in. One transaction."""
        if not pdus:
            return
        self.backlog.came(pdus)
        try:
            with self._timed("stage"):
                async with self._db.transaction() as tx:
                    await staged_pdus.insert(tx, pdus)
        except BaseException:
            self.backlog.went(pdus)
            raise
        for room_id in {pdu.room_id for pdu in pdus}:
            self._wake(room_id)

    async def connected(self, room: Room, pdus: Sequence[StagedPdu], checked: Collection[Event]) -> list[StagedPdu]:
        """Those of these whose past is here, or is about to come: nothing has to be fetched for them. And those that
        wait already."""
        cited = {name for event in checked for name in (*event.prev_event_ids, *event.auth_event_ids)}
        own = {event.event_id for event in checked}
        known = await self._events.by_ids(cited)
        waiting = await staged_pdus.waiting(self._db, room.room_id, cited | own)
        soon = {name for name, is_later in waiting.items() if not is_later}
        placed = {name for name, stored in known.items() if stored.has_place} | soon
        had = known.keys() | soon
        taken = []
        events = {event.event_id: event for event in checked}
        for pdu in pdus:
            event = events[pdu.event_id]
            if placed.issuperset(event.prev_event_ids) and had.issuperset(event.auth_event_ids):
                taken.append(pdu)
                placed.add(event.event_id)
                had.add(event.event_id)
            elif pdu.event_id in waiting:
                taken.append(pdu)
        return taken

    async def take(self, room: Room, event: Event, origin: ServerName) -> Fate:
        """Takes one event at once, for whoever waits for its fate."""
        return (await self._take_in(room, [_Staged(event, origin, None)]))[event.event_id]

    async def take_through(self, room: Room, event: Event, server: ServerName) -> Fate:
        """The same for an event of ours that this server has taken in: it tells the room's other servers."""
        if self.relay is not None:
            self.relay.told_elsewhere(event.event_id)
        return await self.take(room, event, server)

    async def take_through_us(self, room: Room, event: Event, origin: ServerName) -> Fate:
        """The same for an event that came to us alone (a join through us): we tell the room's other servers."""
        fate = await self.take(room, event, origin)
        stored = await self._events.by_id(event.event_id)
        now = await self._rooms.get(room.room_id)
        if fate is Fate.ACCEPTED and stored is not None and now is not None and self.relay is not None:
            self.relay.forward(stored, now, apart_from={origin})
        return fate

    async def _retry(self) -> None:
        """One round of a background task: takes up what has waited long enough."""
        await self._clock.sleep(RETRY_EVERY_S)
        for room_id in await staged_pdus.due(self._db, self._clock.now_ms(), wait_ms_max=RETRY_LONGEST_MS):
            self._wake(room_id)
        await self.backlog.count_now_and_then()

    def _wake(self, room_id: RoomId) -> None:
        if room_id in self._running:
            self._again.add(room_id)
            return
        self._running.add(room_id)
        self._tasks.start(self._work(room_id), name="room_intake")

    async def _work(self, room_id: RoomId) -> None:
        pace = self._paces[room_id] = Pace()
        try:
            while True:
                self._again.discard(room_id)
                while staged := await self._next(room_id, pace.at_once):
                    await self._take_staged(room_id, staged)
                    rest_s = pace.rest_s()
                    if rest_s:
                        log.info("room_intake_rests", room_id=room_id, seconds=rest_s)
                        await self._clock.sleep(rest_s)
                if room_id not in self._again:
                    return
        finally:
            self._running.discard(room_id)
            self._paces.pop(room_id, None)

    async def _next(self, room_id: RoomId, limit: int) -> list[StagedPdu]:
        return await staged_pdus.of_room(self._db, room_id, limit, self._clock.now_ms(), wait_ms_max=RETRY_LONGEST_MS)

    async def _take_staged(self, room_id: RoomId, staged: Sequence[StagedPdu]) -> None:
        """Takes these in as far as one turn goes."""
        room = await self._rooms.get(room_id)
        fates: dict[EventId, Fate] = {}
        if room is not None:
            events = [
                _Staged(
                    Event(room.version, canonical_json.decode(pdu.json), pdu.event_id),
                    pdu.origin,
                    pdu.nid,
                    pdu.tries,
                    is_kept=True,
                )
                for pdu in staged
            ]
            try:
                fates = await self._take_in(room, events)
            except Exception:
                # Nothing may stop a room for good: what made this fail is named, and left out.
                log.exception("intake_failed", room_id=room_id, event_ids=[pdu.event_id for pdu in staged])
                for one in events:
                    fates |= await self._take_alone(room, one)
        now_ms = self._clock.now_ms()
        later = {
            pdu.nid: now_ms + min(RETRY_FIRST_MS * 3**pdu.tries, RETRY_LONGEST_MS)
            for pdu in staged
            if fates.get(pdu.event_id) is Fate.UNCONNECTED and pdu.tries < TRIES_MAX
        }
        done = [pdu.nid for pdu in staged if pdu.nid not in later and fates.get(pdu.event_id) is not Fate.PUT_OFF]
        async with self._db.transaction() as tx:
            await staged_pdus.delete(tx, done)
            if later:
                await staged_pdus.put_off(tx, later)
        settled = {*done, *later}
        self.backlog.went(pdu for pdu in staged if pdu.nid in settled)
        self.backlog.put_off(pdu for pdu in staged if pdu.nid in later)

    async def _take_alone(self, room: Room, staged: _Staged) -> dict[EventId, Fate]:
        """What became of an event that may be what made others fail. Without a fate it is left out."""
        try:
            return await self._take_in(room, [staged])
        except Unavailable:
            # The database's fault, most likely, and the event was acknowledged: it is tried again, so many times.
            log.warning("event_put_off", room_id=room.room_id, event_id=staged.event.event_id)
            return {staged.event.event_id: Fate.UNCONNECTED}
        except Exception:
            log.exception("event_left_out", room_id=room.room_id, event_id=staged.event.event_id)
            return {}

    async def _take_in(self, room: Room, staged: Sequence[_Staged]) -> dict[EventId, Fate]:
        """Takes events in the order given; before one with a gap, what fills it. Ends where a turn is over."""
        fates: dict[EventId, Fate] = {}
        run: list[Arrival] = []
        known = await self._events.by_ids(
            {name for one in staged for name in (one.event.event_id, *one.event.prev_event_ids)}
        )
        here = {event_id for event_id, stored in known.items() if stored.has_place}
        lost = [one.event for one in staged if (stored := known.get(one.event.event_id)) is not None and stored.is_lost]
        if lost:
            await self._events.regain(lost)
        auth = await self._events.by_ids({name for one in staged for name in one.event.auth_event_ids})
        known_auth = set(auth)
        for one in staged:
            event = one.event
            is_whole = all(name in here for name in event.prev_event_ids)
            is_authorised = all(name in known_auth for name in event.auth_event_ids)
            if not (is_whole and is_authorised):
                fates |= await self._flush(room, run)
                if Fate.PUT_OFF in fates.values():
                    break
                fates |= await self._with_gap(room, one)
                room = await self._rooms.get(room.room_id) or room
            else:
                run.append(Arrival(event=event, staged_nid=one.nid))
            here.add(event.event_id)
            known_auth.add(event.event_id)
        return {one.event.event_id: Fate.PUT_OFF for one in staged} | fates | await self._flush(room, run)

    async def _flush(self, room: Room, run: list[Arrival]) -> dict[EventId, Fate]:
        if not run:
            return {}
        began_s = self._clock.monotonic_s()
        with self._timed("fate"):
            found = await self._incoming.take(room.room_id, run)
        if (pace := self._paces.get(room.room_id)) is not None:
            pace.worked(self._clock.monotonic_s() - began_s)
        fates = {arrival.event.event_id: fate for arrival, fate in zip(run, found, strict=True)}
        if self.figures is not None:
            self.figures.decided([fate for fate in found if fate is not Fate.PUT_OFF])
        run.clear()
        _log_refusals(room, fates)
        return fates

    async def _placed(self, event_ids: set[EventId]) -> set[EventId]:
        return {event_id for event_id, stored in (await self._events.by_ids(event_ids)).items() if stored.has_place}

    async def _with_gap(self, room: Room, staged: _Staged) -> dict[EventId, Fate]:
        """An event some of whose prev_events, or auth events, aren't here: after what fills the gap."""
        event, origin = staged.event, staged.origin
        if event.event_id in await self._placed({event.event_id}):
            return {event.event_id: Fate.KNOWN}
        fates: dict[EventId, Fate] = {}
        if set(event.prev_event_ids) - await self._placed(set(event.prev_event_ids)):
            with self._timed("missing_events"):
                between = await self._gaps.events_between(room, event, origin)
            placed = await self._placed({one.event_id for one in between})
            for older in leading_to(event, between, placed):
                try:
                    fates |= await self._bridged(room, replace(staged, event=older, nid=None))
                except NotAllHad:
                    # What comes after stands on the same past. Only if that doesn't come is it asked for more closely.
                    if staged.tries == 0:
                        return fates | {event.event_id: self._unconnected(room, event, origin)}
                    self._unconnected(room, older, origin)
        try:
            return fates | await self._bridged(room, staged)
        except NotAllHad:
            return fates | {event.event_id: self._unconnected(room, event, origin)}

    async def _bridged(self, room: Room, staged: _Staged) -> dict[EventId, Fate]:
        """One event; where its past isn't here still, on the state that its server tells.

        Raises NotAllHad where what it cites can't be had either: it isn't rejected for that, others may have it.
        """
        event, origin = staged.event, staged.origin
        missing = set(event.prev_event_ids) - await self._placed(set(event.prev_event_ids))
        states = None
        if missing:
            with self._timed("state_at_gap"):
                is_patient = staged.is_kept and staged.tries < PATIENT_TRIES
                states = await self._gaps.states_after(room, sorted(missing), origin, is_patient=is_patient)
            if not states:
                return {event.event_id: self._unconnected(room, event, origin)}
        with self._timed("auth_events"):
            await self._gaps.auth_events(room, [event], origin)
            if set(event.auth_event_ids) - (await self._events.by_ids(set(event.auth_event_ids))).keys():
                raise NotAllHad
        return await self._flush(room, [Arrival(event=event, states_before=states, staged_nid=staged.nid)])

    def _unconnected(self, room: Room, event: Event, origin: ServerName) -> Fate:
        if self.figures is not None:
            self.figures.decided([Fate.UNCONNECTED])
        log.info("event_unconnected", room_id=room.room_id, event_id=event.event_id, server=origin)
        return Fate.UNCONNECTED

    def _timed(self, step: Step) -> AbstractContextManager[None]:
        return self.figures.timed(step) if self.figures is not None else nullcontext()


def _log_refusals(room: Room, fates: dict[EventId, Fate]) -> None:
    for event_id, fate in fates.items():
        if fate in (Fate.REJECTED, Fate.SOFT_FAILED):
            log.info("event_refused", room_id=room.room_id, event_id=event_id, fate=fate.value)
