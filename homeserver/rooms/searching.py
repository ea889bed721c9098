"""Searching in messages: the index is asked for what the searcher may see, and the read gate judges what it gives.

spec: client-server-api/#server-side-search

Counts are of what the searcher may see.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from homeserver.core.errors import InvalidParam
from homeserver.core.events import StateKey
from homeserver.core.filters import RoomEventFilter, compile_event_filter
from homeserver.core.identifiers import RoomId, UserId
from homeserver.core.visibility import VisibilityTimeline
from homeserver.ports import MessageSearch, SearchFacets, SearchHit, SearchWish
from homeserver.rooms.aggregations import IgnoreList, RelationReads
from homeserver.rooms.families import RoomFamilies
from homeserver.rooms.neighbours import Neighbours, RoomKey, Surroundings
from homeserver.rooms.related_by import related
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.storage import room_facts
from homeserver.storage.events import StoredEvent
from homeserver.storage.states import StateMap

# If the gate keeps back what the index gave, a page is filled by so many questions at most.
ROUNDS_MAX = 4
LAST_POSITION = 2**62
# Senders who were erased are told apart by what the viewer keeps of them, so finely; each kind takes a question of its
# own. It takes one more in the same room for each time that the viewer came back after somebody there was erased.
ERASED_KINDS_MAX = 32
# Views of so many rooms are worked out at once, so that others aren't held up by somebody in thousands of rooms.
ROOMS_AT_ONCE = 1_000
_TOKEN = re.compile(r"(\d{1,18})_(-?\d{1,18})_(\d{1,18})(?:_(room_id|sender)_(.{1,255}))?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind the hit with the cursor `after`, among what was there at `upto`; of one group, if it
    says so. It stays right while messages come, for it names no count."""

    upto: int
    after: tuple[float, int] | None = None
    group: tuple[str, str] | None = None

    def token(self) -> str:
        value, nid = self.after or (0, 0)
        return f"{self.upto}_{int(value)}_{nid}" + (f"_{self.group[0]}_{self.group[1]}" if self.group else "")


