"""What the reading endpoints share: filters from query strings, rendered events, and the members that go with them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import orjson

from homeserver.core.errors import InvalidParam
from homeserver.core.events import StateKey
from homeserver.core.filters import RoomEventFilter, compile_event_filter, parse_event_filter
from homeserver.rooms.client_events import ClientEvents, Viewer
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.history import EVERYTHING, History, Page, Wanted
from homeserver.rooms.member_rations import MemberRations
from homeserver.rooms.places import place_token
from homeserver.rooms.residents import Room
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.storage.events import StoredEvent
from homeserver.storage.states import StateMap

FILTER_CHARS_MAX = 65_536


class RoomViews:
    """Renders parts of rooms for a viewer."""

    def __init__(
        self,
        client_events: ClientEvents,
        event_store: EventStore,
        numbers: StateNumbers,
        history: History,
        rations: MemberRations | None = None,
    ) -> None:
        self._client_events = client_events
        self._events = event_store
        self._numbers = numbers
        self._history = history
        self._rations = rations

    async def events(self, stored: Sequence[StoredEvent], viewer: Viewer) -> list[orjson.Fragment]:
        """These events with their room id."""
        return await self._client_events.render(stored, viewer, with_room_id=True)

    async def whole_state(self, room: Room, viewer: Viewer) -> list[StoredEvent]:
        """All state that the viewer gets. Raises Forbidden, LimitExceeded."""
        self._count_state(room, viewer)
        return await self._history.state_for(viewer.user_id, room)

    def _count_state(self, room: Room, viewer: Viewer) -> None:
        if self._rations is not None:
            self._rations.count_state(viewer.user_id, room)

    async def context(
        self,
        room: Room,
        around: tuple[StoredEvent, Page, Page],
        wanted: RoomEventFilter,
        viewer: Viewer,
    ) -> dict[str, Any]:
        """What `/context` answers of an event and the pages about it (`History.around`). Raises LimitExceeded."""
        if not wanted.lazy_load_members:
            self._count_state(room, viewer)
        event, before, after = around
        shown = [event, *before.events, *after.events]
        rendered = await self.events(shown, viewer)
        last = after.events[-1] if after.events else event
        split = 1 + len(before.events)
        return {
            "event": rendered[0],
            "events_before": rendered[1:split],
            "events_after": rendered[split:],
            "start": place_token(before.end if before.end is not None else before.start),
            "end": place_token(after.end if after.end is not None else (last.ordering or 0) + 1),
            "state": await self._context_state(last, shown, wanted, viewer),
        }

    async def _context_state(
        self, last: StoredEvent, shown: Sequence[StoredEvent], wanted: RoomEventFilter, viewer: Viewer
    ) -> list[orjson.Fragment]:
        """The state after `last`; with lazy loading the members of `shown`'s senders alone."""
        state = await self._history.state_after(last)
        if wanted.lazy_load_members:
            state = await self._without_others(state, {event.event.sender for event in shown})
        found = await self._events.by_nids(list(state.values()))
        return await self.events(list(found.values()), viewer)

    async def members_of(self, room: Room, shown: Sequence[StoredEvent], viewer: Viewer) -> list[orjson.Fragment]:
        """The member events of `shown`'s senders as the room is now."""
        keys: list[StateKey] = [("m.room.member", sender) for sender in {event.event.sender for event in shown}]
        numbers = await self._numbers.find(keys)
        if not shown:
            return []
        state = await self._history.state_after(shown[0])
        found = await self._events.by_nids([state[number] for number in numbers.values() if number in state])
        return await self.events(list(found.values()), viewer)

    async def _without_others(self, state: StateMap, senders: set[str]) -> StateMap:
        keys = await self._numbers.keys_of(list(state.keys()))
        others = [nid for nid, (kind, user_id) in keys.items() if kind == "m.room.member" and user_id not in senders]
        mutation = state.mutate()
        for nid in others:
            del mutation[nid]
        return mutation.finish()


def parse_query_filter(text: str | None) -> RoomEventFilter:
    """The RoomEventFilter that a query parameter holds as JSON. Raises InvalidParam."""
    if text is None:
        return EVERYTHING
    if len(text) > FILTER_CHARS_MAX:
        raise InvalidParam(f"filter may have {FILTER_CHARS_MAX} characters")
    try:
        return parse_event_filter(orjson.loads(text))
    except orjson.JSONDecodeError:
        raise InvalidParam("filter must be a JSON object") from None


def predicate(wanted: RoomEventFilter, room: Room, ignored: Collection[str] = ()) -> Wanted | None:
    """Which events of this room a filter wants; None where all are. Of those `ignored` state alone, as in a sync."""
    filtered = _filtered(wanted, room)
    if not ignored:
        return filtered
    passes = filtered.passes if filtered is not None else None

    def is_heard(stored: StoredEvent) -> bool:
        event = stored.event
        return (event.sender not in ignored or event.state_key is not None) and (passes is None or passes(stored))

    return Wanted(is_heard, wanted)


def _filtered(wanted: RoomEventFilter, room: Room) -> Wanted | None:
    if (wanted.rooms is not None and room.room_id not in wanted.rooms) or room.room_id in wanted.not_rooms:
        return Wanted(lambda _: False, wanted)
    compiled = compile_event_filter(wanted)
    if compiled is None:
        return Wanted(asked=wanted) if wanted.is_by_relations else None
    return Wanted(lambda stored: compiled(stored.event), wanted)


def parse_direction(text: str) -> str:
    if text not in ("b", "f"):
        raise InvalidParam("dir must be b or f")
    return text
