"""A user's rooms, the most lately active first, whole and by filter.

Kept in memory for users who sync, and brought up to date by what happened since: a window costs as much as it is long,
not as the user has rooms.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.storage.memberships import UserRoom
from homeserver.storage.room_facts import RoomFact
from homeserver.sync.hub import SyncHub
from homeserver.sync.room_facts import RoomFacts, merged
from homeserver.sync.sliding.request import NO_FILTER, RoomFilter
from homeserver.sync.user_rooms import UserRooms

ROOMS_HELD_MAX = 1_000_000
FILTERS_PER_USER_MAX = 20
CHILDREN_MAX = 20_000

Passes = Callable[[RoomId, UserRoom, RoomFact], bool]


class AccountData(Protocol):
    """What users keep of their rooms. Implemented by accounts."""

    async def content(self, user_id: UserId, kind: str) -> dict[str, Any]: ...

    async def in_rooms(self, user_id: UserId, kind: str) -> Mapping[RoomId, dict[str, Any]]: ...


@dataclass(slots=True)
class RoomList:
    """The rooms that pass a filter, the most lately active last. `version` grows when one comes or goes."""

    passes: Passes
    stamp: object
    rooms: OrderedDict[RoomId, None] = field(default_factory=OrderedDict)
    version: int = 0

    def window(self, ranges: Collection[tuple[int, int]], limit: int) -> list[RoomId]:
        """The rooms at these places of the list, ends included, at most so many. Costs as much as the last place."""
        found: list[RoomId] = []
        wanted = sorted(ranges, reverse=True)
        if not wanted:
            return found
        first, last = wanted.pop()
        for place, room_id in enumerate(reversed(self.rooms)):
            while place > last:
                if not wanted:
                    return found
                first, last = wanted.pop()
            if place >= first:
                found.append(room_id)
                if len(found) >= limit:
                    return found
        return found


@dataclass(slots=True)
class UserLists:
    """All that is known of a user's rooms at `upto`."""

    entries: Mapping[RoomId, UserRoom]
    facts: dict[RoomId, RoomFact]
    upto: int
    every: OrderedDict[RoomId, int] = field(default_factory=OrderedDict)  # the room's place in time, ascending
    lists: OrderedDict[RoomFilter, RoomList] = field(default_factory=OrderedDict)
    version: int = 0  # of the lists that were made: a list made anew has another

    def fact(self, room_id: RoomId) -> RoomFact:
        entry = self.entries[room_id]
        return self.facts.get(room_id) or RoomFact(entry.event_nid, entry.event_nid, None, False)

    def changed(self, since: int) -> list[RoomId]:
        """The rooms with events after `since`. Costs as much as there are rooms."""
        return [
            room_id
            for room_id, entry in self.entries.items()
            if entry.event_nid > since or self.fact(room_id).newest > since
        ]

    def bump_stamp(self, room_id: RoomId) -> int:
        """By what a client sorts the room."""
        entry, fact = self.entries[room_id], self.fact(room_id)
        return (fact.bump or fact.newest) if entry.membership == "join" else entry.event_nid

    def place(self, room_id: RoomId) -> int:
        entry = self.entries[room_id]
        return max(self.fact(room_id).newest, entry.event_nid) if entry.membership == "join" else entry.event_nid


def is_listed(entry: UserRoom) -> bool:
    """Rooms that a user left by themselves are told once and gone; those they were removed from stay to be seen."""
    if entry.is_forgotten:
        return False
    return entry.membership in ("join", "invite", "knock", "ban") or entry.is_kicked


