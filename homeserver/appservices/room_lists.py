"""The room directories of networks, kept by application services.

spec: application-service-api/#third-party-networks
"""

from __future__ import annotations

from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import RoomId
from homeserver.rooms.residents import Rooms
from homeserver.storage import appservices
from homeserver.storage.database import Database

ROOMS_PER_SERVICE_MAX = 50_000
NETWORK_ID_CHARS_MAX = 255


class RoomLists:
    """Puts rooms into the lists and takes them out."""

    def __init__(self, db: Database, rooms: Rooms) -> None:
        self._db = db
        self._rooms = rooms

    async def set(self, appservice_id: str, network_id: str, room_id: RoomId, *, is_listed: bool) -> None:
        """Raises NotFound for a room that this server doesn't know, InvalidParam where there are too many."""
        if len(network_id) > NETWORK_ID_CHARS_MAX:
            raise InvalidParam(f"a network id may have {NETWORK_ID_CHARS_MAX} characters")
        if is_listed and await self._rooms.get(room_id) is None:
            raise NotFound("this server doesn't know the room")
        async with self._db.transaction() as tx:
            if not is_listed:
                await appservices.unlist_room(tx, appservice_id, network_id, room_id)
                return
            if await appservices.count_listed(tx, appservice_id) >= ROOMS_PER_SERVICE_MAX:
                raise InvalidParam(f"an application service may list {ROOMS_PER_SERVICE_MAX} rooms")
            await appservices.list_room(tx, appservice_id, network_id, room_id)
