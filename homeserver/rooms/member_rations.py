"""How much of large rooms' members a user may list: who may read them all may still not do it all the time (T-H13)."""

from __future__ import annotations

from homeserver.core.identifiers import UserId
from homeserver.ports import Limits
from homeserver.rooms.residents import Room

MEMBERS_PER_COST = 500
COST_MAX = 100.0


class MemberRations:
    """Counts lists of members, that of a large room for many of small ones."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def count_list(self, user_id: UserId, room: Room) -> None:
        """For the list of a room's members. Raises LimitExceeded."""
        self._limits.check("member_list", user_id, cost=min(1 + len(room.members) / MEMBERS_PER_COST, COST_MAX))

    def count_state(self, user_id: UserId, room: Room) -> None:
        """For the whole state of a room: it holds that list, which is worth counting in large ones.

        Raises LimitExceeded.
        """
        if len(room.members) > MEMBERS_PER_COST:
            self.count_list(user_id, room)
