"""A room at one moment, as a state to check single events against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.core.events import Event, StateKey
from homeserver.core.room_versions import RoomVersion
from tests.kit.dag import ALICE, make_create, make_event

NOBODY: Mapping[str, str] = {}


class Scene:
    """Alice founded this room and is in it; the rest is as the arguments say.

    `power` is the content of m.room.power_levels (None: there is none). Before version 12 Alice gets level 100 in it,
    unless `users` already says what she has; from then on she may not be named.
    """

    def __init__(
        self,
        version: RoomVersion,
        *,
        members: Mapping[str, str] = NOBODY,
        power: Mapping[str, Any] | None = None,
        join_rule: object = None,
        create: Mapping[str, Any] | None = None,
    ) -> None:
        self.version = version
        self.create = make_create(version, **(create or {}))
        self.state: dict[StateKey, Event] = {self.create.key: self.create}
        for user, membership in {ALICE: "join", **members}.items():
            self.add("m.room.member", user, {"membership": membership}, user)
        if power is not None:
            self.add("m.room.power_levels", ALICE, self.with_alice(power), "")
        if join_rule is not None:
            self.add("m.room.join_rules", ALICE, {"join_rule": join_rule}, "")

    def with_alice(self, power: Mapping[str, Any]) -> dict[str, Any]:
        """Power levels in which Alice keeps what she has."""
        if self.version.creators_have_infinite_power or not isinstance(power.get("users", {}), dict):
            return dict(power)
        return {**power, "users": {ALICE: 100, **power.get("users", {})}}

    def event(
        self, type: str, sender: str, content: Mapping[str, Any], state_key: str | None = None, **more: Any
    ) -> Event:
        """An event of this room. `more` as in `make_event`."""
        given = {"room_id": self.create.room_id, "prev": ["$before:a.example"], "depth": 9, **more}
        return make_event(self.version, type=type, sender=sender, content=content, state_key=state_key, **given)

    def add(self, type: str, sender: str, content: Mapping[str, Any], state_key: str) -> Event:
        """Puts a state event into the state, unasked."""
        event = self.event(type, sender, content, state_key)
        self.state[event.key] = event
        return event
