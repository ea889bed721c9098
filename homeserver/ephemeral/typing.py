"""Who is typing where: in memory, and never for longer than two minutes.

spec: client-server-api/#typing-notifications
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import RoomId, UserId
from homeserver.journal.journal import Entry, Journal
from homeserver.runtime.clock import Clock

TIMEOUT_MS_DEFAULT = 30_000
TIMEOUT_MS_MAX = 120_000
# More than this many at once in a room, or rooms at once for a user, are not shown.
TYPING_IN_ROOM_MAX = 100
ROOMS_OF_USER_MAX = 50
ROOMS_MAX = 20_000
_TICK_S = 0.5


class Members(Protocol):
    """Who is in a room. Implemented by rooms.residents."""

    async def presumed_membership(self, room_id: RoomId, user_id: UserId) -> str | None: ...


@dataclass(slots=True)
class _RoomTyping:
    until_s: dict[UserId, float] = field(default_factory=dict)
    changed_at: int = 0


class Typing:
    """Typing notices. `expire` has to be run now and then (see `run`)."""

    # Of users who are silenced nobody hears. Set by the assembly.
    is_silenced: Callable[[UserId], bool] = staticmethod(lambda user_id: False)

    def __init__(self, journal: Journal, members: Members, clock: Clock) -> None:
        self._journal = journal
        self._members = members
        self._clock = clock
        self._rooms: OrderedDict[RoomId, _RoomTyping] = OrderedDict()
        self._rooms_of: Counter[UserId] = Counter()
        self._busy: set[RoomId] = set()  # rooms where somebody types

    async def set(self, user_id: UserId, room_id: RoomId, is_typing: bool, timeout_ms: int | None = None) -> None:
        """Shows the user as typing for so long (at most TIMEOUT_MS_MAX), or no longer. Raises Forbidden."""
        if await self._members.presumed_membership(room_id, user_id) != "join":
            raise Forbidden("you are not in this room")
        if is_typing and self.is_silenced(user_id):
            return
        room = self._rooms.get(room_id) or _RoomTyping()
        was_typing = user_id in room.until_s
        if not is_typing:
            if was_typing:
                self._drop(room, user_id)
                await self._tell(room_id, room)
            return
        if not was_typing:
            if len(room.until_s) >= TYPING_IN_ROOM_MAX or self._rooms_of[user_id] >= ROOMS_OF_USER_MAX:
                return
            self._rooms_of[user_id] += 1
        timeout_ms = TIMEOUT_MS_DEFAULT if timeout_ms is None else timeout_ms
        room.until_s[user_id] = self._clock.monotonic_s() + min(max(timeout_ms, 1), TIMEOUT_MS_MAX) / 1000
        if not was_typing:
            self._rooms[room_id] = room
            await self._tell(room_id, room)

    async def users(self, room_id: RoomId) -> list[UserId]:
        """Who is typing now: of those still in the room."""
        room = self._rooms.get(room_id)
        if room is None or not room.until_s:
            return []
        now = self._clock.monotonic_s()
        typing = [user_id for user_id, until_s in room.until_s.items() if until_s > now]
        return [user_id for user_id in typing if await self._members.presumed_membership(room_id, user_id) == "join"]

    def changed_at(self, room_id: RoomId) -> int:
        """The position at which who is typing changed last; 0 if it didn't since the server started."""
        room = self._rooms.get(room_id)
        return room.changed_at if room else 0

    async def expire(self) -> None:
        """Ends what has timed out, and tells the rooms."""
        now = self._clock.monotonic_s()
        for room_id in list(self._busy):
            room = self._rooms[room_id]
            over = [user_id for user_id, until_s in room.until_s.items() if until_s <= now]
            for user_id in over:
                self._drop(room, user_id)
            if over:
                await self._tell(room_id, room)

    async def run(self) -> None:
        """One round of a background task: waits a moment, then expires."""
        await self._clock.sleep(_TICK_S)
        await self.expire()

    def _drop(self, room: _RoomTyping, user_id: UserId) -> None:
        del room.until_s[user_id]
        self._rooms_of[user_id] -= 1
        if self._rooms_of[user_id] <= 0:
            del self._rooms_of[user_id]

    async def _tell(self, room_id: RoomId, room: _RoomTyping) -> None:
        position = await self._journal.open()
        room.changed_at = max(room.changed_at, position)
        self._rooms[room_id] = room
        self._rooms.move_to_end(room_id)
        if room.until_s:
            self._busy.add(room_id)
        else:
            self._busy.discard(room_id)
        self._journal.close(position, [Entry(position, "typing", room_id)])
        while len(self._rooms) > ROOMS_MAX:
            oldest, gone = self._rooms.popitem(last=False)
            self._busy.discard(oldest)
            for typist in list(gone.until_s):
                self._drop(gone, typist)
