"""What a rule asks of the state: one event's view of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from homeserver.core.auth_rules.power import CREATE, PowerLevels
from homeserver.core.auth_rules.rules import Rule, refuse
from homeserver.core.auth_rules.selection import JOIN_RULES
from homeserver.core.events import Event, StateKey


class AuthState:
    """The state that an event is checked against, in the words of the rules."""

    __slots__ = ("create", "event", "levels", "state")

    def __init__(self, event: Event, create: Event, state: Mapping[StateKey, Event]) -> None:
        self.event = event
        self.create = create
        self.state = state
        self.levels = PowerLevels.of(state)

    def membership(self, user_id: str) -> str:
        """The user's membership; "leave" where there is none, which the rules treat alike."""
        member = self.state.get(("m.room.member", user_id))
        return (member.membership if member is not None else None) or "leave"

    @property
    def join_rule(self) -> str:
        """The room's join rule; "invite" if there is none. A value that is no string is a rule that nobody meets."""
        event = self.state.get(JOIN_RULES)
        value = event.content.get("join_rule", "invite") if event is not None else "invite"
        return value if isinstance(value, str) else ""

    def refuse(self, rule: Rule, reason: str) -> NoReturn:
        refuse(self.event.version, rule, reason)


def create_event_of(event: Event, state: Mapping[StateKey, Event]) -> Event:
    """The create event of the room of this event. Raises RuleBroken if the state's is missing or another room's.

    spec: rooms/v12/#authorisation-rules (rule 2), rooms/v11/#authorisation-rules (rule 2.4)
    """
    version = event.version
    create = state.get(CREATE)
    if create is None:
        rule = Rule.ROOM_ID_IS_CREATE_EVENT if version.room_id_from_create_event else Rule.AUTH_EVENTS_CREATE
        refuse(version, rule, "the room has no create event")
    if version.room_id_from_create_event and create.event_id[1:] != event.room_id[1:]:
        refuse(version, Rule.ROOM_ID_IS_CREATE_EVENT, "room_id is not the id of the room's create event")
    return create
