"""Whether another server may have to do with a room: it is in there, and the room's ACL doesn't shut it out."""

from __future__ import annotations

from collections.abc import Collection

from homeserver.core.errors import Forbidden, NotFound
from homeserver.core.identifiers import RoomId, ServerName, domain_of
from homeserver.core.server_acl import AclVerdicts
from homeserver.rooms.graph_reads import servers_in
from homeserver.rooms.residents import Room, Rooms, is_in

ACL = ("m.room.server_acl", "")


class RoomAccess:
    """Finds rooms for other servers. Users of ours must be in a room, else nothing is known of it for sure."""

    def __init__(self, rooms: Rooms, server_name: ServerName) -> None:
        self._rooms = rooms
        self._verdicts = AclVerdicts()
        self.server_name = server_name

    async def known_room(self, room_id: RoomId) -> Room | None:
        """A room that this server knows of, whoever asks."""
        return await self._rooms.get(room_id)

    async def open_room(self, room_id: RoomId, origin: ServerName) -> Room:
        """A room that this server takes part in. Raises NotFound, and Forbidden where the ACL shuts the other out."""
        room = await self._rooms.get(room_id)
        if room is None or not is_in(room, self.server_name):
            raise NotFound("this server is not in the room")
        room = await self._rooms.with_known(room, [ACL])
        if not self._verdicts.allow(room.known_state(*ACL), origin):
            raise Forbidden("your server may not take part in this room")
        return room

    async def open_rooms(self, room_ids: Collection[RoomId], origin: ServerName) -> tuple[list[Room], list[RoomId]]:
        """Of many rooms those that `open_room` gives, and whose ACL shuts the other out. Eight queries at most."""
        found = (await self._rooms.get_many(room_ids)).values()
        here = [room for room in found if is_in(room, self.server_name)]
        known = await self._rooms.all_with_known(here, [ACL])
        shut = {room.room_id for room in known if not self._verdicts.allow(room.known_state(*ACL), origin)}
        return [room for room in known if room.room_id not in shut], sorted(shut)

    async def shared_room(self, room_id: RoomId, origin: ServerName) -> Room:
        """The same for a server that must be in the room itself. Raises Forbidden."""
        room = await self.open_room(room_id, origin)
        if not is_in(room, origin) and (room.partial is None or origin not in room.partial.servers):
            raise Forbidden("your server is not in this room")
        return room

    async def whole_room(self, room_id: RoomId, origin: ServerName) -> Room:
        """As `open_room`, but a room whose members we don't all know yet isn't there: nobody can come in through us."""
        room = await self.open_room(room_id, origin)
        if room.partial is not None:
            raise NotFound("this server doesn't know all of the room yet")
        return room


def joined_servers(room: Room) -> list[ServerName]:
    """Those in the room, the ones with the most users first; while members are missing, those we were told of."""
    found = servers_in(room)
    known = sorted(found, key=lambda server: (-found[server], server))
    return known if room.partial is None else list(dict.fromkeys([*room.partial.servers, *known]))


def server_of(user_id: str) -> ServerName:
    return domain_of(user_id)
