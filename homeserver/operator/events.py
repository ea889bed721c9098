"""What became of an event, and why: for operators who are asked."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.config import Config
from homeserver.core.auth_rules import keys_for_check
from homeserver.core.identifiers import EventId
from homeserver.operator.database import connected
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.residents import Rooms
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.runtime.clock import Clock
from homeserver.storage import forks
from homeserver.storage.database import Database
from homeserver.storage.events import REJECTED, SOFT_FAILED, StoredEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """An event that the one explained rests on. `fate` is empty for one that isn't here."""

    event_id: str
    what: str
    fate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One event. `state_before` has the part of it that its authorisation looks at."""

    event_id: str
    room_id: str
    room_version: str
    what: str
    fate: str
    reason: str
    auth_events: list[Cited]
    state_before: list[Cited]


async def explain(config: Config, clock: Clock, event_id: EventId) -> Explanation | None:
    """None for an event that this server doesn't have. Five queries."""
    async with connected(config, clock) as db:
        store = EventStore(db)
        stored = await store.by_id(event_id)
        if stored is None:
            return None
        event = stored.event
        cited = await store.by_ids(set(event.auth_event_ids))
        return Explanation(
            event_id=event_id,
            room_id=event.room_id,
            room_version=event.version.id,
            what=_what(stored),
            fate=fate_of(stored),
            reason=await forks.refusal(db, stored.nid) or "",
            auth_events=[_cited(name, cited.get(name)) for name in event.auth_event_ids],
            state_before=await _state_before(db, store, stored),
        )


def fate_of(stored: StoredEvent) -> str:
    if stored.flags & REJECTED:
        return "rejected"
    if stored.flags & SOFT_FAILED:
        return "soft-failed"
    return "accepted" if stored.ordering is not None else "outside of the timeline"


async def _state_before(db: Database, store: EventStore, stored: StoredEvent) -> list[Cited]:
    if stored.state_nid is None:
        return []
    numbers = StateNumbers(db)
    found = await numbers.find(keys_for_check(stored.event))
    state = (await Rooms(db, store, numbers).maps([stored.state_nid]))[stored.state_nid]
    held = await store.by_nids([nid for number in found.values() if (nid := state.get(number)) is not None])
    return [_cited(one.event.event_id, one) for one in held.values()]


def _cited(event_id: str, stored: StoredEvent | None) -> Cited:
    if stored is None:
        return Cited(event_id=event_id, what="not here", fate="")
    return Cited(event_id=event_id, what=_what(stored), fate=fate_of(stored))


def _what(stored: StoredEvent) -> str:
    """Its kind and sender; never its content."""
    event = stored.event
    about = f" of {event.state_key}" if event.state_key else ""
    membership = f" ({event.membership})" if event.type == "m.room.member" and event.membership else ""
    return f"{event.type}{membership}{about} by {event.sender}"
