"""The one place where an operator's rooms are looked at: for the admin API and for the console alike.

Invariant: who is bound to rooms gets no further than this with what doesn't say which rooms it is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from homeserver.core.errors import Forbidden
from homeserver.web.endpoint import Operator, Reach


class SpaceRooms(Protocol):
    """Knows which rooms spaces have."""

    async def within(self, rooms: frozenset[str]) -> frozenset[str]:
        """These, with the rooms of the spaces among them."""
        ...


async def admitted(
    operator: Operator, reach: Reach | None, path: Mapping[str, str], spaces: SpaceRooms | None
) -> Operator:
    """The operator with the rooms that they may look at and act on. `path` are the parameters of the path.

    Raises Forbidden where it is about other rooms, or about more than rooms.
    """
    bounds = operator.bounds
    if not bounds.has_rooms:
        return operator
    if reach is None or reach is Reach.SERVER or spaces is None:
        raise Forbidden("your role is bound to rooms: this is about the whole server")
    if reach is Reach.NONE:
        return replace(operator, rooms=frozenset())
    rooms: frozenset[str] | None = None
    for some in (bounds.rooms, bounds.token_rooms):
        if some is not None:
            known = await spaces.within(some)
            rooms = known if rooms is None else rooms & known
    bound = replace(operator, rooms=rooms)
    if reach is Reach.ROOM:
        bound.check_room(path.get("room_id"))
    return bound
