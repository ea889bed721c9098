"""Group commit: the batches of many rooms in one PostgreSQL transaction, so that one fsync pays for many events.

While a transaction is under way, the batches that arrive wait and form the next one; a lone batch waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from homeserver.core.errors import Unavailable
from homeserver.core.events import StateKey
from homeserver.core.identifiers import EventId, ServerName
from homeserver.core.sticky import FIELD as STICKY
from homeserver.core.sticky import sticks_until_ms
from homeserver.runtime.bell import Bell
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from homeserver.storage import (
    awaited_keys,
    early_redactions,
    events,
    forks,
    memberships,
    one_statement,
    partial_rooms,
    relations,
    room_aliases,
    rooms,
    staged_pdus,
    state_keys,
    states,
    sticky_events,
)
from homeserver.storage.database import Database, NoRoom, Tx, UniqueViolation
from homeserver.storage.early_redactions import EarlyRedaction
from homeserver.storage.events import REJECTED, NewEvent
from homeserver.storage.forks import Gap, Jump
from homeserver.storage.memberships import MembershipRow
from homeserver.storage.partial_rooms import PartialRow
from homeserver.storage.relations import RelationRow
from homeserver.storage.room_aliases import AliasRow
from homeserver.storage.rooms import Heads, RoomRow
from homeserver.storage.states import StateRow
from homeserver.storage.sticky_events import StickyRow

EVENTS_PER_TRANSACTION_MAX = 1_000
# A restart of PostgreSQL is waited out this long before writers are told that it is away.
WAIT_FOR_DATABASE_S = 20.0

_IS_WRITTEN = "SELECT EXISTS (SELECT FROM events WHERE event_nid = $1)"


@dataclass(slots=True, kw_only=True)
class MadeAnew:
    """A room whose members are all known since position `whole_at`: the states since its join, made anew.

    `moved` has the states that are no more, each with the one in its place.
    """

    whole_at: int
    states: list[StateRow] = field(default_factory=list)
    moved: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Arrived:
    """What is written beside the events of other servers."""

    room_nid: int
    is_entry: bool = False  # the room's members are written anew
    promoted: list[NewEvent] = field(default_factory=list)
    jumps: list[Jump] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    filled: list[EventId] = field(default_factory=list)
    refusals: dict[int, str] = field(default_factory=dict)
    staged: list[int] = field(default_factory=list)
    stripped: dict[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    partial: PartialRow | None = None  # with is_entry: members are missing yet
    awaited: Mapping[ServerName, bytes] = field(default_factory=dict)  # whose keys are missing; an event of each
    told: list[tuple[int, int]] = field(default_factory=list)  # (event, a state that was told for it)
    made_anew: MadeAnew | None = None
    met: list[EventId] = field(default_factory=list)  # targets of early redactions that have come
    unwelcome: set[int] = field(default_factory=set)  # events that stay hidden, whatever becomes of the room


@dataclass(slots=True, kw_only=True)
class Batch:
    """What one room's writer wants written, all or nothing."""

    events: list[NewEvent] = field(default_factory=list)
    states: list[StateRow] = field(default_factory=list)
    state_keys: Mapping[StateKey, int] = field(default_factory=dict)
    memberships: Mapping[tuple[int, str], MembershipRow] = field(default_factory=dict)
    relations: list[RelationRow] = field(default_factory=list)
    redactions: Mapping[int, int] = field(default_factory=dict)
    early: list[EarlyRedaction] = field(default_factory=list)  # whose targets aren't here
    new_room: RoomRow | None = None
    alias: AliasRow | None = None
    heads: Heads | None = None
    arrived: Arrived | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is nothing but rows of `events`."""
        return self.is_simple and not (self.states or self.state_keys or self.memberships or self.relations)

    @property
    def is_simple(self) -> bool:
        """Whether it is written by one statement, and needs no transaction of several."""
        return not (self.redactions or self.early or self.new_room or self.alias or self.heads or self.arrived)


class RepeatedTransactions(Exception):
    """Some events of a batch were sent before under the same transaction ids: nothing of the batch was written."""

    def __init__(self, event_ids: Mapping[UUID, EventId]) -> None:
        super().__init__("transaction ids that were used before")
        self.event_ids = event_ids


class Committer:
    """Writes batches and answers each when it is durable."""

    def __init__(self, db: Database, tasks: Tasks, clock: Clock) -> None:
        self._clock = clock
        self._db = db
        self._tasks = tasks
        self._waiting: list[tuple[Batch, asyncio.Future[None]]] = []
        self._is_writing = False
        # Rung when events were written that were refused.
        self.refused = Bell()

    async def commit(self, batch: Batch) -> None:
        """Returns when the batch is durable.

        Raises RepeatedTransactions (nothing written), Unavailable (unknown whether it was written: the database went
        away), or whatever else the database refuses.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((batch, done))
        if not self._is_writing:
            self._is_writing = True
            self._tasks.start(self._write_all(), name="committer")
        await done

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                group = self._next_group()
                await self._write_group(group)
        finally:
            self._is_writing = False

    def _next_group(self) -> list[tuple[Batch, asyncio.Future[None]]]:
        count = size = 0
        for batch, _ in self._waiting:
            size += len(batch.events)
            if count and size > EVENTS_PER_TRANSACTION_MAX:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _write_group(self, group: Sequence[tuple[Batch, asyncio.Future[None]]]) -> None:
        try:
            await self._write_surely([batch for batch, _ in group])
        except Exception as error:
            if len(group) == 1:
                _fail(group[0][1], await self._explained(group[0][0], error))
                return
            # One of them is at fault: write each alone, so that it fails alone.
            for member in group:
                await self._write_group([member])
            return
        for batch, done in group:
            if batch.arrived is not None and batch.arrived.refusals:
                self.refused.ring()
            if not done.done():
                done.set_result(None)

    async def _explained(self, batch: Batch, error: Exception) -> Exception:
        if isinstance(error, UniqueViolation) and "txn_key" in str(error.constraint_name):
            keys = [event.txn_key for event in batch.events if event.txn_key is not None]
            try:
                return RepeatedTransactions(await events.by_txn_keys(self._db, keys))
            except Exception as other:
                return other
        return error

    async def _write_surely(self, batches: Sequence[Batch]) -> None:
        """Writes, and waits out a database that goes away: looks up whether it had committed, then tries again."""
        deadline = self._clock.monotonic_s() + WAIT_FOR_DATABASE_S
        while True:
            try:
                await self._write(batches)
                return
            except NoRoom:
                raise
            except Unavailable:
                while self._clock.monotonic_s() < deadline:
                    await self._clock.sleep(0.1)
                    try:
                        if await self._is_written(batches):
                            return
                        break
                    except Unavailable:
                        continue
                else:
                    raise

    async def _is_written(self, batches: Sequence[Batch]) -> bool:
        first = next((event.nid for batch in batches for event in batch.events), None)
        if first is None:
            return False  # only what may be written twice
        return bool(await self._db.fetchval(_IS_WRITTEN, first))

    async def _write(self, batches: Sequence[Batch]) -> None:
        rows = [event for batch in batches for event in batch.events]
        sticky = [row for batch in batches for row in _sticky(batch, self._clock.now_ms())]
        if not sticky and all(batch.is_plain for batch in batches):
            await self._db.execute(events.INSERT, *events.insert_arguments(rows))
            return
        if not sticky and all(batch.is_simple for batch in batches):
            await self._write_simple(batches, rows)
            return
        async with self._db.transaction() as tx:
            await _write_all_tables(tx, batches, rows)
            if sticky:
                await sticky_events.insert(tx, sticky)

    async def _write_simple(self, batches: Sequence[Batch], rows: list[NewEvent]) -> None:
        members = {key: row for batch in batches for key, row in batch.memberships.items()}
        await one_statement.insert(
            self._db,
            rows,
            keys={key: nid for batch in batches for key, nid in batch.state_keys.items()},
            new_states=[row for batch in batches for row in batch.states],
            members=list(members.values()),
            new_relations=[relation for batch in batches for relation in batch.relations],
        )


