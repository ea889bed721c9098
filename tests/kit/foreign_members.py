"""Members from other servers in a local room, without their server having joined: rows, as a join leaves them."""

from __future__ import annotations

from collections.abc import Sequence

from homeserver.core.identifiers import RoomId
from tests.kit.server import RunningServer

_JOIN = """
    INSERT INTO memberships (room_nid, user_id, membership, event_nid)
    SELECT room_nid, member.user_id, 'join', (SELECT max(event_nid) FROM events WHERE room_nid = rooms.room_nid)
    FROM rooms, unnest($2::text[]) AS member(user_id)
    WHERE room_id = $1
    ON CONFLICT (room_nid, user_id) DO UPDATE SET membership = 'join'
"""


async def join_foreign(server: RunningServer, room_id: str, user_ids: Sequence[str]) -> None:
    """Makes these users members of the room."""
    await server.db.execute(_JOIN, room_id, list(user_ids))
    rooms = server.hansa.rooms.rooms
    rooms.drop(RoomId(room_id))
    if server.hansa.outbound is not None:
        server.hansa.outbound.sender.servers.forget(RoomId(room_id))
