"""The rooms that are in memory: where each ends, what is known of its state, and who is in it.

A `Room` is a value. The room writer replaces it after each commit; everybody else reads.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import structlog
from immutables import Map

from homeserver.core.auth_rules import CREATE, POWER_LEVELS, PowerLevels
from homeserver.core.errors import Forbidden, Unavailable
from homeserver.core.events import PREV_EVENTS_MAX, Event, StateKey
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.core.room import Head, RoomHead
from homeserver.core.room_versions import RoomVersion
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.storage import events, memberships, rooms, states
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.partial_rooms import PartialRow
from homeserver.storage.rooms import RoomRow
from homeserver.storage.states import Line, StateMap

log = structlog.get_logger()

ROOMS_MAX = 5_000
MEMBERS_MAX = 2_000_000
STATE_PAIRS_MAX = 2_000_000
# So long a request waits for the members of a room that was joined before they were known.
WHOLE_WAIT_S = 50.0
# Lines longer than this are unpacked in a thread: about 5 ms of work.
_UNPACK_INLINE_BYTES = 100_000

# State that nearly every use of a room asks for: loaded with it.
USUAL_KEYS: tuple[StateKey, ...] = tuple(
    ("m.room." + name, "")
    for name in (
        "create power_levels join_rules history_visibility guest_access name topic avatar canonical_alias encryption "
        "tombstone policy"
    ).split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One room at one moment.

    `head.known` holds some of its state as events, `nids` their numbers; `line` leads to all of it as numbers.
    `members` has every membership there is; `newest` is the timeline's newest place, `nid` the room's number.
    """

    nid: int
    head: RoomHead
    line: Line
    nids: Map[StateKey, int]
    members: Map[UserId, str]
    joined: int
    newest: int
    # Whether the row in `rooms` says where the graph ends, because the newest event doesn't.
    has_own_heads: bool = False
    # The numbers of the forward extremities, where it does.
    head_nids: Mapping[EventId, int] = field(default_factory=dict)
    # While members are missing that were there before us: then what `members` says of other servers' users isn't all.
    partial: PartialRow | None = None
    # The position since which they aren't, where they were: 0 for most rooms.
    whole_at: int = 0
    # As `partial`, where all is known but what couldn't be checked when we came in, for want of a key.
    awaiting: PartialRow | None = None

    @property
    def room_id(self) -> RoomId:
        assert self.head.room_id is not None
        return self.head.room_id

    @property
    def version(self) -> RoomVersion:
        return self.head.version

    def known_state(self, event_type: str, state_key: str = "") -> Event | None:
        """A state event that is known: one of USUAL_KEYS, or one that was asked for before."""
        return self.head.known.get((event_type, state_key))

    def known_text(self, event_type: str, key: str) -> str | None:
        """A string of a known state event's content; None where there is no event, no such key, or another type."""
        event = self.known_state(event_type)
        value = event.content.get(key) if event is not None else None
        return value if isinstance(value, str) else None

    def power_levels(self) -> PowerLevels | None:
        """Who may do what now. None for a room whose create event is not known."""
        create = self.known_state(*CREATE)
        return PowerLevels(create, self.known_state(*POWER_LEVELS)) if create is not None else None

    def membership(self, user_id: UserId) -> str | None:
        return self.members.get(user_id)

    def presumed_membership(self, user_id: UserId) -> str | None:
        known = self.members.get(user_id)
        if known is None and self.partial is not None and domain_of(user_id) in self.partial.servers:
            return "join"
        return known

    def joined_members(self) -> list[UserId]:
        return [user_id for user_id, membership in self.members.items() if membership == "join"]


# What a load that failed, or was given up, has found.
_FAILED: Mapping[RoomId, Room] = MappingProxyType({})


def is_in(room: Room, server: ServerName, held: Collection[str] = ("join",)) -> bool:
    """Whether some user of a server is joined, or has one of other memberships."""
    # The end alone isn't the server: a server's name of digits ends like another's with a port.
    suffix = ":" + server
    return any(
        membership in held and user_id.endswith(suffix) and domain_of(user_id) == server
        for user_id, membership in room.members.items()
    )


