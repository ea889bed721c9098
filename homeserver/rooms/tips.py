"""Where a room's graph ends while a batch is taken in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from homeserver.core.events import PREV_EVENTS_MAX, Event
from homeserver.core.identifiers import EventId, domain_of
from homeserver.core.room import Head
from homeserver.storage.events import StoredEvent

_LOOKED_AT_MAX = 100
# Each batch looks at all of them: where nobody may tie them, the oldest are let go.
KEPT_MAX = 1_000


@dataclass(slots=True)
class Tip:
    """A forward extremity."""

    head: Head
    nid: int
    depth: int
    state_nid: int
    server: str = ""  # its sender's

    @classmethod
    def of(cls, head: Head, stored: StoredEvent) -> Tip:
        state_nid = stored.state_after
        assert state_nid is not None
        return cls(head, stored.nid, stored.event.depth, state_nid, domain_of(stored.event.sender))


@dataclass(frozen=True, slots=True)
class Accepted:
    """The last event that was, on a branch: `key_nid` is the number of its (type, state_key)."""

    position: int
    nid: int
    key_nid: int | None


def in_order(tips: Iterable[Tip]) -> list[Tip]:
    """Oldest first, and no more than are kept; where they are more than one event may cite, those cited come last.

    These are one of each state, and of those the newest of each server before a second of any: whoever makes more ends
    than others can cite crowds out its own, not theirs.
    """
    ordered = sorted(tips, key=lambda tip: tip.nid)
    if len(ordered) <= PREV_EVENTS_MAX:
        return ordered
    newest = {tip.state_nid: tip for tip in ordered}
    ranks, seen = dict[EventId, int](), Counter[str]()
    for tip in reversed(ordered):
        if newest[tip.state_nid] is tip:
            ranks[tip.head.event_id] = -seen[tip.server]
            seen[tip.server] += 1
    last = -len(ordered)
    return sorted(ordered, key=lambda tip: ranks.get(tip.head.event_id, last))[-KEPT_MAX:]


def cited_states(tips: Iterable[Tip]) -> set[int]:
    """The states of which the room's current state is made: of those ends that the next event cites.

    What it cites is all that others have to find the state before it; that must be what it was made on. The states of
    the other ends have their say when an event of somebody's has joined these: each resolution is one of few states.
    """
    return {tip.state_nid for tip in in_order(tips)[-PREV_EVENTS_MAX:]}


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
