"""One event, put to the push rules of those in its room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.core.auth_rules import POWER_LEVELS
from homeserver.core.globs import Words
from homeserver.core.identifiers import UserId
from homeserver.core.push_rules import Actions, Compiled, EventView
from homeserver.rooms.residents import Room
from homeserver.storage.events import StoredEvent


class Asking:
    """Ask it for each user: what is the same for all is worked out once."""

    def __init__(
        self, room: Room, stored: StoredEvent, thread_id: str, names: Mapping[UserId, str] | None = None
    ) -> None:
        """`names` are display names of members, for those whose member event isn't in memory."""
        self.room = room
        self.names = names or {}
        self.nid = stored.nid
        self.position = stored.ordering or stored.nid
        self.thread_id = thread_id
        self.event = stored.event
        self._view = EventView.of(stored.event)
        levels, power = room.known_state(*POWER_LEVELS), room.power_levels()
        self._levels: Mapping[str, Any] | None = levels.content if levels else None
        self._power: float = power.user(stored.event.sender) if power else 0

    @property
    def mentions_by_text(self) -> Words | None:
        """The text of a message that doesn't say whom it mentions."""
        return self._view.mentions_by_text if self.event.state_key is None else None

    def is_invite_of(self, user_id: UserId) -> bool:
        """Whether the event invites this user, who so is notified without being in the room."""
        event = self.event
        return event.state_key == user_id and event.type == "m.room.member" and event.membership == "invite"

    def actions(self, rules: Compiled, user_id: UserId) -> Actions | None:
        member = self.room.known_state("m.room.member", user_id)
        name = member.content.get("displayname") if member else self.names.get(user_id)
        return rules.actions(
            self._view,
            user_id=user_id,
            display_name=name if isinstance(name, str) else None,
            member_count=self.room.joined,
            sender_power=self._power,
            power_levels=self._levels,
        )
