"""Sizes of rooms: `/_synapse/admin/v1/statistics/database/rooms`."""

from __future__ import annotations

from admin.storage import room_reads
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Access, Json, Reach, endpoint

_LISTED = 10


class RoomStatistics:
    """The rooms that take the most room."""

    def __init__(self, db: Database) -> None:
        self._db = db

    @endpoint(
        "GET",
        "/_synapse/admin/v1/statistics/database/rooms",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_SERVER,
    )
    async def largest(self) -> Json:
        rooms = await room_reads.largest(self._db, _LISTED)
        return {"rooms": [{"room_id": room_id, "estimated_size": size} for room_id, size in rooms]}
