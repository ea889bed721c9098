"""Events of other servers, written: into a room's timeline, beside it, or as a room that this server comes into.

Whoever calls has checked form, hash and signatures. Each of these takes its turn with the room's other writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from homeserver.core.auth_rules import CREATE, POWER_LEVELS, check_auth
from homeserver.core.errors import Forbidden, NotFound
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.core.room_versions import RoomVersion
from homeserver.core.server_acl import AclVerdicts
from homeserver.journal.journal import Entry, Journal
from homeserver.ports import RemoteScreen
from homeserver.rooms.arrivals import GAP_PLACES, Arrival, Arrivals, Fate, positions_for
from homeserver.rooms.building import PAST, Built, Past, Written
from homeserver.rooms.committer import Arrived, Batch, Committer
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.judging import create_ids, in_auth_order, judge, judge_and_encode
from homeserver.rooms.missing_past import by_edges
from homeserver.rooms.power_loss import watch_power
from homeserver.rooms.redactions import Redactions
from homeserver.rooms.residents import Room, Rooms, is_in
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.rooms.writer import RoomWriter
from homeserver.storage import events as table
from homeserver.storage import forks as fork_tables
from homeserver.storage import rooms as room_table
from homeserver.storage.database import Database
from homeserver.storage.events import REJECTED, NewEvent, StoredEvent
from homeserver.storage.forks import Gap, Jump
from homeserver.storage.memberships import MembershipRow
from homeserver.storage.partial_rooms import row_of_entry
from homeserver.storage.relations import row_of
from homeserver.storage.rooms import RoomRow
from homeserver.storage.states import StateRow, first_line

CHUNK = 500
ACL = ("m.room.server_acl", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteParts:
    """What writes go through."""

    db: Database
    journal: Journal
    writer: RoomWriter
    committer: Committer
    arrivals: Arrivals


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSnapshot:
    """A room as another server told of it: all state, the auth chain, and the event by which this server comes in.

    `servers` is given where members were left out of the state: who is in the room, first the server that told it.
    `awaited` has an event each of servers whose keys couldn't be had: what they signed is missing.
    """

    version: RoomVersion
    state: Sequence[Event]
    auth_chain: Sequence[Event]
    event: Event
    servers: Sequence[ServerName] | None = None
    awaited: Mapping[ServerName, bytes] = field(default_factory=dict)


class Incoming:
    """Writes what other servers made. `power_lost` is called when resolution takes a room's power levels away."""

    screen: RemoteScreen | None = None
    power_lost: Callable[[], None] | None = None

    def __init__(self, parts: WriteParts, rooms: Rooms, event_store: EventStore, numbers: StateNumbers) -> None:
        self._parts = parts
        self._rooms = rooms
        self._events = event_store
        self._numbers = numbers
        self._verdicts = AclVerdicts()
        parts.writer.gather = lambda room_id: self._take(room_id, ())

    async def take(self, room_id: RoomId, arrivals: Sequence[Arrival]) -> list[Fate]:
        """Takes events into a room, in this order, and says what became of each. Durable when it returns.

        Raises NotFound for a room that this server isn't in, Unavailable when the database is away.
        """
        if not arrivals:
            return []
        if self.screen is not None:
            reasons = await self.screen.screen(room_id, [arrival.event for arrival in arrivals])
            if any(reasons):
                arrivals = [replace(one, unwelcome=why) for one, why in zip(arrivals, reasons, strict=True)]
        return await self._parts.writer.exclusively(room_id, lambda: self._take(room_id, arrivals))

    async def keep(self, room_id: RoomId, events: Sequence[Event]) -> int:
        """Keeps events that others cite, outside of the timeline: those whose auth events are here or among them.

        Those that break the rules are kept as rejected. Those whose auth events aren't all known aren't kept: what they
        are isn't known either, and whoever cites them would be rejected with them for ever. How many these were.
        """
        if not events:
            return 0
        return await self._parts.writer.exclusively(room_id, lambda: self._keep_cited(room_id, events))

    async def enter(self, room_id: RoomId, snapshot: RoomSnapshot) -> Room:
        """The room, once this server is in it. Raises RuleBroken where the event isn't allowed by the state told."""
        return await self._parts.writer.exclusively(room_id, lambda: self._enter(room_id, snapshot))

    async def note(
        self,
        room_id: RoomId,
        version: RoomVersion,
        event: Event,
        stripped: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Writes a member event of a user of ours in a room that this server isn't in: an invite, a knock, a leave.

        `stripped` is what its server tells of the room.
        """
        await self._parts.writer.exclusively(room_id, lambda: self._note(room_id, version, event, stripped))

    async def extend_back(self, room_id: RoomId, edge: EventId, events: Sequence[Event]) -> int:
        """Puts events into the timeline before the one at the edge of a gap, or of an earlier one that they lie before;
        how many weren't known before.

        They reach nobody's /sync and change no state. Those that break the rules are kept as rejected; those whose auth
        events aren't all known are passed over, so that nobody's reading ends at them.
        """
        return await self._parts.writer.exclusively(room_id, lambda: self._extend_all_back(room_id, edge, events))

    async def receive_invite(
        self, room_id: RoomId, version: RoomVersion, event: Event, stripped: Sequence[Mapping[str, Any]]
    ) -> None:
        """An invite from another server: into the room where this server is in it, else noted.

        Raises Forbidden where the room is known here and its ACL shuts that server out.
        """
        room = await self._rooms.get(room_id)
        if room is not None and is_in(room, domain_of(event.state_key or "")):
            room = await self._rooms.with_known(room, [ACL])
            if not self._verdicts.allow(room.known_state(*ACL), domain_of(event.sender)):
                raise Forbidden("your server may not take part in this room")
            return  # it comes to us as all events of the room do
        await self.note(room_id, version, event, stripped)

    # --- into the timeline

    async def _take(self, room_id: RoomId, arrivals: Sequence[Arrival]) -> list[Fate]:
        room = await self._rooms.get(room_id)
        if room is None:
            raise NotFound("this server doesn't know the room")
        journal = self._parts.journal
        first = await journal.open(positions_for(room, arrivals))
        entries: Sequence[Entry] = ()
        try:
            intake = await self._parts.arrivals.take(room, arrivals, first)
            entries = await self._commit(room, intake.built)
        except BaseException:
            self._parts.arrivals.failed(room)
            self._rooms.drop(room.room_id)
            raise
        finally:
            journal.close(first, entries)
        watch_power(room, intake.built.room, self.power_lost)
        return intake.fates

    async def _commit(self, room: Room, built: Built) -> list[Entry]:
        await self._parts.committer.commit(built.batch)
        self._parts.writer.committed(built)
        entries = [
            Entry(written.stored.ordering or written.stored.nid, "event", built.room.room_id, (), written)
            for written in built.written
        ]
        gapped = {gap.event_nid for gap in built.batch.arrived.gaps} if built.batch.arrived is not None else set()
        edges = [
            entry.position for entry, written in zip(entries, built.written, strict=True) if written.event_nid in gapped
        ]
        if edges:
            entries.append(Entry(max(edges), "gap", room.room_id))
        jumps = built.batch.arrived.jumps if built.batch.arrived is not None else ()
        if jumps:
            moved = {key[1] for key in await self._keys(jumps) if key[0] == "m.room.member"}
            last = max(jump.position for jump in jumps)
            entries.append(Entry(last, "state_jump", room.room_id, tuple(UserId(user_id) for user_id in moved)))
        return sorted(entries, key=lambda entry: entry.position)

    async def _keys(self, jumps: Sequence[Jump]) -> list[StateKey]:
        return list((await self._numbers.keys_of({jump.key_nid for jump in jumps})).values())

    # --- beside it

    async def _keep_cited(self, room_id: RoomId, events: Sequence[Event]) -> int:
        rows = await room_table.by_ids(self._parts.db, [room_id])
        if not rows:
            raise NotFound("this server doesn't know the room")
        known = await self._write_cited(rows[0].nid, events)
        return sum(1 for event in events if event.event_id not in known)

    async def _write_cited(self, room_nid: int, events: Sequence[Event]) -> dict[EventId, StoredEvent]:
        """Writes those that aren't here yet; gives all that are then, by id, with what they cite."""
        wanted = {event.event_id for event in events} | {name for event in events for name in event.auth_event_ids}
        wanted |= create_ids(events)
        known = dict(await self._events.by_ids(wanted))
        if len(events) > 50:
            new, refusals = await asyncio.to_thread(judge_and_encode, events, known)
        else:
            new, refusals = judge_and_encode(events, known)
        numbers = await self._numbers.give([event.key for event in new if event.is_state])
        for at in range(0, len(new), CHUNK):
            chunk = new[at : at + CHUNK]
            first = await self._unpublished(len(chunk))
            batch = Batch(arrived=Arrived(room_nid=room_nid))
            for nid, event in enumerate(chunk, first):
                stored = self._add_row(batch, nid, room_nid, event, numbers, refusals.get(event.event_id))
                known[event.event_id] = stored
            keys = [event.key for event in chunk if event.is_state]
            batch.state_keys = self._numbers.unsaved(keys)
            await self._parts.committer.commit(batch)
            self._numbers.saved(batch.state_keys)
        return known

    def _add_row(
        self,
        batch: Batch,
        nid: int,
        room_nid: int,
        event: Event,
        numbers: Mapping[StateKey, int],
        refusal: str | None,
    ) -> StoredEvent:
        flags = REJECTED if refusal else 0
        key_nid = numbers[event.key] if event.is_state else None
        json = event.canonical
        batch.events.append(
            NewEvent(
                nid=nid,
                room_nid=room_nid,
                ordering=None,
                event=event,
                state_nid=None,
                key_nid=key_nid,
                flags=flags,
                json=json,
            )
        )
        if refusal and batch.arrived is not None:
            batch.arrived.refusals[nid] = refusal
        return StoredEvent(
            nid=nid, room_nid=room_nid, ordering=None, event=event, state_nid=None, replaces=None, redacted_by=None,
            flags=flags, device_id=None, txn_id=None, size_bytes=len(json),
        )  # fmt: skip

    async def _unpublished(self, count: int) -> int:
        """Numbers for rows that no consumer hears of."""
        first = await self._parts.journal.open(count)
        self._parts.journal.close(first, ())
        return first

    # --- before it

    async def _extend_all_back(self, room_id: RoomId, edge: EventId, events: Sequence[Event]) -> int:
        room = await self._rooms.get(room_id)
        at = (await self._events.by_id(edge)) if room is not None else None
        if room is None or at is None or at.ordering is None or at.room_nid != room.nid:
            return 0
        ids = [event.event_id for event in events]
        gaps = await fork_tables.gaps_earlier(self._parts.db, room.nid, ids, at.ordering)
        edges = await self._events.by_nids([gap.event_nid for gap in gaps])
        gaps.sort(key=lambda gap: edges[gap.event_nid].ordering or 0)
        parts = by_edges(events, [(edges[gap.event_nid], gap.missing_id) for gap in gaps], at)
        # The earliest first: what is placed later cites it.
        return sum([await self._extend_back(room_id, before, part) for before, part in parts])

    async def _extend_back(self, room_id: RoomId, at: StoredEvent, events: Sequence[Event]) -> int:
        room = await self._rooms.get(room_id)
        if room is None or at.ordering is None:
            return 0
        ids = {event.event_id for event in events}
        wanted = {*ids, *(name for event in events for name in (*event.auth_event_ids, *event.prev_event_ids))}
        wanted |= create_ids(events) | {name for event in events if (name := event.redacted_id) is not None}
        known = await self._events.by_ids(wanted)
        new = [event for event in events if (one := known.get(event.event_id)) is None or one.ordering is None]
        new.sort(key=lambda event: (event.depth, event.origin_server_ts))
        outside = {event_id: one for event_id, one in known.items() if event_id not in ids or one.ordering is not None}
        judged = judge(in_auth_order(new), outside)
        passed_over = {event.event_id: event for event in new if event.event_id in judged.unknown}
        new = [event for event in new if event.event_id not in passed_over]
        before, end = await table.free_before(self._parts.db, room.nid, at.ordering, len(new))
        top = end if before is not None else min(end, 0)
        lowest = before + 1 if before is not None else top - len(new)
        new = new[max(0, len(new) - (top - lowest)) :]
        numbers = await self._numbers.give([event.key for event in new if event.is_state])
        batch = Batch(arrived=Arrived(room_nid=room.nid))
        first = await self._unpublished(max(len(new), 1))
        placed = 0
        for nid, event, place in zip(range(first, first + len(new)), new, range(top - len(new), top), strict=True):
            refusal = judged.refused.get(event.event_id)
            existing = known.get(event.event_id)
            row = NewEvent(
                nid=existing.nid if existing is not None else nid,
                room_nid=room.nid,
                ordering=place if refusal is None else None,
                event=event,
                state_nid=at.state_nid,
                key_nid=numbers[event.key] if event.is_state else None,
                flags=REJECTED if refusal else 0,
                json=event.canonical,
            )
            placed += refusal is None or existing is None
            self._put_back(batch, row, existing, refusal)
        batch.states = await self._states_after(room, at, batch.arrived.promoted if batch.arrived else (), known)
        # What didn't fit, and what is kept outside of the timeline, is still to be fetched.
        here = {event.event_id for event in new} | {one.event.event_id for one in known.values() if one.has_place}
        open_gaps = await fork_tables.gaps_among(self._parts.db, room.nid, passed_over) if passed_over else set()
        self._pass_over(batch, Gap(room.nid, at.event.event_id, at.nid), passed_over, open_gaps, here)
        redacted = await self._redact_past(room, batch, known)
        await self._write_back(room, at.nid, batch, here, redacted)
        return placed + len(open_gaps)

    async def _redact_past(self, room: Room, batch: Batch, here: Mapping[EventId, StoredEvent]) -> list[StoredEvent]:
        """Marks what redactions among these events, or before them, apply to; what of it was here before."""
        assert batch.arrived is not None
        rows = [*batch.events, *batch.arrived.promoted]
        room = await self._rooms.with_known(room, [CREATE, POWER_LEVELS])
        early = await self._events.early_redactions(room.nid, [row.event.event_id for row in rows])
        redactions = Redactions(room.nid, early)
        redactions.of_past(rows, here, room.head.known)
        batch.redactions = redactions.applied
        batch.early, batch.arrived.met = redactions.still_waiting(), redactions.met
        return [stored for stored in redactions.redacted if stored.event.event_id in here]

    def _pass_over(
        self,
        batch: Batch,
        edge: Gap,
        passed_over: Mapping[EventId, Event],
        open_gaps: Collection[EventId],
        here: Collection[EventId],
    ) -> None:
        """What follows from events of which nothing can be said: where one was missing, what it follows is instead."""
        assert batch.arrived is not None
        rows = [*batch.events, *batch.arrived.promoted]
        waiting = [*open_gaps, *(name for row in rows for name in row.event.prev_event_ids if name in passed_over)]
        seen: set[EventId] = set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            for earlier in passed_over[name].prev_event_ids:
                if earlier in passed_over:
                    waiting.append(earlier)
                elif earlier not in here:
                    batch.arrived.gaps.append(Gap(edge.room_nid, earlier, edge.event_nid))
        batch.arrived.filled.extend(seen)

    async def _states_after(
        self, room: Room, edge: StoredEvent, rows: Sequence[NewEvent], known: Mapping[EventId, StoredEvent]
    ) -> list[StateRow]:
        """Those after state events that were kept before they came to their place, which is later than their number:
        as for all that is fetched, what is known of the state is that at the edge."""
        wanted = [
            row.nid
            for row in rows
            if row.key_nid is not None
            and row.ordering is not None
            and row.ordering >= row.nid
            and known[row.event.event_id].state_after != row.nid
        ]
        if not wanted or edge.state_nid is None:
            return []
        line = (await self._rooms.lines([edge.state_nid], [room.line]))[edge.state_nid]
        return [line.next(nid, {}).rows[0] for nid in wanted]

    def _put_back(self, batch: Batch, row: NewEvent, existing: StoredEvent | None, refusal: str | None) -> None:
        assert batch.arrived is not None
        if existing is None:
            batch.events.append(row)
        else:
            batch.arrived.promoted.append(row)
        if refusal is not None:
            batch.arrived.refusals[row.nid] = refusal

    async def _write_back(
        self, room: Room, edge_nid: int, batch: Batch, here: Collection[EventId], redacted: Sequence[StoredEvent]
    ) -> None:
        """Commits what goes before the edge: its gap is closed, and those of the new events are open.

        What a refused event follows is missing at the edge: the refused one itself has no place to read on from.
        """
        assert batch.arrived is not None
        rows = [*batch.events, *batch.arrived.promoted]
        passed_over = set(batch.arrived.filled)
        batch.arrived.gaps += [
            Gap(room.nid, name, row.nid if row.ordering is not None else edge_nid)
            for row in rows
            for name in row.event.prev_event_ids
            if name not in here and name not in passed_over
        ]
        batch.arrived.filled += [row.event.event_id for row in rows]
        placed_rows = [row for row in rows if row.ordering is not None]
        batch.relations = [found for row in placed_rows if (found := row_of(row.event, row.nid, room.nid)) is not None]
        keys = [row.event.key for row in rows if row.event.is_state]
        batch.state_keys = self._numbers.unsaved(keys)
        if rows or passed_over:
            await self._parts.committer.commit(batch)
            self._numbers.saved(batch.state_keys)
            self._events.promoted([row.nid for row in batch.arrived.promoted])
            if batch.early:
                self._events.early_redactions_wait(room.nid)
            self._events.redacted(list(batch.redactions))
            if any(stored.event.is_state for stored in redacted):
                self._rooms.drop(room.room_id)
            await self._tell_of_past(room.room_id, placed_rows, batch.redactions, redacted)

    async def _tell_of_past(
        self, room_id: RoomId, rows: Sequence[NewEvent], redactions: Collection[int], redacted: Sequence[StoredEvent]
    ) -> None:
        """For those who keep what events say: what came in at the beginning of a timeline is no news to clients."""
        journal = self._parts.journal
        position = await journal.open()
        past = [Past(row.nid, row.event.redacted() if row.nid in redactions else row.event) for row in rows]
        entries = [Entry(position, PAST, None, (), tuple(past))]
        if redacted:
            entries.append(Entry(position, "redacted", room_id, (), tuple(stored.nid for stored in redacted)))
        journal.close(position, entries)

    # --- a room to come into

    async def _enter(self, room_id: RoomId, snapshot: RoomSnapshot) -> Room:
        room_nid = await self._room_nid(room_id, snapshot.version, snapshot.state)
        known = await self._write_cited(room_nid, [*snapshot.auth_chain, *snapshot.state])
        valid = [known[event.event_id] for event in snapshot.state if event.event_id in known]
        state = {stored.event.key: stored for stored in valid if not stored.flags & REJECTED}
        event = snapshot.event
        if snapshot.servers is not None:
            state = {**_cited_members(event, known), **state}
        check_auth(event, {key: stored.event for key, stored in state.items()})
        journal = self._parts.journal
        numbers = await self._numbers.give([*state, event.key])
        existing = await self._events.by_id(event.event_id)
        if existing is not None and existing.ordering is not None:
            room = await self._rooms.get(room_id)
            assert room is not None
            return room
        # What happened while nobody of ours was in the room gets its places in between, if it is ever read.
        first = await journal.open(GAP_PLACES + 2) + GAP_PLACES
        entries: Sequence[Entry] = ()
        try:
            batch = self._entry_batch(room_nid, event, {numbers[key]: s for key, s in state.items()}, first, numbers)
            assert batch.arrived is not None
            batch.arrived.partial = row_of_entry(room_nid, first, snapshot.servers, awaits_keys=bool(snapshot.awaited))
            batch.arrived.awaited = snapshot.awaited if snapshot.servers is None else {}
            was = state.get(event.key)
            await self._parts.committer.commit(batch)
            self._numbers.saved(batch.state_keys)
            self._rooms.drop(room_id)
            room = await self._rooms.get(room_id)
            assert room is not None
            stored = (await self._events.by_ids([event.event_id]))[event.event_id]
            before = was.event.membership if was is not None else None
            replaced = was.event if was else None
            written = Written(stored=stored, room=room, replaced=replaced, membership_before=before, is_entry=True)
            entries = [Entry(first + 1, "event", room_id, (), written)]
        finally:
            journal.close(first - GAP_PLACES, entries)
        return room

    def _entry_batch(
        self,
        room_nid: int,
        event: Event,
        state: Mapping[int, StoredEvent],
        first: int,
        numbers: Mapping[StateKey, int],
    ) -> Batch:
        """The rows of the event by which this server comes in, and of the state that it finds."""
        nid, key_nid = first + 1, numbers[event.key]
        nids = {number: stored.nid for number, stored in state.items()}
        line = first_line(first, nids)
        after = line.next(nid, {key_nid: nid})
        members = {
            (room_nid, stored.event.state_key or ""): MembershipRow(
                room_nid, UserId(stored.event.state_key or ""), stored.event.membership or "leave", stored.nid
            )
            for stored in state.values()
            if stored.event.type == "m.room.member"
        }
        user_id = event.state_key or ""
        members[room_nid, user_id] = MembershipRow(room_nid, UserId(user_id), event.membership or "leave", nid)
        batch = Batch(
            events=[
                NewEvent(
                    nid=nid,
                    room_nid=room_nid,
                    ordering=nid,
                    event=event,
                    state_nid=first,
                    replaces=nids.get(key_nid),
                    key_nid=key_nid,
                    json=event.canonical,
                )
            ],
            states=[line.rows[0], after.rows[0]],
            state_keys=self._numbers.unsaved([event.key]),
            memberships=members,
            heads=room_table.Heads(room_nid, None, None),
            arrived=Arrived(room_nid=room_nid, is_entry=True),
        )
        assert batch.arrived is not None
        batch.arrived.jumps.extend(Jump(room_nid, first, number, number_nid) for number, number_nid in nids.items())
        batch.arrived.gaps.extend(_gaps(room_nid, event, nid))
        return batch

    async def _room_nid(self, room_id: RoomId, version: RoomVersion, state: Sequence[Event]) -> int:
        rows = await room_table.by_ids(self._parts.db, [room_id])
        if rows:
            return rows[0].nid
        creator = next((event.sender for event in state if event.type == "m.room.create"), UserId(""))
        nid = await self._unpublished(1)
        row = RoomRow(
            nid=nid, room_id=room_id, version=version, creator=creator, is_published=False, forward_extremities=None,
            state_nid=None,
        )  # fmt: skip
        async with self._parts.db.transaction() as tx:
            await room_table.insert(tx, row)
        return nid

    # --- a room seen from outside

    async def _note(
        self, room_id: RoomId, version: RoomVersion, event: Event, stripped: Sequence[Mapping[str, Any]] | None
    ) -> None:
        room_nid = await self._room_nid(room_id, version, ())
        known = await self._events.by_id(event.event_id)
        if known is not None:
            return
        numbers = await self._numbers.give([event.key])
        journal, user_id = self._parts.journal, UserId(event.state_key or "")
        nid = await journal.open(1)
        entries: Sequence[Entry] = ()
        try:
            batch = Batch(arrived=Arrived(room_nid=room_nid))
            assert batch.arrived is not None
            stored = self._add_row(batch, nid, room_nid, event, numbers, None)
            batch.memberships = {
                (room_nid, user_id): MembershipRow(room_nid, user_id, event.membership or "leave", nid)
            }
            if stripped is not None:
                batch.arrived.stripped[nid] = stripped
            batch.state_keys = self._numbers.unsaved([event.key])
            await self._parts.committer.commit(batch)
            self._numbers.saved(batch.state_keys)
            self._rooms.drop(room_id)
            entries = [Entry(nid, "membership", room_id, (user_id,), stored)]
        finally:
            journal.close(nid, entries)


def _cited_members(event: Event, known: Mapping[EventId, StoredEvent]) -> dict[StateKey, StoredEvent]:
    """The member events that an event names as its authorisation, as far as they aren't rejected."""
    cited = [known[name] for name in event.auth_event_ids if name in known]
    return {one.event.key: one for one in cited if one.event.type == "m.room.member" and not one.flags & REJECTED}


def _gaps(room_nid: int, event: Event, nid: int) -> list[Gap]:
    return [Gap(room_nid, name, nid) for name in event.prev_event_ids]