class RoomLists:
    """The lists of all users who lately synced so."""

    def __init__(self, facts: RoomFacts, user_rooms: UserRooms, hub: SyncHub, traits: RoomTraits) -> None:
        self._facts = facts
        self._user_rooms = user_rooms
        self._hub = hub
        self._traits = traits
        self._known: OrderedDict[UserId, UserLists] = OrderedDict()
        self._held = 0

    async def of(self, user_id: UserId, filters: Collection[RoomFilter], upto: Callable[[], int]) -> UserLists:
        """The user's rooms as they are now, with a list for each of these filters.

        Two queries the first time. `upto` gives the newest position; what is answered is as of then, or a little newer.
        """
        while True:
            entries = await self._user_rooms.of(user_id)
            known = self._known.get(user_id)
            if known is None or known.entries is not entries:
                known = await self._load(user_id, entries)
            for wanted in filters:
                stamp = await self._traits.stamp(user_id, wanted)
                found = known.lists.get(wanted)
                if found is None or found.stamp != stamp:
                    passes = await self._traits.compile(user_id, wanted)
                    self._catch_up(known, upto())
                    self._add(known, wanted, passes, stamp, at_once=len(filters))
                known.lists.move_to_end(wanted)
            if self._user_rooms.known(user_id) is known.entries:
                break
        self._catch_up(known, upto())
        self._known.move_to_end(user_id)
        return known

    async def _load(self, user_id: UserId, entries: Mapping[RoomId, UserRoom]) -> UserLists:
        waiting = [entry for entry in entries.values() if entry.membership in ("invite", "knock")]
        told = await self._facts.told(waiting) if waiting else {}
        facts = await self._facts.of_user(user_id)
        for room_id in entries:
            if room_id not in facts and (heard := self._facts.heard(room_id)) is not None:
                facts[room_id] = heard
        facts.update(told)
        known = UserLists(entries, facts, self._facts.position)
        listed = [room_id for room_id, entry in entries.items() if is_listed(entry)]
        places = {room_id: known.place(room_id) for room_id in listed}
        known.every.update((room_id, places[room_id]) for room_id in sorted(listed, key=places.__getitem__))
        self._keep(user_id, known)
        return known

    def _keep(self, user_id: UserId, known: UserLists) -> None:
        before = self._known.pop(user_id, None)
        self._held += len(known.entries) - (len(before.entries) if before else 0)
        self._known[user_id] = known
        while self._held > ROOMS_HELD_MAX and len(self._known) > 1:
            self._held -= len(self._known.popitem(last=False)[1].entries)
        self._held = max(self._held, 0)

    def _add(self, known: UserLists, wanted: RoomFilter, passes: Passes, stamp: object, *, at_once: int) -> None:
        known.version += 1
        made = RoomList(passes, stamp, version=known.version << 32)
        entries = known.entries
        for room_id in known.every:
            if wanted is NO_FILTER or passes(room_id, entries[room_id], known.fact(room_id)):
                made.rooms[room_id] = None
        known.lists[wanted] = made
        known.lists.move_to_end(wanted)
        while len(known.lists) > max(FILTERS_PER_USER_MAX, at_once):
            known.lists.popitem(last=False)

    def _catch_up(self, known: UserLists, upto: int) -> None:
        """Takes in what happened since. Costs as much as rooms changed."""
        if known.upto >= upto:
            return
        changed = self._facts.changed(known.upto, known.entries)
        if changed is None:
            changed = list(known.entries)
        for room_id in reversed(changed):
            heard = self._facts.heard(room_id)
            if heard is not None:
                before = known.facts.get(room_id)
                known.facts[room_id] = merged(before, heard) if before else heard
            self._place(known, room_id)
        known.upto = upto

    def _place(self, known: UserLists, room_id: RoomId) -> None:
        entry = known.entries[room_id]
        place = known.place(room_id) if is_listed(entry) else None
        if place is None:
            known.every.pop(room_id, None)
        has_moved = place is not None and known.every.get(room_id) != place
        if place is not None and has_moved:
            known.every[room_id] = place
            known.every.move_to_end(room_id)
        for listed in known.lists.values():
            if place is None or not listed.passes(room_id, entry, known.fact(room_id)):
                if listed.rooms.pop(room_id, listed) is None:
                    listed.version += 1
                continue
            if room_id not in listed.rooms:
                listed.version += 1
                listed.rooms[room_id] = None
            if has_moved:
                listed.rooms.move_to_end(room_id)


