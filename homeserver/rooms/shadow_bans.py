"""Users whose words go nowhere: what they send is answered as if it had been sent.

They hear of nothing: the event that they are told of is made, checked and signed as any other, and not written.
"""

from __future__ import annotations

from collections import OrderedDict
from uuid import UUID

from homeserver.core.events import Draft, Event
from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.residents import Rooms
from homeserver.storage import shadow_bans
from homeserver.storage.database import Database, Tx

ANSWERS_MAX = 10_000
# One's own coming and going is real: a client that isn't in the room would notice.
_OWN_STEPS = ("leave", "knock")


class ShadowBans:
    """Who is banned so. In memory: every send asks."""

    def __init__(self, db: Database, rooms: Rooms) -> None:
        self._db = db
        self._rooms = rooms
        self._banned: set[UserId] = set()
        self._answers: OrderedDict[UUID, Event] = OrderedDict()

    async def load(self) -> None:
        self._banned = await shadow_bans.all_of_them(self._db)

    def is_banned(self, user_id: str) -> bool:
        return user_id in self._banned

    async def write(self, tx: Tx, user_id: UserId, is_banned: bool) -> None:
        """Part of a transaction; `changed` must follow it."""
        await shadow_bans.set_banned(tx, user_id, is_banned)

    def changed(self, user_id: UserId, is_banned: bool) -> None:
        """From now on."""
        if is_banned:
            self._banned.add(user_id)
        else:
            self._banned.discard(user_id)

    async def hides(self, room_id: RoomId, draft: Draft) -> bool:
        """Whether this draft goes nowhere."""
        if draft.sender not in self._banned:
            return False
        if draft.type != "m.room.member" or draft.state_key != draft.sender:
            return True
        membership = draft.content.get("membership")
        if membership in _OWN_STEPS:
            return False
        # A new name is a member event too, and can say as much as a message.
        return await self._rooms.membership(room_id, UserId(draft.sender)) == membership

    def answer(self, key: UUID | None) -> Event | None:
        """What was answered to the same request before."""
        return self._answers.get(key) if key is not None else None

    def remember(self, key: UUID | None, event: Event) -> None:
        if key is not None:
            self._answers[key] = event
            if len(self._answers) > ANSWERS_MAX:
                self._answers.popitem(last=False)
