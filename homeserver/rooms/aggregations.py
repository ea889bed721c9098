"""What is bundled with an event: its latest edit, a summary of its thread, what refers to it.

spec: client-server-api/#aggregations-of-child-events

What relates to an event is kept in memory and forgotten when that changes; who may see what of it is asked for each
viewer. Of an event that was just sent here it is known that nothing relates to it, so showing it asks no query.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, ServerName, UserId, domain_of
from homeserver.core.relations import REFERENCE, REPLACE, THREAD, is_replacement, may_be_replaced, relation_of
from homeserver.core.visibility import VisibilityTimeline
from homeserver.journal.journal import PURGED, Entry, Journal
from homeserver.rooms.building import PAST, Written
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.read_gate import ReadGate
from homeserver.rooms.residents import Rooms
from homeserver.storage import relations
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.relations import Children

EVENTS_MAX = 50_000
PLACES_MAX = 2_000_000
_BUNDLED = frozenset({REPLACE, THREAD, REFERENCE})
_NOTHING: tuple[Children, ...] = ()

Ranges = Sequence[tuple[int | None, int | None]]


class IgnoreList(Protocol):
    """Whom users ignore. Implemented by accounts."""

    async def ignored_by(self, user_id: UserId) -> Collection[str]: ...


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread as one viewer sees it."""

    latest: StoredEvent
    count: int
    participated: bool


@dataclass(slots=True)
class Bundle:
    """What goes with one event for one viewer."""

    edit: StoredEvent | None = None
    thread: Thread | None = None
    references: Sequence[EventId] = ()

    @property
    def events(self) -> list[StoredEvent]:
        """The events that are shown with it."""
        return [*([self.edit] if self.edit else []), *([self.thread.latest] if self.thread else [])]

    @property
    def is_empty(self) -> bool:
        return self.edit is None and self.thread is None and not self.references


