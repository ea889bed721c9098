"""What is done with many rooms, members or messages that were ticked on a list: first shown, then done."""

from __future__ import annotations

from admin.actions.room_moderation import Member, RoomModeration
from admin.actions.rooms import RoomActions
from admin.console.acting import reason_of
from admin.console.bulk import done, preview, ticked, told
from admin.console.desk import Desk, Visit, room_path
from admin.console.page import page
from admin.storage import console_reads
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import EventId, parse_room_id, parse_user_id
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_MEMBER_ACTS: dict[str, Member] = {"kick": "kick", "ban": "ban", "unban": "unban"}


class RoomActPages:
    """/admin/rooms, its lists of members and of what was said."""

    def __init__(self, desk: Desk, db: Database, actions: RoomActions, hand: RoomModeration) -> None:
        self.desk = desk
        self._db = db
        self._actions = actions
        self._hand = hand

    @page("POST", "/admin/rooms/act", needs=Permission.MODERATE_ROOMS, reach=Reach.WITHIN)
    async def rooms(self, visit: Visit) -> Answer:
        """Blocks rooms, or opens them again."""
        act, chosen, reason, by = visit.fields.get("act", ""), ticked(visit), reason_of(visit), visit.operator
        targets = {one: parse_room_id(one) for one in chosen}
        if act not in ("block", "unblock"):
            raise InvalidParam("there is no such act")
        back = "/admin/rooms"
        if visit.fields.get("step") != "do":
            return preview(self.desk, visit, act, chosen, reason, back=back)

        async def set_blocked(one: str) -> None:
            await self._actions.set_blocked(targets[one], act == "block", by=by, reason=reason)

        return await done(self.desk, visit, act, chosen, set_blocked, back=back)

    @page("POST", "/admin/rooms/{room_id}/members/act", needs=Permission.MODERATE_ROOMS, reach=Reach.ROOM)
    async def members(self, visit: Visit, room_id: str) -> Answer:
        """Kicks, bans, or takes bans back."""
        chosen, reason, by = ticked(visit), reason_of(visit), visit.operator
        act = _MEMBER_ACTS.get(visit.fields.get("act", ""))
        if act is None:
            raise InvalidParam("there is no such act")
        room, back = parse_room_id(room_id), f"{room_path(room_id)}/members"
        targets = {one: parse_user_id(one) for one in chosen}
        if visit.fields.get("step") != "do":
            return preview(self.desk, visit, act, chosen, reason, back=back)

        async def set_member(one: str) -> None:
            await self._hand.set_member(room, targets[one], act, by=by, reason=reason)

        return await done(self.desk, visit, act, chosen, set_member, back=back)

    @page("POST", "/admin/rooms/{room_id}/timeline/act", needs=Permission.MODERATE_USERS, reach=Reach.ROOM)
    async def said(self, visit: Visit, room_id: str) -> Answer:
        """Redacts what was ticked."""
        chosen, reason, back = ticked(visit), reason_of(visit), f"{room_path(room_id)}/timeline"
        if visit.fields.get("act") != "redact":
            raise InvalidParam("there is no such act")
        visit.operator.check(Permission.READ_CONTENT)  # the preview shows it
        if visit.fields.get("step") != "do":
            said = await console_reads.bodies(self._db, chosen, frozenset([room_id]))
            return preview(self.desk, visit, "redact", chosen, reason, back=back, said=said)
        failed = await self._hand.redact([EventId(one) for one in chosen], by=visit.operator, reason=reason)
        return told(self.desk, visit, "redact", chosen, {str(one): why for one, why in failed.items()}, back=back)
