"""Read markers. spec: client-server-api/#fully-read-markers"""

from __future__ import annotations

from homeserver.core.errors import BadJson
from homeserver.core.identifiers import RoomId, parse_event_id
from homeserver.ephemeral.receipts import RECEIPT_TYPES, Receipts
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class ReadMarkerEndpoints:
    def __init__(self, receipts: Receipts) -> None:
        self._receipts = receipts

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/read_markers",
        "/_matrix/client/r0/rooms/{room_id}/read_markers",
        access=Access.USER,
        spec="client-server-api/#post_matrixclientv3roomsroomidread_markers",
        limit="receipt",
        while_suspended=False,
    )
    async def read_markers(self, caller: Caller, room_id: RoomId, body: Json) -> Json:
        """Moves the marker and, in the same statement, the receipts that are given with it."""
        given = {name: body[name] for name in RECEIPT_TYPES if body.get(name) is not None}
        for name, event_id in given.items():
            if not isinstance(event_id, str):
                raise BadJson(f"{name} must be an event id")
        wanted = {name: parse_event_id(event_id) for name, event_id in given.items()}
        await self._receipts.set(caller.user_id, room_id, wanted)
        return {}
