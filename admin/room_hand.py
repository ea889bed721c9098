"""What the server itself does in rooms: by the member of ours who may.

Where nobody of ours has the power, the room's rules say no, as to anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from homeserver.core.errors import NotFound
from homeserver.core.events import Draft, Event
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.writer import RoomWriter
from homeserver.runtime.clock import Clock


class RoomHand:
    """Writes to rooms past the policy chain: what rules and operators call for, no rule may stand in the way of."""

    def __init__(self, rooms: Rooms, writer: RoomWriter, clock: Clock, server_name: ServerName) -> None:
        self.rooms = rooms
        self._writer = writer
        self._clock = clock
        self.server_name = server_name
        # Whoever writes state made of what it says now: two at once would each write what they read, and one be lost.
        self.turn = asyncio.Lock()

    async def acting(self, room_id: RoomId, *, rather: UserId | None = None) -> tuple[Room, UserId]:
        """The room, and the member of ours with the most power there; `rather` if none has more. Raises NotFound."""
        room = await self.rooms.get(room_id)
        levels = room.power_levels() if room is not None else None
        if room is None or levels is None:
            raise NotFound("this server isn't in the room")
        ours = [
            (levels.user(user_id), user_id == rather, user_id)
            for user_id in room.joined_members()
            if domain_of(user_id) == self.server_name
        ]
        if not ours:
            raise NotFound("nobody of this server is in the room")
        return room, max(ours)[-1]

    async def send(
        self, room_id: RoomId, by: UserId, type: str, content: dict[str, Any], state_key: str | None = None
    ) -> Event:
        """Raises as `RoomWriter.send`."""
        draft = Draft(type=type, sender=by, content=content, state_key=state_key, origin_server_ts=self._clock.now_ms())
        return await self._writer.send(room_id, draft)

    async def send_all(self, room_id: RoomId, drafts: Sequence[Draft]) -> list[Event]:
        """Raises as `RoomWriter.send_all`."""
        return await self._writer.send_all(room_id, drafts)

    async def set_state(self, room_id: RoomId, type: str, content: dict[str, Any], state_key: str = "") -> Event:
        """A state event by whoever may. Raises NotFound, MatrixError."""
        _, by = await self.acting(room_id)
        return await self.send(room_id, by, type, content, state_key)

    async def set_member(self, room_id: RoomId, target: UserId, membership: str, reason: str) -> Event | None:
        """Puts somebody out, or takes a ban back; None where they aren't there. Raises NotFound, MatrixError."""
        room, by = await self.acting(room_id)
        if membership == "leave" and room.membership(target) not in ("join", "invite", "knock", "ban"):
            return None
        content = {"membership": membership, **({"reason": reason} if reason else {})}
        return await self.send(room_id, by, "m.room.member", content, target)

    async def set_power(self, room_id: RoomId, target: UserId, level: int | None) -> None:
        """Somebody's level; None for that of everybody. Raises NotFound, MatrixError."""
        async with self.turn:
            room, by = await self.acting(room_id)
            known = room.known_state("m.room.power_levels")
            content = dict(known.content) if known is not None else {}
            levels = content.get("users")
            levels = dict(levels) if isinstance(levels, dict) else {}
            if level is None:
                levels.pop(target, None)
            else:
                levels[target] = level
            await self.send(room_id, by, "m.room.power_levels", {**content, "users": levels}, "")
