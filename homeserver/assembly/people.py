"""Finding people: the user directory and shared rooms."""

from __future__ import annotations

from homeserver.accounts.mutual_rooms import MutualRooms
from homeserver.accounts.user_directory import UserDirectory
from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts
from homeserver.client_api.users import UserSearch


async def people_endpoints(base: Base, parts: RoomParts) -> list[object]:
    """Begins to keep the directory too: call it before anybody can write."""
    db = base.world.db
    directory = UserDirectory(db, parts.journal, parts.rooms, base.world.clock, base.server_name)
    parts.journal.listen(directory.hear)
    await directory.start()
    base.tasks.forever(directory.run, name="user_directory")
    return [UserSearch(directory, MutualRooms(db))]
