"""Which thread an event belongs to. spec: client-server-api/#threaded-read-receipts"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from homeserver.core.events import Event
from homeserver.core.identifiers import EventId
from homeserver.core.relations import THREAD, relation_of
from homeserver.storage.events import StoredEvent

MAIN = "main"
HOPS_MAX = 3


class EventLookup(Protocol):
    """Events by their ids. Implemented by rooms.event_store."""

    async def by_ids(self, event_ids: Collection[EventId]) -> Mapping[EventId, StoredEvent]: ...


async def place_of(event: Event, lookup: EventLookup) -> tuple[str, frozenset[str]]:
    """The event's thread (MAIN or the root's id), and the ids on the way there: the event and what it relates to.

    At most three hops, each one look-up; none for an event without a relation.
    """
    seen = [str(event.event_id)]
    for _ in range(HOPS_MAX):
        related = relation_of(event)
        if related is None:
            break
        if related.rel_type == THREAD:
            return related.event_id, frozenset(seen)
        seen.append(related.event_id)
        parent = (await lookup.by_ids([related.event_id])).get(related.event_id)
        if parent is None or parent.event.room_id != event.room_id:
            break
        event = parent.event
    return MAIN, frozenset(seen)