def parse_search_place(token: str) -> Place:
    """Raises InvalidParam."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidParam("next_batch is no token of this server")
    return Place(int(match[1]), (int(match[2]), int(match[3])), (match[4], match[5]) if match[4] else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    term: str
    keys: Collection[str]
    order_by: str
    wanted: RoomEventFilter
    limit: int
    place: Place | None
    # Whether the rooms of the filter stand for those that they were upgraded from as well.
    with_predecessors: bool = False


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """`cursor` is where a page begins that goes on behind it; `source` is the event that says it: the latest edit."""

    stored: StoredEvent
    rank: float
    cursor: tuple[float, int]
    source: StoredEvent

    def group(self, key: str) -> str:
        return str(self.stored.event.room_id if key == "room_id" else self.stored.event.sender)


@dataclass(slots=True)
class SearchPage:
    """A page of what was found; `count` is of all that was. `is_partial` where not all could be searched."""

    found: list[FoundEvent]
    count: int
    upto: int
    words: Sequence[str]
    next: Place | None = None
    is_partial: bool = False
    # So many of the rooms are encrypted now: what is said in them can't be searched.
    encrypted_rooms: int = 0


@dataclass(frozen=True, slots=True)
class Facets:
    """What all that was found is spread over, the most first: rooms, senders, months. See ports.SearchFacets."""

    count: int
    counted: int
    rooms: Sequence[tuple[RoomId, int]]
    senders: Sequence[tuple[str, int]]
    months: Sequence[tuple[str, int]]
    is_partial: bool = False


Ranges = Sequence[tuple[int | None, int | None]]
# What is asked for, with what the viewer may see; and the rooms that it is about.
Prepared = tuple[SearchWish, Mapping[RoomId, RoomKey]]


class Searching:
    """Searches for a viewer."""

    def __init__(
        self,
        reads: RelationReads,
        numbers: StateNumbers,
        search: MessageSearch,
        ignore_list: IgnoreList,
        families: RoomFamilies,
    ) -> None:
        self._reads = reads
        self._numbers = numbers
        self._search = search
        self._ignore_list = ignore_list
        self._families = families
        self._neighbours = Neighbours(reads, ignore_list)

    async def prepared(self, viewer: UserId, request: SearchRequest) -> Prepared:
        """What `search` and `facets` of the same request both need. Raises InvalidParam."""
        return await self._wish(viewer, request, request.place or Place(LAST_POSITION))

    async def search(self, viewer: UserId, request: SearchRequest, prepared: Prepared | None = None) -> SearchPage:
        """A page of the messages that the viewer may see. A handful of queries, whatever it finds.

        What may be seen is part of the question, so that pages are full and counts are right; the gate is asked again
        about each hit. Raises InvalidParam.
        """
        place = request.place or Place(LAST_POSITION)
        wish, rooms = prepared or await self.prepared(viewer, request)
        found = await self._search.find(wish)
        upto = place.upto if request.place is not None else found.upto
        page = SearchPage([], found.count, upto, found.words, is_partial=found.is_partial)
        for _ in range(ROUNDS_MAX):
            shown = await self._visible(viewer, rooms, found.hits, wish.wanted)
            page.count -= len(found.hits) - len(shown)
            page.found += shown
            if len(page.found) > request.limit or len(found.hits) < wish.limit:
                break
            wish = replace(wish, upto=upto, after=found.hits[-1].cursor)
            found = await self._search.find(wish)
        if len(page.found) > request.limit:
            page.found = page.found[: request.limit]
            page.next = Place(upto, page.found[-1].cursor, place.group)
        page.encrypted_rooms = await room_facts.count_encrypted(self._reads.db, [room.nid for room in rooms.values()])
        return page

    async def facets(self, viewer: UserId, request: SearchRequest, prepared: Prepared | None = None) -> Facets:
        """Over which rooms, senders and months what the viewer would find is spread, whatever the page.

        Raises InvalidParam.
        """
        wish, rooms = prepared or await self.prepared(viewer, replace(request, place=None))
        found = await self._search.facets(wish)
        ids = {room.nid: room.room_id for room in rooms.values()}
        return facets_of(found, ids)

    async def _wish(self, viewer: UserId, request: SearchRequest, place: Place) -> Prepared:
        wanted = _of_group(request.wanted, place.group)
        if request.with_predecessors and wanted.rooms is not None:
            named = [RoomId(room_id) for room_id in wanted.rooms]
            wanted = replace(wanted, rooms=frozenset(await self._families.with_predecessors(named)))
        rooms = await self._rooms(viewer, wanted)
        timelines: dict[RoomId, VisibilityTimeline] = {}
        keys = list(rooms.values())
        for start in range(0, len(keys), ROOMS_AT_ONCE):
            timelines.update(await self._reads.gate.timelines(viewer, keys[start : start + ROOMS_AT_ONCE]))
        by_nid = {rooms[room_id].nid: timeline for room_id, timeline in timelines.items()}
        erased = await self._reads.gate.erased_in(by_nid)
        wish = SearchWish(
            term=request.term,
            keys=request.keys,
            order_by=request.order_by,
            viewer=viewer,
            rooms=await asyncio.to_thread(
                lambda: {room_nid: timeline.visible_ranges() for room_nid, timeline in by_nid.items()}
            ),
            erased=await asyncio.to_thread(_kept_of, erased, by_nid) if erased else (),
            wanted=wanted,
            ignored=frozenset(await self._ignore_list.ignored_by(viewer)),
            upto=place.upto,
            limit=request.limit + 1,
            after=place.after,
        )
        return wish, rooms

    async def surroundings(
        self, viewer: UserId, found: Sequence[FoundEvent], before: int, after: int
    ) -> Mapping[int, Surroundings]:
        """What stands around each of these, as `/context` shows it to the viewer. See Neighbours.around."""
        return await self._neighbours.around(viewer, found, before, after)

    async def profiles(
        self, found: Sequence[FoundEvent], around: Mapping[int, Surroundings]
    ) -> Mapping[int, dict[str, dict[str, Any]]]:
        """Event → what the senders around it called themselves at that time. Three queries for all."""
        states = {one.stored.nid: nid for one in found if (nid := one.stored.state_after) is not None}
        maps = await self._reads.rooms.maps(set(states.values()))
        senders = {one.stored.nid: _senders(one.stored, around.get(one.stored.nid)) for one in found}
        keys: list[StateKey] = [("m.room.member", user_id) for user_id in set().union(*senders.values())]
        numbers = await self._numbers.find(keys) if keys else {}
        members = await self._reads.store.by_nids(
            {
                nid
                for event_nid, users in senders.items()
                if event_nid in states
                for nid in _members(maps[states[event_nid]], users, numbers).values()
            }
        )
        return {
            event_nid: {
                user_id: _profile(members[nid])
                for user_id, nid in _members(maps[states[event_nid]], users, numbers).items()
                if nid in members
            }
            for event_nid, users in senders.items()
            if event_nid in states
        }

    async def _rooms(self, viewer: UserId, wanted: RoomEventFilter) -> dict[RoomId, RoomKey]:
        """The rooms that the viewer is or was in, and asks for. One query.

        Who was a member and is invited again stays one who may read: the gate says what.
        """
        return {
            entry.room_id: RoomKey(entry.room_nid, entry.room_id)
            for entry in await self._reads.rooms.rooms_of(viewer)
            if not entry.is_forgotten
            and (wanted.rooms is None or entry.room_id in wanted.rooms)
            and entry.room_id not in wanted.not_rooms
        }

    async def _visible(
        self, viewer: UserId, rooms: Mapping[RoomId, RoomKey], hits: Sequence[SearchHit], wanted: RoomEventFilter
    ) -> list[FoundEvent]:
        stored = await self._reads.store.by_nids({nid for hit in hits for nid in (hit.nid, hit.source_nid)})
        shown = await self._filter(viewer, [one for one in stored.values() if one.redacted_by is None], rooms)
        # What is shown redacted (its author is gone) says nothing any more.
        whole = {nid for nid, one in shown.items() if one.event.content == stored[nid].event.content}
        passes = compile_event_filter(wanted)
        found = [
            FoundEvent(shown[hit.nid], hit.rank, hit.cursor, shown[hit.source_nid])
            for hit in hits
            if hit.nid in whole and hit.source_nid in whole and (passes is None or passes(shown[hit.nid].event))
        ]
        if found and wanted.is_by_relations:
            keys = [rooms[room_id] for room_id in {one.stored.event.room_id for one in found}]
            timelines = await self._reads.gate.timelines(viewer, keys)
            chosen = await related(self._reads.db, keys, timelines, [one.stored.nid for one in found], wanted)
            return [one for one in found if one.stored.nid in chosen]
        return found

    async def _filter(
        self, viewer: UserId, stored: Sequence[StoredEvent], rooms: Mapping[RoomId, RoomKey]
    ) -> dict[int, StoredEvent]:
        """By number those that the viewer may see and wants to."""
        ignored = await self._ignore_list.ignored_by(viewer)
        by_room: dict[RoomId, list[StoredEvent]] = {}
        for one in stored:
            if one.event.sender not in ignored and one.event.room_id in rooms:
                by_room.setdefault(one.event.room_id, []).append(one)
        await self._reads.gate.timelines(viewer, [rooms[room_id] for room_id in by_room])
        shown: dict[int, StoredEvent] = {}
        for room_id, of_room in by_room.items():
            filtered = await self._reads.gate.filter(viewer, rooms[room_id], of_room)
            shown.update((one.nid, one) for one in filtered)
        return shown


def facets_of(found: SearchFacets, rooms: Mapping[int, RoomId]) -> Facets:
    """With the ids of rooms in the place of numbers, the most first."""

    def sorted_by_count(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        return sorted(counts, key=lambda one: (-one[1], one[0]))

    by_room = sorted_by_count((rooms[nid], count) for nid, count in found.rooms.items() if nid in rooms)
    return Facets(
        count=found.count,
        counted=found.counted,
        rooms=[(RoomId(room_id), count) for room_id, count in by_room],
        senders=sorted_by_count(found.senders.items()),
        months=sorted(found.months.items(), reverse=True),
        is_partial=found.is_partial,
    )


def _kept_of(
    erased: Mapping[UserId, tuple[int, Collection[int]]], timelines: Mapping[int, VisibilityTimeline]
) -> list[tuple[frozenset[str], Mapping[int, Ranges]]]:
    """What is left to the viewer of what these senders said, where that isn't all that they see; by those senders who
    can be asked for at once: of each of their rooms the same is left of all of them."""
    alike: dict[tuple[tuple[int, tuple[tuple[int | None, int | None], ...]], ...], set[str]] = {}
    for user_id, (position, room_nids) in erased.items():
        kept = {room_nid: timelines[room_nid].kept_ranges(position) for room_nid in sorted(room_nids)}
        if any(ranges != timelines[room_nid].visible_ranges() for room_nid, ranges in kept.items()):
            alike.setdefault(tuple((room_nid, tuple(ranges)) for room_nid, ranges in kept.items()), set()).add(user_id)
    kinds: list[tuple[set[str], dict[int, tuple[tuple[int | None, int | None], ...]]]] = []
    for left, senders in sorted(alike.items(), key=lambda one: (-len(one[0]), min(one[1]))):
        for some, rooms in kinds:
            # Who was never in a room has said nothing there, so it doesn't matter what is left of others there.
            if all(rooms.get(room_nid, ranges) == ranges for room_nid, ranges in left):
                some |= senders
                rooms.update(left)
                break
        else:
            kinds.append((set(senders), dict(left)))
    found: list[tuple[frozenset[str], Mapping[int, Ranges]]] = [
        (frozenset(some), {room_nid: ranges for room_nid, ranges in rooms.items() if ranges})
        for some, rooms in kinds[:ERASED_KINDS_MAX]
    ]
    if rest := kinds[ERASED_KINDS_MAX:]:
        # Of so many kinds the last are one, with all that may be left of any: the gate keeps back what isn't.
        senders_left = frozenset(sender for some, _ in rest for sender in some)
        of_any = {room_nid for _, rooms in rest for room_nid, ranges in rooms.items() if ranges}
        found.append((senders_left, {room_nid: timelines[room_nid].visible_ranges() for room_nid in of_any}))
    return found


def _of_group(wanted: RoomEventFilter, group: tuple[str, str] | None) -> RoomEventFilter:
    """The filter that also keeps to one room, or to one sender."""
    if group is None:
        return wanted
    key, value = group
    held = wanted.rooms if key == "room_id" else wanted.senders
    narrowed = frozenset({value}) if held is None or value in held else frozenset[str]()
    return replace(wanted, rooms=narrowed) if key == "room_id" else replace(wanted, senders=narrowed)


def _senders(stored: StoredEvent, around: Surroundings | None) -> set[UserId]:
    shown = [stored, *around.before, *around.after] if around is not None else [stored]
    return {one.event.sender for one in shown}


def _members(state: StateMap, users: Collection[UserId], numbers: Mapping[StateKey, int]) -> dict[UserId, int]:
    """User → their member event in a state."""
    return {
        user_id: nid
        for user_id in users
        if (number := numbers.get(("m.room.member", user_id))) is not None and (nid := state.get(number)) is not None
    }


def _profile(member: StoredEvent) -> dict[str, Any]:
    content = member.event.content
    return {key: content[key] for key in ("displayname", "avatar_url") if isinstance(content.get(key), str)}
