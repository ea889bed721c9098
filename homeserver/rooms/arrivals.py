"""Events of other servers on their way into a room: their fate, their place in the graph, and the rows of both.

What is decided here is decided against the room as it is in memory, so only the room's writer may ask.
spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from immutables import Map

from homeserver.core.auth_rules import CREATE, check_auth, check_auth_events, keys_for_check
from homeserver.core.errors import MissingEvents, RuleBroken
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId, UserId
from homeserver.core.room import Head, RoomHead
from homeserver.core.state_resolution import may_take_away
from homeserver.rooms.building import Built, Written
from homeserver.rooms.committer import Arrived, Batch
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.forks import Forks, Meetings, Pending
from homeserver.rooms.missing_past import missing_before
from homeserver.rooms.redactions import REDACTION, Redactions
from homeserver.rooms.residents import USUAL_KEYS, Room, Rooms
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.rooms.tips import Accepted, Tip, cited_states, in_order, joined_tips
from homeserver.runtime.tasks import others_turn
from homeserver.storage import forks as fork_tables
from homeserver.storage.database import Database
from homeserver.storage.events import REJECTED, SOFT_FAILED, NewEvent, StoredEvent
from homeserver.storage.forks import Gap, Jump
from homeserver.storage.memberships import MembershipRow
from homeserver.storage.relations import row_of
from homeserver.storage.rooms import Heads
from homeserver.storage.states import UNSET, Line, StateMap, applied, differing_keys

# The event's own number, and one each for the states that branches become before it and after it.
POSITIONS_EACH = 3
# Places of the timeline that are left free before an event whose past isn't here.
GAP_PLACES = 1_000
# Events with a say in resolutions after which a batch's turn is over: about 0.2 s of work.
WORK_EACH_TURN = 3_000
# Arrivals that are decided on before the loop's other tasks have their turn: about 5 ms of work.
INLINE_MAX = 10


def positions_for(room: Room, arrivals: Sequence[Arrival]) -> int:
    """How many numbers they may take: across a gap also one for each state that other servers told of."""
    told = [arrival.states_before for arrival in arrivals if arrival.states_before is not None]
    gathering = 0 if room.head.is_gathered else POSITIONS_EACH
    return gathering + POSITIONS_EACH * len(arrivals) + sum(GAP_PLACES + len(states) for states in told)


class Fate(Enum):
    """What became of an event of another server."""

    ACCEPTED = "accepted"
    SOFT_FAILED = "soft_failed"  # allowed where it was sent, not in the room as it is now: kept, not shown
    REJECTED = "rejected"  # breaks the rules: kept, not shown, and nothing may build on it
    KNOWN = "known"  # it was here before
    UNCONNECTED = "unconnected"  # its place in the graph, or what it cites, isn't known: nothing was written
    PUT_OFF = "put_off"  # what came before it was work enough for one turn: nothing was written


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An event whose form, hash and signatures are right and whose auth events are here.

    `states_before` (each key number → event number) are given for those of its prev_events that aren't here.
    `unwelcome` says why it is to be soft-failed, whatever the room's rules allow.
    """

    event: Event
    states_before: Sequence[StateMap] | None = None
    refusal: str | None = None
    unwelcome: str | None = None
    staged_nid: int | None = None


@dataclass(slots=True)
class Intake:
    """A batch of arrivals ready to be committed."""

    built: Built
    fates: list[Fate]


@dataclass(frozen=True, slots=True)
class ArrivalReads:
    """What arrivals are looked up in."""

    db: Database
    rooms: Rooms
    event_store: EventStore
    numbers: StateNumbers
    forks: Forks


class Arrivals:
    """Decides on arrivals."""

    def __init__(self, reads: ArrivalReads) -> None:
        self._reads = reads

    async def take(self, room: Room, arrivals: Sequence[Arrival], first: int) -> Intake:
        """The fates of these events, in their order, each on top of those before.

        `first` is the first of `positions_for` numbers. Cost where the graph goes straight on: no query beyond
        what isn't in memory. Where branches meet: a resolution; after much of that the other events are put off, so
        that the room's other writes have their turn.
        """
        work = await Work.begin(self._reads, room, arrivals, first)
        fates: list[Fate] = []
        for arrival in arrivals:
            fates.append(await work.take(arrival) if work.resolved < WORK_EACH_TURN else Fate.PUT_OFF)
            if len(fates) % INLINE_MAX == 0:
                await others_turn()
        return Intake(await work.built(), fates)

    def failed(self, room: Room) -> None:
        """Told when what was taken was not written: what states became when they met isn't there either."""
        self._reads.forks.forget(room.nid)

    @property
    def reads(self) -> ArrivalReads:
        return self._reads