async def _write_all_tables(tx: Tx, batches: Sequence[Batch], rows: list[NewEvent]) -> None:
    for batch in batches:
        if batch.new_room is not None:
            await rooms.insert(tx, batch.new_room)
        if batch.alias is not None:
            await room_aliases.insert(tx, batch.alias)
    keys = {key: nid for batch in batches for key, nid in batch.state_keys.items()}
    if keys:
        await state_keys.insert(tx, keys)
    if rows:
        await events.insert(tx, rows)
    new_states = [row for batch in batches for row in batch.states]
    if new_states:
        await states.insert(tx, new_states)
    for batch in batches:
        if batch.arrived is not None and batch.arrived.is_entry:
            await memberships.leave_all(tx, batch.arrived.room_nid)
    members = {key: row for batch in batches for key, row in batch.memberships.items()}
    if members:
        await memberships.upsert(tx, list(members.values()))
    new_relations = [relation for batch in batches for relation in batch.relations]
    if new_relations:
        await relations.insert(tx, new_relations)
    redactions = {target: nid for batch in batches for target, nid in batch.redactions.items()}
    if redactions:
        await events.set_redacted(tx, redactions)
    early = [one for batch in batches for one in batch.early]
    if early:
        await early_redactions.insert(tx, early)
    for batch in batches:
        if batch.heads is not None:
            await rooms.set_heads(tx, batch.heads)
        if batch.arrived is not None:
            await _write_arrived(tx, batch.arrived)


