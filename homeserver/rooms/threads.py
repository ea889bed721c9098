"""Which thread an event belongs to. spec: client-server-api/#threaded-read-receipts"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from homeserver.core.events import Event
from homeserver.core.identifiers import EventId
from homeserver.storage.events import StoredEvent

MAIN = "main"
HOPS_MAX = 3


class EventLookup(Protocol):
    """Events by their ids. Implemented by rooms.event_store."""

    async def by_ids(self, event_ids: Collection[EventId]) -> Mapping[EventId, StoredEvent]: ...


def relation(event: Event) -> tuple[str, str] | None:
    """The (rel_type, event id) of a well-formed `m.relates_to`."""
    relates_to = event.content.get("m.relates_to")
    if not isinstance(relates_to, dict):
        return None
    rel_type, target = relates_to.get("rel_type"), relates_to.get("event_id")
    return (rel_type, target) if isinstance(rel_type, str) and isinstance(target, str) else None


async def place_of(event: Event, lookup: EventLookup) -> tuple[str, frozenset[str]]:
    """The event's thread (MAIN or the root's id), and the ids on the way there: the event and what it relates to.

    At most three hops, each one look-up; none for an event without a relation.
    """
    seen = [str(event.event_id)]
    for _ in range(HOPS_MAX):
        related = relation(event)
        if related is None:
            break
        rel_type, target = related
        if rel_type == "m.thread":
            return target, frozenset(seen)
        seen.append(target)
        parent = (await lookup.by_ids([EventId(target)])).get(EventId(target))
        if parent is None or parent.event.room_id != event.room_id:
            break
        event = parent.event
    return MAIN, frozenset(seen)
