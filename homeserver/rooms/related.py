"""Pages of the events that relate to another, and of a room's threads, for a viewer. All through the read gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.rooms.aggregations import IgnoreList, RelationReads
from homeserver.rooms.history import FIRST_PLACE, LAST_PLACE, History
from homeserver.rooms.residents import Room
from homeserver.storage import relations
from homeserver.storage.events import StoredEvent
from homeserver.storage.relations import Asked, Seen

# Who may see little of what there is gets short pages rather than long searches.
PAGES_READ_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which relations somebody wants, in which direction, from and up to which places."""

    rel_type: str | None = None
    type: str | None = None
    backwards: bool = True
    recurse: bool = False
    start: int | None = None
    stop: int | None = None


@dataclass(frozen=True, slots=True)
class RelatedPage:
    """Events in the order asked for; `end` is where to go on, None at the end."""

    events: list[StoredEvent]
    end: int | None


class Related:
    """Reads relations and threads."""

    def __init__(self, reads: RelationReads, history: History, ignore_list: IgnoreList) -> None:
        self._reads = reads
        self._history = history
        self._ignore_list = ignore_list

    async def relations(
        self, viewer: UserId, room_id: RoomId, event_id: EventId, wish: Wish, limit: int
    ) -> RelatedPage:
        """What relates to an event. Raises NotFound where the viewer may not see that."""
        parent = await self._history.event_of(viewer, room_id, event_id)
        room = await self._reads.rooms.get(room_id)
        assert room is not None
        low, high = (wish.stop, wish.start) if wish.backwards else (wish.start, wish.stop)
        first, last = low if low is not None else FIRST_PLACE, high if high is not None else LAST_PLACE
        found, seen = list[StoredEvent](), await self._seen(viewer, room)
        for _ in range(PAGES_READ_MAX):
            asked = Asked(
                target=event_id,
                room_nid=parent.room_nid,
                rel_type=wish.rel_type,
                type=wish.type,
                first=first,
                last=last,
                backwards=wish.backwards,
                recurse=wish.recurse,
                seen=seen,
            )
            nids = await relations.page(self._reads.db, asked, limit + 1)
            stored = await self._reads.store.by_nids(nids)
            ordered = [stored[nid] for nid in nids if nid in stored]
            visible = {event.nid: event for event in await self._visible(viewer, room, ordered)}
            for event in ordered:
                if len(found) == limit:
                    return RelatedPage(found, last if wish.backwards else first)
                place = event.ordering or 0
                first, last = (first, place) if wish.backwards else (place + 1, last)
                if event.nid in visible:
                    found.append(visible[event.nid])
            if len(nids) <= limit:
                return RelatedPage(found, None)
        return RelatedPage(found, last if wish.backwards else first)

    async def threads(
        self, viewer: UserId, room_id: RoomId, *, only_own: bool, before: int | None, limit: int
    ) -> RelatedPage:
        """The roots of a room's threads, the one with the newest reply that the viewer sees first. Raises Forbidden."""
        room = await self._history.room_for(viewer, room_id)
        place = before if before is not None else LAST_PLACE
        found, seen = list[StoredEvent](), await self._seen(viewer, room)
        participant = viewer if only_own else None
        for _ in range(PAGES_READ_MAX):
            threads = await relations.threads(self._reads.db, room.nid, place, participant, limit + 1, seen)
            stored = await self._reads.store.by_ids([root for root, _ in threads])
            roots = [stored[root] for root, _ in threads if root in stored]
            visible = {event.event.event_id: event for event in await self._visible(viewer, room, roots)}
            for root, newest_reply in threads:
                if len(found) == limit:
                    return RelatedPage(found, place)
                place = newest_reply
                if root in visible:
                    found.append(visible[root])
            if len(threads) <= limit:
                return RelatedPage(found, None)
        return RelatedPage(found, place)

    async def _seen(self, viewer: UserId, room: Room) -> Seen:
        timelines = await self._reads.gate.timelines(viewer, [room])
        return Seen(timelines[room.room_id].visible_ranges(), await self._ignore_list.ignored_by(viewer))

    async def _visible(self, viewer: UserId, room: Room, stored: Sequence[StoredEvent]) -> list[StoredEvent]:
        ignored = await self._ignore_list.ignored_by(viewer)
        shown = [event for event in stored if event.event.sender not in ignored]
        return await self._reads.gate.filter(viewer, room, shown)
