"""Where a room's graph ends while a batch is taken in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from homeserver.core.events import PREV_EVENTS_MAX, Event
from homeserver.core.identifiers import EventId
from homeserver.core.room import Head
from homeserver.storage.events import StoredEvent

_LOOKED_AT_MAX = 100


@dataclass(slots=True)
class Tip:
    """A forward extremity."""

    head: Head
    nid: int
    depth: int
    state_nid: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The last event that was, on a branch: `key_nid` is the number of its (type, state_key)."""

    position: int
    nid: int
    key_nid: int | None


def in_order(tips: Iterable[Tip]) -> list[Tip]:
    """Oldest first; where they are more than one event may cite, one of each state comes last, so that it is cited.

    What an event cites is all that others have to find the state before it; that must be what it was made on.
    """
    ordered = sorted(tips, key=lambda tip: tip.nid)
    if len(ordered) <= PREV_EVENTS_MAX:
        return ordered
    newest = {tip.state_nid: tip for tip in ordered}
    return sorted(ordered, key=lambda tip: newest[tip.state_nid] is tip)


def joined_tips(event: Event, events: Mapping[EventId, StoredEvent]) -> list[EventId]:
    """What the event cites, and what is cited by those of them that are shown to nobody."""
    found, waiting, looked = list[EventId](), list(event.prev_event_ids), 0
    while waiting and looked < _LOOKED_AT_MAX:
        looked += 1
        event_id = waiting.pop()
        found.append(event_id)
        stored = events.get(event_id)
        if stored is not None and stored.flags:
            waiting.extend(stored.event.prev_event_ids)
    return found
