"""The events of one resolution, and what its steps ask of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from homeserver.core.auth_rules import CREATE, POWER_LEVELS, PowerLevels
from homeserver.core.errors import MissingEvents
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import RoomVersion


class Graph:
    """Events by id, with their auth links."""

    __slots__ = ("_events", "_version", "rejected")

    def __init__(self, version: RoomVersion, events: Mapping[EventId, Event], rejected: Collection[EventId]) -> None:
        self._version = version
        self._events = events
        self.rejected = rejected

    def __getitem__(self, event_id: EventId) -> Event:
        event = self._events.get(event_id)
        if event is None:
            raise MissingEvents((event_id,))
        return event

    def require(self, ids: Iterable[EventId]) -> None:
        """Raises MissingEvents with all of these that aren't here, so that the caller loads them at once."""
        missing = [event_id for event_id in ids if event_id not in self._events]
        if missing:
            raise MissingEvents(missing)

    def auth_ids(self, event: Event) -> list[EventId]:
        """What the event cites; in version 12 the create event too, which its room id stands for."""
        ids = list(event.auth_event_ids)
        if self._version.room_id_from_create_event and event.type != CREATE[0]:
            ids.append(EventId("$" + event.room_id[1:]))
        return ids

    def auth_events(self, event: Event) -> list[Event]:
        return [self[event_id] for event_id in self.auth_ids(event)]

    def power_levels_before(self, event: Event) -> Event | None:
        """The m.room.power_levels event that this one cites. Once it is found, the others needn't be here."""
        missing = []
        for event_id in event.auth_event_ids:
            auth_event = self._events.get(event_id)
            if auth_event is None:
                missing.append(event_id)
            elif is_at(auth_event, POWER_LEVELS):
                return auth_event
        if missing:
            raise MissingEvents(missing)
        return None

    def sender_power(self, event: Event) -> int:
        """The level of the event's sender by the events that it cites."""
        create: Event | None = None
        power_levels: Event | None = None
        for auth_event in self.auth_events(event):
            if is_at(auth_event, CREATE):
                create = auth_event
            elif is_at(auth_event, POWER_LEVELS):
                power_levels = auth_event
        if create is None:
            return 0
        return PowerLevels(create, power_levels).user(event.sender)


def is_at(event: Event, key: StateKey) -> bool:
    return event.type == key[0] and event.state_key == key[1]