async def _write_arrived(tx: Tx, arrived: Arrived) -> None:
    if arrived.promoted:
        await events.promote(tx, arrived.promoted)
    if arrived.jumps:
        await forks.insert_jumps(tx, arrived.jumps)
    if arrived.gaps:
        await forks.insert_gaps(tx, arrived.gaps)
    if arrived.filled:
        await forks.fill_gaps(tx, arrived.room_nid, arrived.filled)
    if arrived.refusals:
        await forks.insert_refusals(tx, arrived.refusals)
    for event_nid, stripped in arrived.stripped.items():
        await forks.put_stripped(tx, event_nid, stripped)
    if arrived.staged:
        await staged_pdus.delete(tx, arrived.staged)
    if arrived.is_entry:
        await partial_rooms.delete(tx, arrived.room_nid)
        await awaited_keys.forget(tx, arrived.room_nid)
    if arrived.partial is not None:
        await partial_rooms.begin(tx, arrived.partial)
    if arrived.made_anew is not None:
        await _write_anew(tx, arrived, arrived.made_anew)
    if arrived.told:
        await partial_rooms.insert_told(tx, arrived.room_nid, arrived.told)
    if arrived.met:
        await early_redactions.delete(tx, arrived.room_nid, arrived.met)
    if arrived.awaited:
        await awaited_keys.put(tx, arrived.room_nid, arrived.awaited)


async def _write_anew(tx: Tx, arrived: Arrived, made: MadeAnew) -> None:
    await states.replace(tx, made.states)
    await partial_rooms.move_states(tx, arrived.room_nid, made.moved, [row.nid for row in arrived.promoted])
    await partial_rooms.finish(tx, arrived.room_nid, made.whole_at, awaits_keys=bool(arrived.awaited))
    await awaited_keys.forget(tx, arrived.room_nid)


def _sticky(batch: Batch, now_ms: int) -> list[StickyRow]:
    """What of a batch is to be told for sure for a while.

    An event that only the room as it is now keeps out waits until it may be told, and one that was put back into the
    past waits until it has a place among what is new.
    """
    arrived = batch.arrived
    rows = batch.events if arrived is None else [*batch.events, *arrived.promoted]
    found: list[StickyRow] = []
    for row in rows:
        if STICKY not in row.event.pdu or row.flags & REJECTED or (row.ordering is None and row.state_nid is None):
            continue
        until_ms = sticks_until_ms(row.event, now_ms)
        if until_ms is None or until_ms <= now_ms or (arrived is not None and row.nid in arrived.unwelcome):
            continue
        is_new = row.flags == 0 and row.ordering is not None and row.ordering >= row.nid
        found.append(
            StickyRow(
                event_nid=row.nid,
                room_nid=row.room_nid,
                sender=row.event.sender,
                place=row.ordering if is_new else None,
                expires_ts=until_ms,
            )
        )
    return found


def _fail(done: asyncio.Future[None], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
