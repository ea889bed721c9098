"""How long a room's messages are kept, set by an operator: the room's own `m.room.retention`, so everybody sees it."""

from __future__ import annotations

from admin.actions.room_tools import RoomTools
from admin.audit import entry_of
from admin.room_hand import RoomHand
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomId, is_room_id
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Operator

TYPE = "m.room.retention"


class RoomRetention:
    """Sent by the member of ours with the most power there."""

    def __init__(self, tools: RoomTools, hand: RoomHand) -> None:
        self._tools = tools
        self._hand = hand

    async def set(self, room_id: str, lifetime_ms: int, *, by: Operator, reason: str) -> None:
        """0 is for ever. Raises InvalidParam, NotFound, Forbidden where nobody of ours may."""
        by.check(Permission.CHANGE_ROOMS)
        if not is_room_id(room_id):
            raise InvalidParam("this is no id of a room")
        room, hand = await self._hand.acting(RoomId(room_id))
        known = room.known_state(TYPE)
        before = dict(known.content) if known is not None else None
        content = {"max_lifetime": lifetime_ms} if lifetime_ms else {}
        async with self._tools.db.transaction() as tx:
            # Before it is tried: other servers have a part in it, and no transaction of ours holds that.
            entry = entry_of(
                by, "room.retention", room_id, reason=reason, before=before, after={**content, "hand": hand}
            )
            await self._tools.audit.record(tx, entry)
        await self._hand.send(RoomId(room_id), hand, TYPE, content, "")