@dataclass(slots=True)
class _Chosen:
    """What a viewer may see of an event's children, as numbers."""

    edits: Sequence[int] = ()
    latest: int | None = None
    count: int = 0
    participated: bool = False
    references: list[EventId] = field(default_factory=list)

    @property
    def nids(self) -> list[int]:
        return [*self.edits, *([self.latest] if self.latest is not None else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationReads:
    """The rooms package as bundles need it."""

    db: Database
    store: EventStore
    rooms: Rooms
    gate: ReadGate


class Aggregations:
    """Finds what is bundled with events."""

    def __init__(
        self, reads: RelationReads, ignore_list: IgnoreList, journal: Journal, server_name: ServerName
    ) -> None:
        self._reads = reads
        self._ignore_list = ignore_list
        self._server_name = server_name
        self._known: OrderedDict[EventId, Sequence[Children]] = OrderedDict()
        self._places = 0
        self._changes = 0
        journal.listen(self._hear)

    async def bundles(self, viewer: UserId, stored: Sequence[StoredEvent]) -> Mapping[int, Bundle]:
        """Event number → what goes with it, for those that have something. Nothing of what the viewer may not see.

        No query where nothing relates to the events and that is known; else four at most, for all of them.
        """
        known = self._known
        related: list[StoredEvent] | None = None
        for event in stored:
            if event.event.state_key is None and known.get(event.event.event_id) != _NOTHING:
                related = related or []
                related.append(event)
        if related is None:
            return {}
        found = await self._bundles(viewer, related)
        threads = [bundle.thread.latest for bundle in found.values() if bundle.thread is not None]
        # The newest reply of a thread has its edit with it, whether the page shows it or not.
        inner = [latest for latest in threads if latest.nid not in found]
        if inner:
            found.update(await self._bundles(viewer, inner))
        return found

    async def _bundles(self, viewer: UserId, stored: Sequence[StoredEvent]) -> dict[int, Bundle]:
        children = await self._children(stored)
        with_children = [event for event in stored if children.get(event.event.event_id)]
        if not with_children:
            return {}
        rooms = await self._reads.rooms.get_many(list({event.event.room_id for event in with_children}))
        timelines = await self._reads.gate.timelines(viewer, list(rooms.values()))
        ignored = await self._ignore_list.ignored_by(viewer)
        chosen = {
            event.nid: _choose(event, children[event.event.event_id], timeline, viewer, ignored)
            for event in with_children
            if (timeline := timelines.get(event.event.room_id)) is not None
        }
        named = await self._reads.store.by_nids({nid for one in chosen.values() for nid in one.nids})
        shown: dict[int, StoredEvent] = {}
        for room in rooms.values() if named else ():
            shown.update((one.nid, one) for one in await self._reads.gate.filter(viewer, room, list(named.values())))
        bundles = {
            event.nid: _bundle(event, chosen[event.nid], shown) for event in with_children if event.nid in chosen
        }
        return {nid: bundle for nid, bundle in bundles.items() if not bundle.is_empty}

    async def _children(self, stored: Sequence[StoredEvent]) -> Mapping[EventId, Sequence[Children]]:
        found: dict[EventId, Sequence[Children]] = {}
        missing: list[tuple[int, Event]] = []
        for event in stored:
            known = self._known.get(event.event.event_id)
            if known is None:
                missing.append((event.room_nid, event.event))
            else:
                found[event.event.event_id] = known
        if missing:
            before = self._changes
            read = await relations.children(self._reads.db, missing)
            found.update(read)
            if before == self._changes:
                for event_id, children in read.items():
                    self._keep(event_id, children)
        return found

    def _keep(self, event_id: EventId, children: Sequence[Children]) -> None:
        self._forget(event_id)
        self._known[event_id] = children or _NOTHING
        self._places += sum(len(one.nids) for one in children)
        while len(self._known) > EVENTS_MAX or self._places > PLACES_MAX:
            self._forget(next(iter(self._known)))

    def _forget(self, event_id: EventId) -> None:
        children = self._known.pop(event_id, None)
        if children:
            self._places -= sum(len(one.nids) for one in children)

    def _hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            written = entry.payload
            if isinstance(written, Written):
                self._changed(written.event)
                if written.redacts is not None:
                    self._changed(written.redacts.event)
                if written.event.state_key is None and domain_of(written.event.sender) == self._server_name:
                    # Nobody else can have known its id.
                    self._keep(written.event.event_id, _NOTHING)
            elif entry.kind == PAST:
                for past in entry.payload:
                    self._changed(past.event)
            elif entry.kind in (PURGED, "redacted"):
                # What is gone may be anybody's child, and nobody remembers whose. Who had none has none still.
                self._changes += 1
                self._known = OrderedDict((event_id, one) for event_id, one in self._known.items() if not one)
                self._places = 0

    def _changed(self, event: Event) -> None:
        """Forgets what relates to that which this event relates to."""
        relation = relation_of(event)
        if relation is not None and relation.rel_type in _BUNDLED:
            self._changes += 1
            self._forget(relation.event_id)


def _choose(
    parent: StoredEvent,
    children: Sequence[Children],
    timeline: VisibilityTimeline,
    viewer: UserId,
    ignored: Collection[str],
) -> _Chosen:
    chosen, newest = _Chosen(), None
    ranges = timeline.visible_ranges()
    references: list[tuple[int, EventId]] = []
    for one in children:
        if one.sender in ignored:
            continue
        if one.rel_type == THREAD:
            count, last = _visible(one.orderings, ranges)
            chosen.count += count
            chosen.participated |= count > 0 and one.sender == viewer
            if last is not None and (newest is None or one.orderings[last] > newest):
                newest, chosen.latest = one.orderings[last], one.nids[last]
            continue
        seen = [index for index, place in enumerate(one.orderings) if _is_within(place, ranges)]
        if one.rel_type == REFERENCE:
            references.extend((one.orderings[index], one.event_ids[index]) for index in seen)
        elif parent.redacted_by is None and may_be_replaced(parent.event):
            chosen.edits = [one.nids[index] for index in seen]
    chosen.participated |= chosen.count > 0 and parent.event.sender == viewer
    chosen.references = [event_id for _, event_id in sorted(references)]
    return chosen


def _bundle(event: StoredEvent, chosen: _Chosen, shown: Mapping[int, StoredEvent]) -> Bundle:
    edits = [shown[nid] for nid in chosen.edits if nid in shown]
    latest = shown.get(chosen.latest) if chosen.latest is not None else None
    return Bundle(
        edit=next((edit for edit in edits if is_replacement(edit.event, event.event)), None),
        thread=Thread(latest, chosen.count, chosen.participated) if latest is not None else None,
        references=chosen.references,
    )


def _visible(orderings: Sequence[int], ranges: Ranges) -> tuple[int, int | None]:
    """How many of these ascending places lie within the ranges, and the index of the last that does."""
    count, last = 0, None
    for first, end in ranges:
        low = bisect_left(orderings, first) if first is not None else 0
        high = bisect_right(orderings, end) if end is not None else len(orderings)
        if high > low:
            count += high - low
            last = high - 1
    return count, last


def _is_within(place: int, ranges: Ranges) -> bool:
    return any((first is None or place >= first) and (end is None or place <= end) for first, end in ranges)
