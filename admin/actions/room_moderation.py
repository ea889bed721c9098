"""What operators do inside rooms, where they needn't be members: by the user of ours with the most power there.

Ordinary events, which other servers hear of and every member sees; the audit entry says which operator it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from admin.actions.room_tools import RoomTools
from admin.audit import entry_of
from admin.audit_actions import Action
from admin.room_hand import RoomHand
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError
from homeserver.core.events import Draft, Event
from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.core.operators import Permission
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.residents import Room
from homeserver.web.endpoint import Operator

EVENTS_MAX = 500
Member = Literal["kick", "ban", "unban"]
_ACTIONS: Mapping[Member, Action] = {"kick": "member.kick", "ban": "member.ban", "unban": "member.unban"}
_MEMBERSHIPS: Mapping[str, str] = {"kick": "leave", "ban": "ban", "unban": "leave"}


class RoomModeration:
    """Redacts, kicks and bans."""

    def __init__(self, tools: RoomTools, hand: RoomHand, events: EventStore) -> None:
        self._tools = tools
        self._hand = hand
        self._events = events

    async def acting(self, room_id: RoomId) -> tuple[Room, UserId]:
        """The room, and who of ours acts there. Raises NotFound where nobody of ours can."""
        return await self._hand.acting(room_id)

    async def set_member(self, room_id: RoomId, user_id: UserId, act: Member, *, by: Operator, reason: str) -> None:
        """Kicks or bans somebody, or takes a ban back. Raises NotFound, Forbidden where nobody of ours may."""
        by.check(Permission.MODERATE_ROOMS)
        by.check_room(room_id)
        room, hand = await self.acting(room_id)
        before = room.membership(user_id)
        wanted = {"kick": ("join", "invite", "knock"), "ban": ("join", "invite", "knock", "leave", None)}
        if before not in wanted.get(act, ("ban",)):
            raise InvalidParam(f"{user_id} isn't in the room so that this could be done: {before or 'never there'}")
        await self._note(by, _ACTIONS[act], user_id, reason, {"room": room_id, "hand": hand, "before": before})
        content = {"membership": _MEMBERSHIPS[act], "reason": reason}
        await self._tools.writer.send(room_id, self._draft("m.room.member", hand, content, user_id))

    async def redact(self, event_ids: Sequence[EventId], *, by: Operator, reason: str) -> dict[EventId, str]:
        """Redacts these events, in whichever rooms they are; for each that couldn't be, why. Raises InvalidParam."""
        by.check(Permission.MODERATE_USERS)
        if len(event_ids) > EVENTS_MAX:
            raise InvalidParam(f"at most {EVENTS_MAX} events at once")
        found = await self._events.by_ids(set(event_ids))
        failed = {event_id: "it isn't here" for event_id in event_ids if event_id not in found}
        by_room: dict[RoomId, list[Event]] = {}
        for stored in found.values():
            by_room.setdefault(stored.event.room_id, []).append(stored.event)
        for room_id, events in by_room.items():
            targets = [event.event_id for event in events]
            try:
                by.check_room(room_id)
                room, hand = await self.acting(room_id)
                levels = room.power_levels()
                if levels is None or not all(levels.may_request_redaction(hand, event) for event in events):
                    raise Forbidden(f"{hand} doesn't have the power to redact events of others")
                await self._note(by, "event.redact", room_id, reason, {"hand": hand, "events": targets[:50]})
                drafts = [self._draft("m.room.redaction", hand, {"reason": reason}, redacts=one) for one in targets]
                await self._tools.writer.send_all(room_id, drafts)
            except MatrixError as error:
                failed |= dict.fromkeys(targets, error.message)
        return failed

    def _draft(
        self, type: str, sender: UserId, content: dict[str, Any], key: str | None = None, redacts: EventId | None = None
    ) -> Draft:
        return self._tools.submission.draft(type, sender, content, key, redacts=redacts)

    async def _note(self, by: Operator, action: Action, target: str, reason: str | None, after: dict[str, Any]) -> None:
        """Before it is tried: other servers have a part in it, and no transaction of ours holds that."""
        async with self._tools.db.transaction() as tx:
            await self._tools.audit.record(tx, entry_of(by, action, target, reason=reason, after=after))