class Rooms:
    """Loads rooms and keeps those in use. One query per kind of thing, for however many rooms."""

    def __init__(self, db: Database, event_store: EventStore, numbers: StateNumbers) -> None:
        self._db = db
        self._events = event_store
        self._numbers = numbers
        self._rooms: OrderedDict[RoomId, Room] = OrderedDict()
        self._members_held = 0
        self._pinned: Counter[RoomId] = Counter()
        self._loading: dict[RoomId, asyncio.Future[Mapping[RoomId, Room]]] = {}
        self._maps: OrderedDict[int, StateMap] = OrderedDict()
        # First states of lines that were made anew: who holds a line from before still has its numbers, not its states.
        self._retired: set[int] = set()
        self._whole: dict[RoomId, asyncio.Future[None]] = {}
        self._pairs_held = 0

    # --- whole rooms

    def resident(self, room_id: RoomId) -> Room | None:
        """The room if it is in memory."""
        return self._rooms.get(room_id)

    async def get(self, room_id: RoomId) -> Room | None:
        """The room as of the last commit, or None if this server doesn't know it."""
        room = self._rooms.get(room_id)
        if room is not None:
            self._rooms.move_to_end(room_id)
            return room
        return (await self.get_many([room_id])).get(room_id)

    async def joined_room(self, room_id: RoomId, user_id: UserId) -> Room:
        """The room, for somebody who is joined to it. Raises Forbidden, also where this server knows no such room."""
        room = await self.get(room_id)
        if room is None or room.membership(user_id) != "join":
            raise Forbidden("you are not in this room")
        return room

    async def get_many(self, room_ids: Collection[RoomId]) -> dict[RoomId, Room]:
        """These rooms; unknown ones are left out. Five queries at most."""
        found = {room_id: room for room_id in room_ids if (room := self._rooms.get(room_id)) is not None}
        missing = [room_id for room_id in room_ids if room_id not in found]
        awaited = {room_id: self._loading[room_id] for room_id in missing if room_id in self._loading}
        own = [room_id for room_id in missing if room_id not in self._loading]
        if own:
            found.update(await self._load_once(own))
        if awaited:
            await asyncio.wait(set(awaited.values()))
            for room_id, other in awaited.items():
                room = self._rooms.get(room_id) or other.result().get(room_id)
                if room is not None:
                    found[room_id] = room
            # Whoever loaded those may have failed, or was cancelled: that doesn't make them unknown.
            failed = [
                room_id for room_id, other in awaited.items() if room_id not in found and other.result() is _FAILED
            ]
            if failed:
                found.update(await self.get_many(failed))
        return found

    def put(self, room: Room, changes: Mapping[int, int]) -> None:
        """Takes in the room as it is after a commit that made these changes of state. For the room writer alone."""
        old = self._rooms.get(room.room_id)
        if old is not None:
            self._members_held -= len(old.members)
            map_before = self._maps.get(old.line.nid)
            if map_before is not None and changes and not self._is_retired(room.line):
                self._keep_map(room.line.nid, states.applied(map_before, changes))
        self._rooms[room.room_id] = room
        self._rooms.move_to_end(room.room_id)
        self._members_held += len(room.members)
        self._evict()

    def drop(self, room_id: RoomId) -> None:
        """Forgets what is in memory of a room, when it isn't known whether that is still true.

        What is just being read of it may be older than that: only who has asked before gets it.
        """
        self._loading.pop(room_id, None)
        room = self._rooms.pop(room_id, None)
        if room is not None:
            self._members_held -= len(room.members)

    def pin(self, room_id: RoomId) -> None:
        """Keeps a room in memory while it is being written."""
        self._pinned[room_id] += 1

    def unpin(self, room_id: RoomId) -> None:
        self._pinned[room_id] -= 1
        if self._pinned[room_id] <= 0:
            del self._pinned[room_id]

    # --- state

    async def state_map(self, room: Room) -> StateMap:
        """All of a room's state as numbers: key nid → event nid."""
        return (await self.maps_of_lines([room.line]))[room.line.nid]

    async def maps(self, state_nids: Collection[int]) -> dict[int, StateMap]:
        """States of the past by number. One query for those that aren't in memory."""
        found = {nid: found_map for nid in state_nids if (found_map := self._maps.get(nid)) is not None}
        missing = [nid for nid in state_nids if nid not in found]
        if missing:
            lines = await states.lines(self._db, missing)
            found.update(await self.maps_of_lines(list(lines.values())))
        return found

    async def lines(self, state_nids: Collection[int], near_to: Iterable[Line] = ()) -> dict[int, Line]:
        """The lines of these states of the past. One query; what `near_to` has isn't read again."""
        return await states.lines(self._db, state_nids, near_to)

    async def map_near(self, line: Line, other: Line) -> StateMap:
        """All of the state at a line, at the cost of what another of the room, of which all is in memory, has not."""
        if line.nid == other.nid or not {row.nid for row in line.rows} & {row.nid for row in other.rows}:
            return (await self.maps_of_lines([line]))[line.nid]
        state = (await self.maps_of_lines([other]))[other.nid]
        if states.own_bytes(line, other) > _UNPACK_INLINE_BYTES:
            return await asyncio.to_thread(states.near, line, other, state)
        return states.near(line, other, state)

    async def maps_of_lines(self, lines: Iterable[Line]) -> dict[int, StateMap]:
        found: dict[int, StateMap] = {}
        for line in lines:
            known = self._maps.get(line.nid) if not self._is_retired(line) else None
            if known is None:
                if sum(len(row.delta) for row in line.rows) > _UNPACK_INLINE_BYTES:
                    known = await asyncio.to_thread(line.state)
                else:
                    known = line.state()
                if not self._is_retired(line):
                    self._keep_map(line.nid, known)
            found[line.nid] = known
        return found

    def made_anew(self, room_id: RoomId, root_nid: int, state_nids: Collection[int]) -> None:
        """Told when a room's states since `root_nid` were made anew: what memory has of the room is dropped."""
        self._retired.add(root_nid)
        for nid in state_nids:
            dropped = self._maps.pop(nid, None)
            if dropped is not None:
                self._pairs_held -= len(dropped) + 1
        self.drop(room_id)
        waiting = self._whole.pop(room_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _is_retired(self, line: Line) -> bool:
        return bool(self._retired) and line.rows[-1].nid in self._retired

    async def whole(self, room: Room, wait_s: float = WHOLE_WAIT_S) -> Room:
        """The room once all its members are known. Raises Unavailable where that takes longer than `wait_s`."""
        if room.partial is None:
            return room
        waiting = self._whole.get(room.room_id)
        if waiting is None:
            waiting = self._whole[room.room_id] = asyncio.get_running_loop().create_future()
        # It may have become whole between the caller's look and this one.
        now = await self.get_many([room.room_id])
        found = now.get(room.room_id, room)
        if found.partial is not None:
            await asyncio.wait([waiting], timeout=wait_s)
            found = await self.get(room.room_id) or room
        if found.partial is not None:
            raise Unavailable("the members of this room are still being fetched from another server")
        return found

    async def with_known(self, room: Room, keys: Collection[StateKey]) -> Room:
        """The room with these keys looked up. Three queries at most, none when all are known."""
        missing = [key for key in keys if key not in room.head.known]
        if not missing:
            return room
        numbers = await self._numbers.find(missing)
        state_map = await self.state_map(room) if numbers else {}
        nids = {key: nid for key, number in numbers.items() if (nid := state_map.get(number)) is not None}
        stored = await self._events.by_nids(list(nids.values()))
        if len(stored) < len(set(nids.values())):
            # Not there and not readable are two things: who is banned must not come in through the second.
            raise LookupError(f"state events of {room.room_id} can't be read")
        return self._knowing(room, missing, nids, stored)

    async def all_with_known(self, rooms: Collection[Room], keys: Collection[StateKey]) -> list[Room]:
        """The same for many rooms, in as many queries; without those of which one of these keys can't be read."""
        missing = {room.room_id: [key for key in keys if key not in room.head.known] for room in rooms}
        numbers = await self._numbers.find({key for lacking in missing.values() for key in lacking})
        nids: dict[RoomId, dict[StateKey, int]] = {}
        for room in rooms:
            lacking = [key for key in missing[room.room_id] if key in numbers]
            state_map = await self.state_map(room) if lacking else {}
            nids[room.room_id] = {key: nid for key in lacking if (nid := state_map.get(numbers[key])) is not None}
        stored = await self._events.by_nids({nid for own in nids.values() for nid in own.values()})
        return [
            self._knowing(room, missing[room.room_id], nids[room.room_id], stored) if missing[room.room_id] else room
            for room in rooms
            if stored.keys() >= set(nids[room.room_id].values())
        ]

    def _knowing(
        self,
        room: Room,
        looked_up: Collection[StateKey],
        nids: Mapping[StateKey, int],
        stored: Mapping[int, StoredEvent],
    ) -> Room:
        """The room with what was found under these keys, or that nothing was."""
        known = replace(
            room,
            head=room.head.knowing((key, stored[nids[key]].event if key in nids else None) for key in looked_up),
            nids=room.nids.update(nids),
        )
        if self._rooms.get(room.room_id) is room:
            self._rooms[room.room_id] = known
        return known

    async def keys_of_types(self, room: Room, types: Collection[str]) -> list[StateKey]:
        """The keys that current state events of these types have, in no order. One query at most."""
        keys = await self._numbers.keys_of(list((await self.state_map(room)).keys()))
        return [key for key in keys.values() if key[0] in types]

    async def state_event(self, room_id: RoomId, event_type: str, state_key: str = "") -> Event | None:
        """A room's current state event, or None."""
        room = await self.get(room_id)
        if room is None:
            return None
        key = (event_type, state_key)
        return (await self.with_known(room, [key])).head.known.get(key)

    async def full_state(self, room: Room) -> list[StoredEvent]:
        """All current state events of a room."""
        state_map = await self.state_map(room)
        return list((await self._events.by_nids(list(state_map.values()))).values())

    async def events_by_ids(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        """Events wherever they are; no check of who may see them. One query at most."""
        return await self._events.by_ids(event_ids)

    async def event(self, event_id: str) -> Event | None:
        """An event by its id, wherever it is; no check of who may see it."""
        stored = await self._events.by_id(event_id)  # type: ignore[arg-type]
        return stored.event if stored else None

    # --- members

    async def membership(self, room_id: RoomId, user_id: UserId) -> str | None:
        room = await self.get(room_id)
        return room.members.get(user_id) if room else None

    async def presumed_membership(self, room_id: RoomId, user_id: UserId) -> str | None:
        """The same, but that a user of a server in a room whose members aren't all known is taken for one of them.

        For what does no harm where that is wrong.
        """
        room = await self.get(room_id)
        return room.presumed_membership(user_id) if room else None

    async def outside_member(self, room_id: RoomId, user_id: UserId) -> StoredEvent | None:
        """The member event of a user in a room that this server may only have heard of: an invite, say."""
        nid = await memberships.event_of(self._db, room_id, user_id)
        return (await self._events.by_nids([nid])).get(nid) if nid is not None else None

    async def joined_members(self, room_id: RoomId) -> Collection[UserId]:
        room = await self.get(room_id)
        return room.joined_members() if room else []

    async def rooms_of(self, user_id: UserId) -> list[memberships.UserRoom]:
        """All rooms that a user is or was in, as of now. One index scan."""
        return await memberships.of_user(self._db, user_id)

    async def joined_rooms(self, user_id: UserId) -> frozenset[RoomId]:
        return frozenset(room.room_id for room in await self.rooms_of(user_id) if room.membership == "join")

    async def users_sharing(self, user_id: UserId) -> set[UserId]:
        """Whoever is joined to a room that this user is joined to, without the user. One query."""
        return set(await memberships.users_sharing(self._db, user_id))

    async def share_room(self, user_id: UserId, other: UserId) -> bool:
        """Whether both are joined to some room."""
        return await memberships.share_room(self._db, user_id, other)

    # --- inside

    async def _load_once(self, room_ids: list[RoomId]) -> dict[RoomId, Room]:
        done: asyncio.Future[Mapping[RoomId, Room]] = asyncio.get_running_loop().create_future()
        loaded: Mapping[RoomId, Room] = _FAILED
        for room_id in room_ids:
            self._loading[room_id] = done
        try:
            loaded = await self._load(room_ids)
            for room_id, room in loaded.items():
                if room_id not in self._rooms and self._loading.get(room_id) is done:
                    self._rooms[room_id] = room
                    self._members_held += len(room.members)
            self._evict(keep=set(loaded))
            return {room_id: self._rooms.get(room_id, room) for room_id, room in loaded.items()}
        finally:
            for room_id in room_ids:
                if self._loading.get(room_id) is done:
                    del self._loading[room_id]
            done.set_result(loaded)

    async def _load(self, room_ids: list[RoomId]) -> dict[RoomId, Room]:
        rows = await rooms.by_ids(self._db, room_ids)
        if not rows:
            return {}
        nids = [row.nid for row in rows]
        newest = {stored.room_nid: stored for stored in await events.newest(self._db, nids)}
        members: dict[int, dict[UserId, str]] = {nid: {} for nid in nids}
        for member in await memberships.of_rooms(self._db, nids):
            members[member.room_nid][member.user_id] = member.membership
        heads = await self._events.by_nids({nid for row in rows for nid in row.forward_extremities or ()})
        state_nids = {row.nid: _state_after(row, newest[row.nid]) for row in rows if row.nid in newest}
        lines = await states.lines(self._db, set(state_nids.values()))
        usual = await self._usual_state({nid: lines[state] for nid, state in state_nids.items() if state in lines})
        # A room of which a part is damaged is better not there than there without its power levels.
        whole = {row.nid for row in rows if row.nid in usual and heads.keys() >= set(row.forward_extremities or ())}
        for row in rows:
            if row.nid in newest and row.nid not in whole:
                log.error("room_unreadable", room_id=row.room_id)
        return {
            row.room_id: _assemble(
                row,
                newest[row.nid],
                [heads[nid] for nid in row.forward_extremities or ()],
                lines[state_nids[row.nid]],
                usual[row.nid],
                members[row.nid],
            )
            for row in rows
            if row.nid in whole
        }

    async def _usual_state(self, lines: Mapping[int, Line]) -> dict[int, dict[StateKey, StoredEvent]]:
        """By room, for those whose state can be read."""
        numbers = await self._numbers.find(USUAL_KEYS)
        wanted: dict[int, dict[StateKey, int]] = {}
        for room_nid, line in lines.items():
            with contextlib.suppress(ValueError):  # damaged deltas
                state = (await self.maps_of_lines([line]))[line.nid]
                wanted[room_nid] = {
                    key: nid for key, number in numbers.items() if (nid := state.get(number)) is not None
                }
        stored = await self._events.by_nids({nid for nids in wanted.values() for nid in nids.values()})
        return {
            room_nid: {key: stored[nid] for key, nid in nids.items()}
            for room_nid, nids in wanted.items()
            if stored.keys() >= set(nids.values())
        }

    def _keep_map(self, nid: int, state_map: StateMap) -> None:
        if nid in self._maps:
            return
        self._maps[nid] = state_map
        self._pairs_held += len(state_map) + 1
        while self._pairs_held > STATE_PAIRS_MAX and len(self._maps) > 1:
            _, dropped = self._maps.popitem(last=False)
            self._pairs_held -= len(dropped) + 1

    def _evict(self, keep: Collection[RoomId] = ()) -> None:
        if len(self._rooms) <= ROOMS_MAX and self._members_held <= MEMBERS_MAX:
            return
        for room_id in list(self._rooms):
            if len(self._rooms) <= ROOMS_MAX and self._members_held <= MEMBERS_MAX:
                return
            if room_id not in self._pinned and room_id not in keep:
                self._members_held -= len(self._rooms.pop(room_id).members)


def _state_after(row: RoomRow, newest: StoredEvent) -> int:
    state_nid = row.state_nid if row.state_nid is not None else newest.state_after
    assert state_nid is not None
    return state_nid


def _assemble(
    row: RoomRow,
    newest: StoredEvent,
    heads: list[StoredEvent],
    line: Line,
    usual: Mapping[StateKey, StoredEvent],
    members: dict[UserId, str],
) -> Room:
    ends = [stored.event for stored in heads] or [newest.event]
    known: Map[StateKey, Event | None] = Map(dict.fromkeys(USUAL_KEYS))
    # The last end alone, where the state is that after it; else it is that of as many as one event may cite.
    is_of_last = len(heads) > PREV_EVENTS_MAX and heads[-1].state_after == line.nid
    return Room(
        nid=row.nid,
        head=RoomHead(
            version=row.version,
            room_id=row.room_id,
            heads=tuple(Head.of(event) for event in ends),
            depth=max(event.depth for event in ends),
            known=known.update({key: stored.event for key, stored in usual.items()}),
            cited=1 if is_of_last else PREV_EVENTS_MAX,
        ),
        line=line,
        nids=Map({key: stored.nid for key, stored in usual.items()}),
        members=Map(members),
        joined=sum(1 for membership in members.values() if membership == "join"),
        newest=newest.ordering or 0,
        has_own_heads=row.forward_extremities is not None,
        head_nids={stored.event.event_id: stored.nid for stored in heads},
        partial=row.partial if row.partial is not None and row.partial.whole_at is None else None,
        whole_at=(row.partial.whole_at or 0) if row.partial is not None else 0,
        awaiting=row.partial if row.partial is not None and row.partial.whole_at and row.partial.awaits_keys else None,
    )
