"""One event, put to the push rules of those in its room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.core.auth_rules import POWER_LEVELS
from homeserver.core.globs import Words
from homeserver.core.identifiers import EventId, UserId
from homeserver.core.push_rules import Actions, Compiled, EventView
from homeserver.core.relations import THREAD, relation_of
from homeserver.push.followers import FollowersThen
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
        related = relation_of(stored.event)
        # The thread that the event is in by what it says itself, as clients see it.
        self.root = EventId(related.event_id) if related is not None and related.rel_type == THREAD else None
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

    def know_followers(self, since: Mapping[UserId, int] | None) -> None:
        """Who follows the event's thread, and since when, if that is known."""
        is_known = self.root is not None and since is not None
        self._view.followers = FollowersThen(since or {}, self.position) if is_known else None

    def hangs_on_followers(self, rules: Compiled, user_id: UserId) -> bool:
        """Whether it must be known first who follows the thread."""
        if not rules.asks_threads or self.root is None or self._view.followers is not None:
            return False
        found = self.actions(rules, user_id)
        try:
            for supposed in (frozenset[UserId](), frozenset((user_id,))):
                self._view.followers = supposed
                if self.actions(rules, user_id) != found:
                    return True
        finally:
            self._view.followers = None
        return False

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