class RoomTraits:
    """What filters ask beside the facts: direct chats, tags, and the children of spaces."""

    def __init__(
        self, account_data: AccountData, rooms: Rooms, event_store: EventStore, numbers: StateNumbers, hub: SyncHub
    ) -> None:
        self._account_data = account_data
        self._rooms = rooms
        self._events = event_store
        self._numbers = numbers
        self._hub = hub
        self._direct: OrderedDict[UserId, tuple[int, frozenset[str]]] = OrderedDict()

    async def direct_rooms(self, user_id: UserId) -> frozenset[str]:
        """The user's direct chats, by their account data. spec: client-server-api/#direct-messaging"""
        at = self._hub.user_last(user_id, "account_data")
        known = self._direct.get(user_id)
        if known is None or known[0] != at:
            content = await self._account_data.content(user_id, "m.direct")
            lists = [rooms for rooms in content.values() if isinstance(rooms, list)]
            known = self._direct[user_id] = (
                at,
                frozenset(room_id for rooms in lists for room_id in rooms if isinstance(room_id, str)),
            )
            if len(self._direct) > 20_000:
                self._direct.popitem(last=False)
        return known[1]

    async def stamp(self, user_id: UserId, wanted: RoomFilter) -> object:
        """Equal as long as nothing changed that the filter depends on, beside the rooms' own facts."""
        direct = await self.direct_rooms(user_id) if wanted.is_dm is not None else None
        is_tagged = wanted.tags is not None or wanted.not_tags is not None
        tagged = self._hub.user_last(user_id, "account_data") if is_tagged else None
        spaces = tuple([await self._space(user_id, space) for space in wanted.spaces]) if wanted.spaces else None
        return direct, tagged, spaces

    async def compile(self, user_id: UserId, wanted: RoomFilter) -> Passes:
        direct = await self.direct_rooms(user_id) if wanted.is_dm is not None else frozenset()
        tags: Mapping[RoomId, dict[str, Any]] = {}
        if wanted.tags is not None or wanted.not_tags is not None:
            tags = await self._account_data.in_rooms(user_id, "m.tag")
        tagged = {room_id: _tags(content) for room_id, content in tags.items()}
        children = await self._children(user_id, wanted.spaces) if wanted.spaces is not None else None
        is_invited = wanted.is_invited if wanted.is_invited is not None else wanted.is_invite
        nothing: frozenset[str] = frozenset()

        def passes(room_id: RoomId, entry: UserRoom, fact: RoomFact) -> bool:
            has = tagged.get(room_id, nothing)
            return (
                (wanted.is_dm is None or (room_id in direct) == wanted.is_dm)
                and (is_invited is None or (entry.membership == "invite") == is_invited)
                and (wanted.is_encrypted is None or fact.is_encrypted == wanted.is_encrypted)
                and (wanted.room_types is None or fact.room_type in wanted.room_types)
                and (wanted.not_room_types is None or fact.room_type not in wanted.not_room_types)
                and (wanted.tags is None or not has.isdisjoint(wanted.tags))
                and (wanted.not_tags is None or has.isdisjoint(wanted.not_tags))
                and (children is None or room_id in children)
            )

        return passes

    async def _space(self, user_id: UserId, space: str) -> int:
        room = await self._joined(user_id, space)
        return room.newest if room is not None else 0

    async def _joined(self, user_id: UserId, space: str) -> Room | None:
        room = await self._rooms.get(RoomId(space))
        return room if room is not None and room.membership(user_id) == "join" else None

    async def _children(self, user_id: UserId, spaces: Collection[str]) -> frozenset[str]:
        """What the spaces that the user is in name as children. spec: client-server-api/#mspacechild"""
        found: set[str] = set()
        for space in spaces:
            room = await self._joined(user_id, space)
            if room is None:
                continue
            state = await self._rooms.state_map(room)
            keys = await self._numbers.keys_of(list(state))
            nids = [state[number] for number, (kind, _) in keys.items() if kind == "m.space.child"][:CHILDREN_MAX]
            for stored in (await self._events.by_nids(nids)).values():
                if isinstance(stored.event.content.get("via"), list):
                    found.add(stored.event.state_key or "")
        return frozenset(found)


def _tags(content: dict[str, Any]) -> frozenset[str]:
    tags = content.get("tags")
    return frozenset(tags) if isinstance(tags, dict) else frozenset()
