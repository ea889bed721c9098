"""What operators change in rooms: who may come in, who has the say, where a room's graph goes on."""

from __future__ import annotations

from collections.abc import Sequence

from admin.actions.room_tools import RoomTools
from admin.audit import entry_of
from admin.audit_actions import Action
from homeserver.core.auth_rules import PowerLevels
from homeserver.core.auth_rules.power import CREATOR_LEVEL
from homeserver.core.errors import Forbidden, MatrixError
from homeserver.core.events import Draft
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId
from homeserver.core.operators import Permission
from homeserver.rooms.commands.finding import RoomFinder
from homeserver.rooms.residents import Room
from homeserver.storage import blocked_rooms, rooms
from homeserver.storage.rooms import Heads
from homeserver.web.endpoint import Operator

_ADMIN_LEVEL = 100


class RoomActions:
    """Blocks rooms, brings users in, gives power back, joins loose ends."""

    def __init__(self, tools: RoomTools) -> None:
        self._tools = tools

    async def blocked_by(self, room_id: RoomId) -> UserId | None:
        """Who blocked the room; None where nobody did."""
        return await blocked_rooms.blocked_by(self._tools.db, room_id)

    async def set_blocked(self, room_id: RoomId, block: bool, *, by: Operator, reason: str | None = None) -> None:
        """Bars a room, known here or not, or opens it again."""
        by.check(Permission.MODERATE_ROOMS)
        by.check_room(room_id)
        tools = self._tools
        async with tools.db.transaction() as tx:
            before = await blocked_rooms.blocked_by(tx, room_id)
            if block:
                await blocked_rooms.block(tx, room_id, by.user_id, tools.clock.now_ms())
            else:
                await blocked_rooms.unblock(tx, room_id)
            was, now = {"block": before is not None}, {"block": block}
            entry = entry_of(by, "room.block", room_id, reason=reason, before=was, after=now)
            await tools.audit.record(tx, entry)
        tools.blocked.changed(room_id, block)

    async def join(self, name: str, user_id: UserId, via: Sequence[ServerName], *, by: Operator) -> RoomId:
        """Brings a user of ours into a room, invited by the operator where it takes an invite. Raises MatrixError."""
        by.check(Permission.CHANGE_ROOMS)
        tools = self._tools
        await tools.check_user(user_id)
        room_id, servers = await RoomFinder(tools.aliases).find(name, via)
        await self._note(by, "room.join_user", room_id, {"user_id": user_id})
        room = await tools.rooms.get(room_id)
        is_out = room is not None and room.membership(user_id) not in ("join", "invite")
        if room is not None and is_out and not _is_open(room):
            await tools.membership.invite(room_id, user_id, by=by.user_id)
        await tools.membership.join(room_id, user_id, via=servers)
        return room_id

    async def make_admin(self, name: str, user_id: UserId, *, by: Operator) -> None:
        """Gives a user the power of the most powerful user of ours in the room, and invites them where need be.

        Raises MatrixError where nobody of ours may do it.
        """
        by.check(Permission.CHANGE_ROOMS)
        tools = self._tools
        room_id, _ = await RoomFinder(tools.aliases).find(name, [])
        room = await tools.room(room_id)
        levels = room.power_levels()
        if levels is None:
            raise MatrixError("Server not in room")
        giver, level = self._most_powerful(room, levels)
        before = levels.user(user_id)
        await self._note(by, "room.make_admin", room_id, {"user_id": user_id, "by": giver, "level": level})
        if before < level:
            event = room.known_state("m.room.power_levels")
            content = dict(event.content) if event is not None else {}
            named = content.get("users")
            others = {} if room.version.creators_have_infinite_power else {giver: level}
            content["users"] = {**(named if isinstance(named, dict) else others), user_id: level}
            draft = tools.submission.draft("m.room.power_levels", giver, content, "")
            try:
                await tools.writer.send(room_id, draft)
            except Forbidden as refusal:
                raise MatrixError("The server doesn't have enough permissions to make this change") from refusal
        if room.membership(user_id) in ("join", "invite") or _is_open(room):
            return
        await tools.membership.invite(room_id, user_id, by=giver)

    async def heads(self, name: str) -> tuple[Room, dict[EventId, int]]:
        """The room, and the events with which its graph ends, by id. Raises NotFound."""
        room_id, _ = await RoomFinder(self._tools.aliases).find(name, [])
        room = await self._tools.room(room_id)
        if room.head_nids:
            return room, dict(room.head_nids)
        return room, {room.head.heads[0].event_id: room.newest}

    async def join_heads(self, name: str, *, by: Operator) -> int:
        """Lets go of all loose ends but the newest, with the state as it is; how many there were."""
        by.check(Permission.CHANGE_ROOMS)
        room_id, _ = await RoomFinder(self._tools.aliases).find(name, [])
        await self._tools.room(room_id)
        return await self._tools.writer.exclusively(room_id, lambda: self._join_heads(room_id, by))

    async def _join_heads(self, room_id: RoomId, by: Operator) -> int:
        tools = self._tools
        room = await tools.room(room_id)
        gone = sorted(room.head_nids.values())[:-1]
        if gone:
            kept = max(room.head_nids.values())
            async with tools.db.transaction() as tx:
                await rooms.set_heads(tx, Heads(room.nid, [kept], room.line.nid))
                entry = entry_of(by, "room.forward_extremities", room_id, before={"count": len(gone) + 1})
                await tools.audit.record(tx, entry)
            tools.rooms.drop(room_id)
        return len(gone)

    def _most_powerful(self, room: Room, levels: PowerLevels) -> tuple[UserId, int]:
        """Who of ours in the room may change power levels and has the most; and the level that they can give."""
        ours = [user_id for user_id in room.joined_members() if self._tools.submission.is_local(user_id)]
        able = [user for user in ours if levels.may_send(user, "m.room.power_levels", is_state=True)]
        if not able:
            raise MatrixError("No local admin user in room")
        giver = max(able, key=levels.user)
        level = levels.user(giver)
        if level < CREATOR_LEVEL:
            return giver, level
        # A creator's power can't be given away: the most that anybody else has can.
        return giver, max([_ADMIN_LEVEL, *(other for other in levels.users().values() if other < CREATOR_LEVEL)])

    async def _note(self, by: Operator, action: Action, room_id: RoomId, after: dict[str, object]) -> None:
        """Before it is tried: other servers may have a part in it, and no transaction of ours holds that."""
        async with self._tools.db.transaction() as tx:
            await self._tools.audit.record(tx, entry_of(by, action, room_id, after=after))


def _is_open(room: Room) -> bool:
    return room.known_text("m.room.join_rules", "join_rule") == "public"


def leaving(tools: RoomTools, user_id: UserId) -> Draft:
    """A member event with which somebody leaves."""
    return tools.submission.draft("m.room.member", user_id, {"membership": "leave"}, user_id)
