"""What every act on a room uses."""

from __future__ import annotations

from dataclasses import dataclass

from admin.audit import AuditLog
from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.identifiers import RoomId, UserId, is_room_id
from homeserver.rooms.commands.directory import Aliases
from homeserver.rooms.commands.membership import Membership
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.policy import RoomsBlocked
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.writer import RoomWriter
from homeserver.runtime.clock import Clock
from homeserver.storage import users
from homeserver.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomTools:
    """The rooms of this server, the ways to change them, and the log of who did."""

    db: Database
    clock: Clock
    audit: AuditLog
    rooms: Rooms
    writer: RoomWriter
    submission: Submission
    membership: Membership
    aliases: Aliases
    blocked: RoomsBlocked

    async def room(self, room_id: RoomId) -> Room:
        """Raises NotFound, and MatrixError for what is no room id."""
        return await known_room(self.rooms, room_id)

    async def check_user(self, user_id: UserId) -> None:
        """Raises MatrixError for a user of another server, NotFound for none."""
        if not self.submission.is_local(user_id):
            raise MatrixError("This endpoint can only be used with local users")
        user = await users.by_id(self.db, user_id)
        if user is None or user.is_deactivated:
            raise NotFound("User not found")


async def known_room(rooms: Rooms, room_id: str) -> Room:
    """Raises NotFound, and MatrixError for what is no room id."""
    room = await rooms.get(check_room_id(room_id))
    if room is None:
        raise NotFound("Room not found")
    return room


def check_room_id(text: str) -> RoomId:
    """Raises MatrixError as tools know it."""
    if not is_room_id(text):
        raise MatrixError(f"{text} is not a legal room ID")
    return RoomId(text)