class Work:
    """Follows one room from arrival to arrival."""

    def __init__(self, reads: ArrivalReads, room: Room, numbers: range) -> None:
        self._reads = reads
        self._room = room
        self._next, self._end = numbers.start, numbers.stop
        self._line = room.line
        self._lines: dict[int, Line] = {room.line.nid: room.line}
        self._maps: dict[int, StateMap] = {}
        self._known = room.head.known
        self._nids = room.nids
        self._members = room.members
        self._newest = room.newest
        self._tips: dict[EventId, Tip] = {}
        self._events: dict[EventId, StoredEvent] = {}
        self._meetings = Meetings(room.nid, room.version)
        self._pending = self._meetings.pending
        self._key_nids: dict[StateKey, int] = {}
        self._gaps: set[EventId] = set()
        self._batch = Batch(arrived=Arrived(room_nid=room.nid))
        self._memberships: dict[tuple[int, str], MembershipRow] = {}
        self._redactions = Redactions(room.nid)
        self._written: list[tuple[StoredEvent, Event | None, str | None, StoredEvent | None]] = []
        self._promoted: list[int] = []
        self._changes: dict[int, int] = {}
        self._told: list[int] = []
        # Whether the forward extremities have moved on and the current state has not.
        self._is_behind = False
        self._last: Accepted | None = None
        self._jumps: dict[tuple[int, int], int] = {}

    @property
    def resolved(self) -> int:
        """How many events had a say in resolutions so far, each as often as it had one."""
        return self._meetings.work

    @property
    def _arrived(self) -> Arrived:
        assert self._batch.arrived is not None
        return self._batch.arrived

    @classmethod
    async def begin(cls, reads: ArrivalReads, room: Room, arrivals: Sequence[Arrival], first: int) -> Work:
        """Looks up what all of them will ask for: a query for the events, one for the numbers, one for the gaps."""
        work = cls(reads, room, range(first, first + positions_for(room, arrivals)))
        events = [arrival.event for arrival in arrivals]
        wanted = {head.event_id for head in room.head.heads}
        for event in events:
            wanted.update((event.event_id, *event.prev_event_ids, *event.auth_event_ids))
            if event.type == REDACTION and (named := event.redacted_id) is not None:
                wanted.add(named)
        work._events = await reads.event_store.by_ids(wanted)
        early = await reads.event_store.early_redactions(room.nid, [event.event_id for event in events])
        work._redactions = Redactions(room.nid, early)
        keys = {key for event in events for key in keys_for_check(event)} | set(USUAL_KEYS)
        await reads.numbers.find(list(keys))
        work._key_nids = await reads.numbers.give([event.key for event in events if event.is_state])
        for head in room.head.heads:
            work._tips[head.event_id] = Tip.of(head, work._events[head.event_id])
        if not room.head.is_gathered:
            work._is_behind, work._last = True, Accepted(work._number(), 0, None)
        if any(set(event.prev_event_ids) != set(work._tips) for event in events):
            work._gaps = await fork_tables.gaps_among(reads.db, room.nid, [event.event_id for event in events])
        return work

    async def take(self, arrival: Arrival) -> Fate:
        event = arrival.event
        existing = self._events.get(event.event_id)
        is_known = existing is not None and (existing.has_place or existing.room_nid != self._room.nid)
        can_be_judged = not is_known and all(name in self._events for name in event.auth_event_ids)
        before = await self._state_before(arrival) if can_be_judged else None
        if (is_known or before is not None) and arrival.staged_nid is not None:
            self._arrived.staged.append(arrival.staged_nid)
        if before is None:
            return Fate.KNOWN if is_known else Fate.UNCONNECTED
        fate, refusal = await self._fate(arrival, before)
        nid = existing.nid if existing is not None else self._next
        is_across_gap = arrival.states_before is not None
        if is_across_gap:
            self._note_told(nid)
        missing = await missing_before(
            self._reads.db, event, self._events, self._arrived.gaps, is_across_gap=is_across_gap
        )
        self._arrived.gaps.extend(Gap(self._room.nid, name, nid) for name in missing)
        if arrival.unwelcome is not None:
            self._arrived.unwelcome.add(nid)
        await self._place(event, existing, before, fate, refusal)
        return fate

    async def _fate(self, arrival: Arrival, before: Line) -> tuple[Fate, str | None]:
        """What becomes of the event, and why where it isn't accepted."""
        refusal = arrival.refusal or await self._refusal(arrival.event, before)
        if refusal is not None:
            return Fate.REJECTED, refusal
        if before.nid != self._line.nid:
            refusal = await self._broken_rule(arrival.event, self._line)
            if refusal is not None and self._is_behind:
                await self._catch_up()
                refusal = await self._broken_rule(arrival.event, self._line)
        refusal = refusal or arrival.unwelcome
        return Fate.SOFT_FAILED if refusal else Fate.ACCEPTED, refusal

    async def _state_before(self, arrival: Arrival) -> Line | None:
        if arrival.states_before is not None:
            self._next += GAP_PLACES
            return await self._across_gap(arrival)
        prevs = [self._events.get(event_id) for event_id in arrival.event.prev_event_ids]
        if not prevs or any(prev is None or not prev.has_place for prev in prevs):
            return None
        if set(arrival.event.prev_event_ids) == set(self._tips):
            await self._catch_up()
            return self._line
        state_nids = {prev.state_after for prev in prevs if prev is not None}
        return await self._met([nid for nid in state_nids if nid is not None])

    async def _across_gap(self, arrival: Arrival) -> Line | None:
        """The state before an event whose past is only partly here."""
        nids = {(await self._given(state)).nid for state in arrival.states_before or ()}
        self._told = sorted(nids)
        for event_id in arrival.event.prev_event_ids:
            prev = self._events.get(event_id)
            if prev is not None and prev.has_place and prev.state_after is not None:
                nids.add(prev.state_after)
        return await self._met(nids) if nids else None

    def _note_told(self, event_nid: int) -> None:
        """While members are missing: what the state before the event is made from is wanted again once they aren't."""
        if self._room.partial is not None or self._room.awaiting is not None:
            self._arrived.told.extend((event_nid, nid) for nid in self._told)

    async def _given(self, state: StateMap) -> Line:
        """A state that another server told of, as a line: near the current one where most of it is the same."""
        current = await self._map(self._line)
        changes = {number: nid for number, nid in state.items() if current.get(number) != nid}
        changes.update((number, UNSET) for number in current if number not in state)
        if not changes:
            return self._line
        line = self._line.next(self._number(), changes)
        self._keep(line, applied(current, changes))
        return line

    async def _met(self, state_nids: Collection[int]) -> Line:
        """The state that these states become together."""
        forks = self._reads.forks
        known = forks.met(state_nids)
        if known is not None:
            return self._lines.setdefault(known.nid, known)
        lines = await self._lines_of(state_nids)
        if len(lines) == 1:
            return lines[0]
        home = self._room.line
        resolved = await forks.resolve(self._meetings, lines, home, await self._map(home))
        line = resolved.same
        if line is None:
            line = resolved.base.next(self._number(), resolved.changes)
            self._keep(line, applied(await self._map(resolved.base), resolved.changes))
        forks.remember(state_nids, line)
        return line

    async def _lines_of(self, state_nids: Collection[int]) -> list[Line]:
        missing = [nid for nid in state_nids if nid not in self._lines]
        if missing:
            self._lines.update(await self._reads.rooms.lines(missing, [self._line, self._room.line]))
        return [self._lines[nid] for nid in state_nids]

    async def _map(self, line: Line) -> StateMap:
        known = self._maps.get(line.nid)
        if known is None:
            known = self._maps[line.nid] = await self._reads.rooms.map_near(line, self._room.line)
        return known

    def _keep(self, line: Line, state: StateMap) -> None:
        self._lines[line.nid] = line
        self._maps[line.nid] = state
        self._batch.states.append(line.rows[0])

    async def _refusal(self, event: Event, before: Line) -> str | None:
        """Why the event is rejected: by what it cites, or by the state before it."""
        cited = [self._events[event_id] for event_id in event.auth_event_ids if event_id in self._events]
        rejected = {stored.event.event_id for stored in cited if stored.flags & REJECTED}
        try:
            check_auth_events(event, [stored.event for stored in cited], rejected=rejected)
            state = {stored.event.key: stored.event for stored in cited if stored.event.is_state}
            create = self._known.get(CREATE)
            if create is not None:
                state.setdefault(CREATE, create)
            check_auth(event, state)
        except RuleBroken as broken:
            return f"by its auth events: {broken}"
        except MissingEvents:
            return "its auth events are not all known"
        reason = await self._broken_rule(event, before)
        return f"by the state before it: {reason}" if reason else None

    async def _broken_rule(self, event: Event, line: Line) -> str | None:
        state = await self._state_at(line, keys_for_check(event))
        if self._room.partial is not None:
            state = {**self._cited_members(event), **state}
        try:
            check_auth(event, state)
        except RuleBroken as broken:
            return str(broken)
        return None

    def _cited_members(self, event: Event) -> dict[StateKey, Event]:
        """Whom the event's auth events say to be members: believed of those of whom nothing is known yet."""
        cited = [self._events[name].event for name in event.auth_event_ids if name in self._events]
        return {one.key: one for one in cited if one.is_state and one.type == "m.room.member"}

    async def _state_at(self, line: Line, keys: Collection[StateKey]) -> dict[StateKey, Event]:
        found: dict[StateKey, Event] = {}
        missing = list(keys)
        if line.nid == self._line.nid:
            known = {key: self._known[key] for key in keys if key in self._known}
            found = {key: event for key, event in known.items() if event is not None}
            missing = [key for key in keys if key not in known]
        if missing:
            numbers = await self._reads.numbers.find(missing)
            state = await self._map(line)
            nids = {key: nid for key, number in numbers.items() if (nid := state.get(number)) is not None}
            stored = await self._by_nids(nids.values())
            found.update((key, stored[nid].event) for key, nid in nids.items() if nid in stored)
            if line.nid == self._line.nid:
                self._known = self._known.update({key: found.get(key) for key in missing})
                self._nids = self._nids.update({key: nids[key] for key in missing if key in found})
        return found

    async def _by_nids(self, nids: Collection[int]) -> dict[int, StoredEvent]:
        found = {nid: self._pending[nid].stored for nid in nids if nid in self._pending}
        found.update(await self._reads.event_store.by_nids([nid for nid in nids if nid not in found]))
        return found

    # --- its place

    def _number(self) -> int:
        number, self._next = self._next, self._next + 1
        # The next number is somebody else's: writing it would damage their room.
        if number >= self._end:
            raise RuntimeError("more numbers are needed than were reserved")
        return number

    def _place_for(self, existing: StoredEvent | None) -> int:
        """Where the event comes in the timeline, if it does; the number of one that wasn't here."""
        return self._number()

    async def _place(
        self, event: Event, existing: StoredEvent | None, before: Line, fate: Fate, refusal: str | None
    ) -> None:
        position = self._place_for(existing)
        nid = existing.nid if existing is not None else position
        accepted = fate is Fate.ACCEPTED
        key_nid = self._key_nids[event.key] if event.is_state else None
        replaces = None
        if key_nid is not None:
            replaces = (await self._map(before)).get(key_nid) if before.nid != self._line.nid else self._replaced(event)
        row = NewEvent(
            nid=nid,
            room_nid=self._room.nid,
            ordering=position if accepted else None,
            event=event,
            state_nid=before.nid,
            replaces=replaces,
            key_nid=key_nid,
            flags={Fate.REJECTED: REJECTED, Fate.SOFT_FAILED: SOFT_FAILED}.get(fate, 0),
            json=event.canonical,
        )
        redacted_by = self._redactions.of(event, nid, self._known) if accepted else None
        event = event if redacted_by is None else event.redacted()
        stored = StoredEvent(
            nid=nid, room_nid=row.room_nid, ordering=row.ordering, event=event, state_nid=before.nid, replaces=replaces,
            redacted_by=redacted_by, flags=row.flags, device_id=None, txn_id=None, size_bytes=len(row.json),
        )  # fmt: skip
        self._events[event.event_id] = stored
        if existing is None:
            self._batch.events.append(row)
        else:
            self._arrived.promoted.append(row)
            self._promoted.append(nid)
        if refusal is not None:
            self._arrived.refusals[nid] = refusal
        after = before
        if key_nid is not None and fate is not Fate.REJECTED:
            after = await self._state_after(stored, before, key_nid)
        if key_nid is not None and existing is not None and (existing.flags ^ row.flags) & REJECTED:
            await self._reads.forks.refated(self._meetings, event.event_id, is_rejected=fate is Fate.REJECTED)
        if accepted:
            await self._accept(stored, before, after, position)

    def _replaced(self, event: Event) -> int | None:
        return self._nids.get(event.key)

    async def _state_after(self, stored: StoredEvent, before: Line, key_nid: int) -> Line:
        self._pending[stored.nid] = Pending(stored, key_nid)
        after = before.next(stored.nid, {key_nid: stored.nid})
        self._lines[after.nid] = after
        self._batch.states.append(after.rows[0])
        state_before = self._maps.get(before.nid)
        if state_before is not None:
            self._maps[after.nid] = state_before.set(key_nid, stored.nid)
        return after

    async def _accept(self, stored: StoredEvent, before: Line, after: Line, position: int) -> None:
        event = stored.event
        replaced, was = None, None
        if event.is_state:
            replaced = (await self._state_at(self._line, [event.key])).get(event.key)
            was = self._members.get(UserId(event.state_key or "")) if event.type == "m.room.member" else None
        relation = row_of(event, stored.nid, self._room.nid)
        if relation is not None:
            self._batch.relations.append(relation)
        self._newest = max(self._newest, position)
        if event.event_id in self._gaps:
            self._arrived.filled.append(event.event_id)
        else:
            for cited in joined_tips(event, self._events):
                self._tips.pop(cited, None)
            self._tips[event.event_id] = Tip.of(Head.of(event), stored)
        is_straight = before.nid == self._line.nid and not self._is_behind
        if is_straight and len(self._tips) == 1 and event.event_id in self._tips:
            self._step(stored, after)
        else:
            await self._fall_behind(stored, position)
        target = self._redact(event, stored.nid) if event.type == REDACTION else None
        self._written.append((stored, replaced, was, target))

    def _step(self, stored: StoredEvent, after: Line) -> None:
        """The usual way: the event comes after all there is."""
        self._line = after
        event = stored.event
        if not event.is_state:
            return
        self._known = self._known.set(event.key, event)
        self._nids = self._nids.set(event.key, stored.nid)
        self._changes[self._key_nids[event.key]] = stored.nid
        if event.type == "m.room.member":
            self._set_member(event, stored.nid)

    async def _fall_behind(self, stored: StoredEvent, position: int) -> None:
        """An event on one of several branches: what it does to the current state is found out when it matters.

        That is when it may take away what somebody may do, when a later event would be refused, or else once for the
        whole batch. Until then it does nothing to it.
        """
        event = stored.event
        own = self._key_nids[event.key] if event.is_state else None
        self._last = Accepted(position, stored.nid, own)
        self._is_behind = True
        if own is not None:
            current = (await self._map(self._line)).get(own, UNSET)
            self._jumps[position, own] = current
        if event.is_state and may_take_away(event):
            await self._catch_up()

    async def _catch_up(self) -> None:
        """Brings the current state to where the forward extremities are; what no event explains is written down."""
        if not self._is_behind or self._last is None:
            return
        self._is_behind = False
        line = await self._met(cited_states(self._tips.values()))
        before, self._line = self._line, line
        if before.nid == line.nid:
            return
        old, new = await self._map(before), await self._map(line)
        changes = {
            number: new.get(number, UNSET)
            for number in differing_keys([before, line])
            if old.get(number) != new.get(number)
        }
        last = self._last
        self._jumps.update({(last.position, number): nid for number, nid in changes.items()})
        if last.key_nid is not None and self._jumps.get((last.position, last.key_nid)) == last.nid:
            del self._jumps[last.position, last.key_nid]  # the event itself says so
        self._changes.update(changes)
        await self._follow(changes)

    async def _follow(self, changes: Mapping[int, int]) -> None:
        """Brings what is known of the current state after these changes of it."""
        if not changes:
            return
        keys = await self._reads.numbers.keys_of(list(changes))
        stored = await self._by_nids([nid for nid in changes.values() if nid != UNSET])
        for number, nid in changes.items():
            key = keys[number]
            event = stored[nid].event if nid in stored else None
            if key in self._known or event is not None:
                self._known = self._known.set(key, event)
            if event is not None:
                self._nids = self._nids.set(key, nid)
            elif key in self._nids:
                self._nids = self._nids.delete(key)
            if key[0] == "m.room.member":
                if event is not None:
                    self._set_member(event, nid)
                elif UserId(key[1]) in self._members:
                    self._unset_member(UserId(key[1]))

    def _set_member(self, event: Event, nid: int) -> None:
        user_id, membership = UserId(event.state_key or ""), event.membership or "leave"
        self._members = self._members.set(user_id, membership)
        self._memberships[self._room.nid, user_id] = MembershipRow(self._room.nid, user_id, membership, nid)

    def _unset_member(self, user_id: UserId) -> None:
        self._members = self._members.set(user_id, "leave")
        self._memberships[self._room.nid, user_id] = MembershipRow(self._room.nid, user_id, "leave", self._newest)

    def _redact(self, event: Event, nid: int) -> StoredEvent | None:
        """Marks the target where the redaction applies."""
        named = self._events.get(event.redacted_id or EventId(""))
        target = self._redactions.apply(event, nid, named, self._known)
        if target is not None and target.event.is_state:
            current = self._known.get(target.event.key)
            if current is not None and current.event_id == target.event.event_id:
                self._known = self._known.set(target.event.key, target.event.redacted())
        return target

    # --- the rows

    async def built(self) -> Built:
        await self._catch_up()
        self._arrived.jumps.extend(
            Jump(self._room.nid, position, number, nid) for (position, number), nid in self._jumps.items()
        )
        room = self._after()
        if room.has_own_heads:
            nids = [tip.nid for tip in in_order(self._tips.values())]
            self._batch.heads = Heads(room.nid, nids, room.line.nid)
        elif self._room.has_own_heads:
            self._batch.heads = Heads(room.nid, None, None)
        self._batch.memberships = self._memberships
        self._batch.redactions = self._redactions.applied
        self._batch.early, self._arrived.met = self._redactions.still_waiting(), self._redactions.met
        keys = [row.event.key for row in self._batch.events if row.event.is_state]
        self._batch.state_keys = self._reads.numbers.unsaved(keys)
        written = [
            Written(stored=stored, room=room, replaced=replaced, membership_before=was, redacts=target)
            for stored, replaced, was, target in self._written
        ]
        return Built(room, self._batch, written, self._changes, self._redactions.redacted, promoted=self._promoted)

    def _after(self) -> Room:
        tips = in_order(self._tips.values())
        newest = next((tip for tip in tips if self._is_newest(tip)), None)
        is_plain = len(tips) == 1 and newest is not None and newest.state_nid == self._line.nid
        known: Map[StateKey, Event | None] = self._known
        return replace(
            self._room,
            head=RoomHead(
                version=self._room.version,
                room_id=self._room.room_id,
                heads=tuple(tip.head for tip in tips),
                depth=max(tip.depth for tip in tips),
                known=known,
            ),
            line=self._line,
            nids=self._nids,
            members=self._members,
            joined=sum(1 for membership in self._members.values() if membership == "join")
            if self._members is not self._room.members
            else self._room.joined,
            newest=self._newest,
            has_own_heads=not is_plain,
            head_nids={} if is_plain else {tip.head.event_id: tip.nid for tip in tips},
        )

    def _is_newest(self, tip: Tip) -> bool:
        stored = self._events.get(tip.head.event_id)
        return stored is not None and stored.ordering == self._newest
