"""Rooms that were joined before all their members were known, made whole: what came since is decided again.

Until then the state before the join, and all states since, are provisional: without the members that were left out.
`complete` is told the whole state; in the room's own turn, and in one transaction, the states since the join are made
anew, with the fates of the events. Whatever of the current state is another then is told as a jump; members that were
merely missing are written where the join found them, so that who loads members lazily isn't told of all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType

import orjson
from immutables import Map

from homeserver.core.events import StateKey
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.journal.journal import PURGED, Entry
from homeserver.rooms.building import Built
from homeserver.rooms.committer import Arrived, MadeAnew
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.forks import Meetings
from homeserver.rooms.incoming import Incoming, WriteParts
from homeserver.rooms.purging import Purged
from homeserver.rooms.replay import Replay, Restart
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.storage import awaited_keys, partial_rooms
from homeserver.storage.awaited_keys import Awaited
from homeserver.storage.events import StoredEvent
from homeserver.storage.forks import Jump
from homeserver.storage.memberships import MembershipRow
from homeserver.storage.partial_rooms import PartialRow
from homeserver.storage.states import Line, StateMap, StateRow, applied, first_line

WHOLE = "room_whole"
MEMBER = "m.room.member"
NEWS_MAX = 5_000
# A room in which more has happened since our join isn't made anew for the members of a server that was away.
AGAIN_EVENTS_MAX = 5_000
TOLD_KEPT_MAX = 1_000
_BLOCK = 5_000
_NUMBERS_EACH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """The payload of journal entries of kind `room_whole`.

    `came` are joined members who weren't known before, `missed` servers that were in the room for some time and that
    this server didn't know of, `join_nid` the event since when it is in the room itself.
    """

    room: Room
    join_nid: int
    came: frozenset[UserId]
    missed: frozenset[ServerName]


@dataclass(frozen=True, slots=True)
class _Before:
    """The room with its provisional state, and what it is to be made anew from."""

    room: Room
    partial: PartialRow
    provisional: StateMap  # before the join
    state: StateMap
    keys: Mapping[int, StateKey]
    memberships: Mapping[int, str]  # of the member events of `state`
    told: Mapping[int, Sequence[StateMap]]
    awaited: Mapping[ServerName, bytes]

    def members(self) -> Map[UserId, str]:
        return Map({UserId(self.keys[number][1]): self.memberships[nid] for number, nid in self._pairs()})

    def rows(self) -> dict[tuple[int, str], MembershipRow]:
        room_nid = self.room.nid
        return {
            (room_nid, self.keys[number][1]): MembershipRow(
                room_nid, UserId(self.keys[number][1]), self.memberships[nid], nid
            )
            for number, nid in self._pairs()
        }

    def _pairs(self) -> Iterator[tuple[int, int]]:
        return ((n, nid) for n, nid in self.state.items() if self.keys[n][0] == MEMBER and nid in self.memberships)


class Completing:
    """Makes rooms whole."""

    def __init__(
        self, parts: WriteParts, incoming: Incoming, rooms: Rooms, event_store: EventStore, numbers: StateNumbers
    ) -> None:
        self._parts = parts
        self._incoming = incoming
        self._rooms = rooms
        self._events = event_store
        self._numbers = numbers

    async def complete(
        self, room_id: RoomId, states: Sequence[StateMap], awaited: Mapping[ServerName, bytes] = MappingProxyType({})
    ) -> str | None:
        """Takes the whole state before this server's join: the states after the events that the join cites.

        `awaited` has an event each of servers whose keys couldn't be had: what they signed is missing, and the same is
        done once more when they have come.
        None when it is done (also if it was before), or why this state isn't believed: it doesn't allow the join.
        """
        return await self._parts.writer.exclusively(room_id, lambda: self._complete(room_id, states, awaited))

    async def give_up(self, awaited: Awaited) -> None:
        """What a server signed stays missing."""
        await self._parts.writer.exclusively(awaited.room_id, lambda: self._give_up(awaited))

    async def _give_up(self, awaited: Awaited) -> None:
        async with self._parts.db.transaction() as tx:
            if await awaited_keys.give_up(tx, awaited.room_nid, [awaited.server_name]):
                await partial_rooms.settle(tx, awaited.room_nid)
        self._rooms.drop(awaited.room_id)

    async def _complete(
        self, room_id: RoomId, states: Sequence[StateMap], awaited: Mapping[ServerName, bytes]
    ) -> str | None:
        room = await self._rooms.get(room_id)
        partial = (room.partial or room.awaiting) if room is not None else None
        if room is None or partial is None:
            return None
        join = (await self._events.by_nids([partial.join_nid]))[partial.join_nid]
        if room.partial is None and join.state_nid is not None:
            partial = replace(partial, state_nid=join.state_nid)
        nids = await partial_rooms.events_since(self._parts.db, room.nid, partial.state_nid, join.nid)
        if room.partial is None and len(nids) > AGAIN_EVENTS_MAX:
            return "too much has happened since"
        since = list((await self._events.by_nids(nids)).values())
        refused = [stored for stored in since if stored.ordering is None]
        told = await self._told(room.nid)
        numbers = await self._reserve(_NUMBERS_EACH * len(since) + 50 + TOLD_KEPT_MAX)
        self._parts.arrivals.failed(room)  # what lately met, met on other states
        before = replace(await self._before(room, partial, join, states, numbers), told=told, awaited=awaited)
        news_max = min(len(refused), NEWS_MAX)
        first = await self._parts.journal.open(news_max + 1)
        entries: Sequence[Entry] = ()
        try:
            base = first_line(next(numbers), before.state)
            restart = Restart(
                room=room,
                join=join,
                base=base,
                members=before.members(),
                told=told,
                unwelcome=await self._unwelcome(room_id, refused),
                numbers=numbers,
                news=iter(range(first, first + news_max)),
            )
            replay = Replay(self._parts.arrivals.reads, restart)
            refusal = await replay.run(since)
            if refusal is None:
                entries = await self._write(before, base, replay, numbers, first + news_max)
            return refusal
        finally:
            self._parts.arrivals.failed(room)
            self._parts.journal.close(first, entries)

    # --- what it begins with

    async def _before(
        self, room: Room, partial: PartialRow, join: StoredEvent, states: Sequence[StateMap], numbers: Iterator[int]
    ) -> _Before:
        provisional = (await self._rooms.maps([partial.state_nid]))[partial.state_nid]
        state = await self._met(room, join, states, numbers)
        keys = await self._numbers.keys_of(list(state))
        members = [nid for number, nid in state.items() if keys[number][0] == MEMBER]
        return _Before(room, partial, provisional, state, keys, await self._memberships(members), {}, {})

    async def _met(self, room: Room, join: StoredEvent, states: Sequence[StateMap], numbers: Iterator[int]) -> StateMap:
        """What the states after the events that the join cites become together."""
        known = await self._events.by_ids(join.event.prev_event_ids)
        followed = [one for one in known.values() if one.has_place and one.is_followed]
        after = {one.state_after for one in followed if one.state_after is not None}
        every = [*states, *(await self._rooms.maps(after)).values()]
        if len(every) == 1:
            return every[0]
        lines = [first_line(next(numbers), state) for state in every]
        forks = self._parts.arrivals.reads.forks
        resolved = await forks.resolve(Meetings(room.nid, room.version), lines, lines[0], every[0])
        return applied(every[lines.index(resolved.base)], resolved.changes)

    async def _memberships(self, nids: Sequence[int]) -> dict[int, str]:
        """What these member events say. Decoded in a thread: they are as many as the room has members."""
        rows = await partial_rooms.bodies(self._parts.db, nids)
        return await asyncio.to_thread(_memberships_in, rows)

    async def _told(self, room_nid: int) -> dict[int, list[StateMap]]:
        told = await partial_rooms.told(self._parts.db, room_nid)
        maps = await self._rooms.maps({nid for nids in told.values() for nid in nids})
        return {event_nid: [maps[nid] for nid in nids if nid in maps] for event_nid, nids in told.items()}

    async def _unwelcome(self, room_id: RoomId, refused: Sequence[StoredEvent]) -> dict[EventId, str]:
        """Which of them may not be shown whatever the rules say, and why: asked once more."""
        screen = self._incoming.screen
        if screen is None or not refused:
            return {}
        events = [stored.event for stored in refused]
        reasons = await screen.screen(room_id, events)
        return {event.event_id: why for event, why in zip(events, reasons, strict=True) if why is not None}

    async def _reserve(self, count: int) -> Iterator[int]:
        """So many numbers for states; no consumer hears of them."""
        blocks = []
        for at in range(0, count, _BLOCK):
            size = min(_BLOCK, count - at)
            first = await self._parts.journal.open(size)
            self._parts.journal.close(first, ())
            blocks.append(range(first, first + size))
        return chain.from_iterable(blocks)

    # --- what it ends with

    async def _write(
        self, before: _Before, base: Line, replay: Replay, numbers: Iterator[int], whole_at: int
    ) -> list[Entry]:
        room, room_id = before.room, before.room.room_id
        built = await replay.built()
        batch, arrived = built.batch, built.batch.arrived
        assert arrived is not None
        old, new = await self._rooms.state_map(room), await replay.current()
        changed = await self._changes(before, replay, built, old, new)
        arrived.jumps = _jumps(before, changed, whole_at)
        states = {row.nid: row for row in (base.rows[0], *batch.states)}
        states |= _kept_told(before, numbers, arrived)
        batch.states = []
        moved = {before.partial.state_nid: base.nid, **replay.moved}
        arrived.made_anew = MadeAnew(whole_at=whole_at, states=list(states.values()), moved=moved)
        batch.memberships = _memberships(before, replay, batch.memberships, whole_at)
        try:
            await self._parts.committer.commit(batch)
        except BaseException:
            self._rooms.drop(room_id)
            raise
        self._numbers.saved(batch.state_keys)
        self._events.redacted([*(row.nid for row in arrived.promoted), *batch.redactions])
        self._rooms.made_anew(room_id, before.partial.state_nid, [*states, *moved])
        return await self._entries(before, replay, built, changed, whole_at)

    async def _changes(
        self, before: _Before, replay: Replay, built: Built, old: StateMap, new: StateMap
    ) -> dict[int, tuple[StateKey, int]]:
        """Of which keys what is told: all that is another now, but for members who were only missing."""
        numbers = {number for number in (*old, *new) if old.get(number) != new.get(number)}
        news = {written.event.key for written in built.written if written.event.is_state}
        keys = await self._numbers.keys_of(numbers)
        keys |= {number: key for key, number in (await self._numbers.find(list(news))).items()}
        missing = before.state
        return {
            number: (key, new.get(number, 0))
            for number, key in keys.items()
            if key[0] != MEMBER or number in old or new.get(number) != missing.get(number) or key in news
        }

    async def _entries(
        self,
        before: _Before,
        replay: Replay,
        built: Built,
        changed: Mapping[int, tuple[StateKey, int]],
        whole_at: int,
    ) -> list[Entry]:
        room_id = before.room.room_id
        room = await self._rooms.get(room_id)
        assert room is not None
        news = [replace(written, room=room) for written in built.written]
        entries = [Entry(written.stored.ordering or whole_at, "event", room_id, (), written) for written in news]
        if replay.hidden:
            gone = Purged(before.room.nid, tuple(replay.hidden), tuple(replay.hidden.values()))
            entries.append(Entry(whole_at, PURGED, room_id, (), gone))
        users = tuple(UserId(key[1]) for key, _ in changed.values() if key[0] == MEMBER)
        entries.append(Entry(whole_at, "state_jump", room_id, users))
        known = before.room.members
        came = frozenset(user for user, is_in in room.members.items() if is_in == "join" and known.get(user) != "join")
        there = _servers(before.members()) | replay.servers | _servers(room.members)
        missed = frozenset(there - _servers(known) - before.partial.servers.keys())
        told = Whole(room=room, join_nid=before.partial.join_nid, came=came, missed=missed)
        entries.append(Entry(whole_at, WHOLE, room_id, (), told))
        return sorted(entries, key=lambda entry: entry.position)


def _kept_told(before: _Before, numbers: Iterator[int], arrived: Arrived) -> dict[int, StateRow]:
    """The states that were told, for the next time: by themselves, as those that they were written with change."""
    rows: dict[int, StateRow] = {}
    arrived.awaited = before.awaited
    if before.awaited:
        every = [(event_nid, state) for event_nid, states in before.told.items() for state in states]
        for event_nid, state in every[:TOLD_KEPT_MAX]:
            row = first_line(next(numbers), state).rows[0]
            rows[row.nid] = row
            arrived.told.append((event_nid, row.nid))
    return rows


def _jumps(before: _Before, changed: Mapping[int, tuple[StateKey, int]], whole_at: int) -> list[Jump]:
    """Those members who were missing, where the join found them; and now what has changed."""
    room_nid, at = before.room.nid, before.partial.state_nid
    found = [Jump(room_nid, at, n, nid) for n, nid in before.state.items() if n not in before.provisional]
    return found + [Jump(room_nid, whole_at, number, nid) for number, (_, nid) in changed.items()]


def _memberships(
    before: _Before, replay: Replay, rows: Mapping[tuple[int, str], MembershipRow], whole_at: int
) -> dict[tuple[int, str], MembershipRow]:
    room_nid = before.room.nid
    gone = {
        (room_nid, str(user)): MembershipRow(room_nid, user, "leave", whole_at)
        for user in before.room.members
        if user not in replay.members
    }
    return {**gone, **before.rows(), **rows}


def _servers(members: Mapping[UserId, str]) -> set[ServerName]:
    return {domain_of(user) for user, membership in members.items() if membership == "join"}


def _memberships_in(rows: Collection[tuple[int, bytes]]) -> dict[int, str]:
    found: dict[int, str] = {}
    for nid, json in rows:
        membership = orjson.loads(json)["content"].get("membership")
        found[nid] = membership if isinstance(membership, str) else "leave"
    return found
