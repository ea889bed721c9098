"""Which member events each connection was sent because of who spoke. In memory: after a restart they are sent again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from homeserver.core.identifiers import UserId

CONNECTIONS_MAX = 5_000
TOLD_PER_CONNECTION_MAX = 20_000

# User, device and connection.
Place = tuple[UserId, str, str]


class MembersTold:
    """Remembers (room, user) → member event, and the position it was told with."""

    def __init__(self) -> None:
        self._told: OrderedDict[Place, dict[tuple[int, UserId], tuple[int, int]]] = OrderedDict()

    def missing(
        self, place: Place, room_nid: int, members: Mapping[UserId, int], *, since: int, upto: int
    ) -> list[int]:
        """Those of these member events that the client lacks; with `since` 0 it has nothing. They count as told.

        Until the position they are told with comes back as `since` the answer may have been lost.
        """
        if not members:
            return []
        told = self._told.get(place)
        if told is None or len(told) > TOLD_PER_CONNECTION_MAX:
            told = self._told[place] = {}
            if len(self._told) > CONNECTIONS_MAX:
                self._told.popitem(last=False)
        self._told.move_to_end(place)
        missing: list[int] = []
        for user_id, nid in members.items():
            known, told_at = told.get((room_nid, user_id), (0, 0))
            if known != nid or told_at > since:
                missing.append(nid)
                told[room_nid, user_id] = nid, upto
        return missing
