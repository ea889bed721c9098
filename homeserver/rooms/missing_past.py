"""What is to be fetched before an event that arrives: where the reading of its room's past would else end unnoticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homeserver.core.events import Event
from homeserver.core.identifiers import EventId
from homeserver.storage import forks
from homeserver.storage.database import Reader
from homeserver.storage.events import StoredEvent
from homeserver.storage.forks import Gap

# So much that is missing before events that aren't shown is looked for before one that follows them: a chain of such
# events, each citing what nobody has, would else have more with each.
INHERITED_MAX = 20


async def missing_before(
    db: Reader, event: Event, known: Mapping[EventId, StoredEvent], unwritten: Sequence[Gap], *, is_across_gap: bool
) -> list[EventId]:
    """What is missing of that which the event cites, and before that of it which isn't shown.

    Nobody's reading comes by an event without a place in the timeline: what is missing before it is missing before
    those that follow it. `known` has the cited events that are here, `unwritten` are gaps found in the same batch;
    `is_across_gap` where some of what it cites isn't here. A query only where the event follows one that isn't shown.
    """
    prevs = {name: known.get(name) for name in event.prev_event_ids}
    missing: list[EventId] = []
    if is_across_gap:
        # What is kept outside of the timeline, as part of a state, has a past that isn't here either.
        missing = [name for name, prev in prevs.items() if prev is None or not prev.has_place]
    hidden = {prev.nid for prev in prevs.values() if prev is not None and prev.has_place and prev.ordering is None}
    if hidden:
        inherited = {gap.missing_id: None for gap in unwritten if gap.event_nid in hidden}
        inherited |= dict.fromkeys(await forks.missing_before(db, hidden, INHERITED_MAX))
        missing += [name for name in list(inherited)[:INHERITED_MAX] if name not in missing]
    return missing


def by_edges(
    events: Sequence[Event], gaps: Sequence[tuple[StoredEvent, EventId]], edge: StoredEvent
) -> list[tuple[StoredEvent, list[Event]]]:
    """Which of these go before which event: the past that one answer tells reaches over what came in before.

    `gaps` are the edges of earlier gaps and what is missing before each, the first place first; what lies before none
    of them goes before `edge`, and comes last.
    """
    left = {event.event_id: event for event in events}
    parts: list[tuple[StoredEvent, list[Event]]] = []
    for earlier, missing in gaps:
        part: list[Event] = []
        waiting = [missing]
        while waiting:
            event = left.pop(waiting.pop(), None)
            if event is not None:
                part.append(event)
                waiting.extend(event.prev_event_ids)
        if part:
            parts.append((earlier, part))
    return [*parts, (edge, list(left.values()))]
