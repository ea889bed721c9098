"""What stands around the events that a search found, as `/context` shows it, for many events at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.aggregations import IgnoreList, Ranges, RelationReads
from homeserver.storage import events
from homeserver.storage.events import StoredEvent

# What the viewer may not see is passed over, so far: each round asks for more, of so many events at most.
ROUNDS_MAX = 6
ROUND_EVENTS_MAX = 5_000
SIDE_EVENTS_MAX = 500


@dataclass(slots=True)
class Surroundings:
    """What stands before (newest first) and after an event."""

    before: list[StoredEvent] = field(default_factory=list)
    after: list[StoredEvent] = field(default_factory=list)


class Centre(Protocol):
    """What something is to be found around."""

    @property
    def stored(self) -> StoredEvent: ...


@dataclass(slots=True)
class _Side:
    """One side of one event: what is on it, and from which place on more is looked for."""

    stored: StoredEvent
    found: list[StoredEvent]
    wanted: int
    is_before: bool
    place: int


class Neighbours:
    """Reads what stands around events."""

    def __init__(self, reads: RelationReads, ignore_list: IgnoreList) -> None:
        self._reads = reads
        self._ignore_list = ignore_list

    async def around(
        self, viewer: UserId, found: Sequence[Centre], before: int, after: int
    ) -> Mapping[int, Surroundings]:
        """Event → the nearest that the viewer may see on each side, but for messages of those whom they ignore.

        Two queries for all, and as many again while somebody's view has holes there: ROUNDS_MAX times at most.
        """
        around = {one.stored.nid: Surroundings() for one in found}
        sides: list[_Side] = []
        for one in found:
            place, near = one.stored.ordering or 0, around[one.stored.nid]
            sides.append(_Side(one.stored, near.before, before, is_before=True, place=place))
            sides.append(_Side(one.stored, near.after, after, is_before=False, place=place))
        short, limit = [side for side in sides if side.wanted], max(before, after)
        for _ in range(ROUNDS_MAX):
            if not short:
                break
            short = await self._look(viewer, short, min(limit, max(1, ROUND_EVENTS_MAX // len(short))))
            limit = min(4 * limit, SIDE_EVENTS_MAX)
        return around

    async def _look(self, viewer: UserId, sides: Sequence[_Side], limit: int) -> list[_Side]:
        """The next `limit` events of each side; those sides that lack some still and go on."""
        asked: dict[tuple[int, bool], list[StoredEvent]] = {(one.stored.nid, one.is_before): [] for one in sides}
        wanted: dict[tuple[int, int, int], list[bool]] = {}
        for one in sides:
            wanted.setdefault((one.stored.nid, one.stored.room_nid, one.place), []).append(one.is_before)
        neighbours: list[tuple[int, int, bool]] = []
        for which in ([True, False], [True], [False]):
            if some := [place for place, these in wanted.items() if these == which]:
                limits = (limit if True in which else 0, limit if False in which else 0)
                neighbours += await events.around(self._reads.db, some, *limits)
        stored = await self._reads.store.by_nids({nid for _, nid, _ in neighbours})
        for of, nid, is_before in neighbours:
            if nid in stored:
                asked[of, is_before].append(stored[nid])
        shown = await self._shown(viewer, stored.values())
        going_on: list[_Side] = []
        for side in sides:
            raw = asked[side.stored.nid, side.is_before]
            raw.sort(key=_place, reverse=side.is_before)
            seen = [shown[one.nid] for one in raw if one.nid in shown]
            side.found += seen[: side.wanted - len(side.found)]
            if len(side.found) < side.wanted and len(raw) >= limit:
                side.place = _place(raw[-1])
                going_on.append(side)
        return await self._onward(viewer, going_on)

    async def _onward(self, viewer: UserId, sides: Sequence[_Side]) -> list[_Side]:
        """Behind what the viewer may see nothing of: those of which there is more."""
        if not sides:
            return []
        rooms = {one.stored.event.room_id: RoomKey(one.stored.room_nid, one.stored.event.room_id) for one in sides}
        timelines = await self._reads.gate.timelines(viewer, list(rooms.values()))
        going_on = []
        for side in sides:
            ranges = timelines[side.stored.event.room_id].visible_ranges()
            place = place_onward(ranges, side.place, is_before=side.is_before)
            if place is not None:
                side.place = place
                going_on.append(side)
        return going_on

    async def _shown(self, viewer: UserId, stored: Iterable[StoredEvent]) -> dict[int, StoredEvent]:
        ignored = await self._ignore_list.ignored_by(viewer)
        by_room: dict[RoomKey, list[StoredEvent]] = {}
        for one in stored:
            if one.event.is_state or one.event.sender not in ignored:
                by_room.setdefault(RoomKey(one.room_nid, one.event.room_id), []).append(one)
        await self._reads.gate.timelines(viewer, list(by_room))
        return {
            one.nid: one
            for room, of_room in by_room.items()
            for one in await self._reads.gate.filter(viewer, room, of_room)
        }


@dataclass(frozen=True, slots=True)
class RoomKey:
    """A room as the read gate asks for it."""

    nid: int
    room_id: RoomId


def place_onward(ranges: Ranges, place: int, *, is_before: bool) -> int | None:
    """From where to look on, away from `place`, past what nothing is seen of; None where nothing more is seen.

    `ranges` are what is seen, in ascending order; None is open towards that end.
    """
    if is_before:
        for first, last in reversed(ranges):
            if first is None or first < place:
                return place if last is None else min(place, last + 1)
        return None
    for first, last in ranges:
        if last is None or last > place:
            return place if first is None else max(place, first - 1)
    return None


def _place(stored: StoredEvent) -> int:
    return stored.ordering or 0
