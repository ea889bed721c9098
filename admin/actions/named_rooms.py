"""Rooms that operators name: by id, or by an alias of this server, which stands for the room that has it now."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomAlias, is_room_id
from homeserver.storage import room_aliases
from homeserver.storage.database import Reader

ROOMS_MAX = 200


async def rooms_named(db: Reader, named: Collection[str]) -> frozenset[str]:
    """The ids of these rooms. One query, where aliases are among them.

    An alias is looked up once: whoever moves it to another room later gives nobody a say there. Raises InvalidParam for
    none at all, more than ROOMS_MAX, what is no id, and an alias that this server didn't give out.
    """
    if not 0 < len(named) <= ROOMS_MAX:
        raise InvalidParam(f"rooms must be 1 to {ROOMS_MAX} ids of rooms or spaces, or their aliases")
    aliases = [RoomAlias(one) for one in named if one.startswith("#")]
    known = await room_aliases.by_aliases(db, aliases) if aliases else {}
    if gone := [alias for alias in aliases if alias not in known]:
        raise InvalidParam(f"this server has no alias {gone[0]}: name the room by its id")
    rooms = frozenset(known[RoomAlias(one)].room_id if one.startswith("#") else one for one in named)
    if not all(is_room_id(one) for one in rooms):
        raise InvalidParam("rooms must be ids of rooms or spaces, or their aliases")
    return rooms
