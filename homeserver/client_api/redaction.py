"""spec: client-server-api/#redactions"""

from __future__ import annotations

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import OPAQUE_BYTES_MAX, EventId, RoomId
from homeserver.rooms.commands.sending import Sending
from homeserver.rooms.writer import Transaction
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class Redaction:
    """PUT /rooms/{roomId}/redact."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending

    @endpoint(
        "PUT",
        "/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}",
        "/_matrix/client/r0/rooms/{room_id}/redact/{event_id}/{txn_id}",
        access=Access.GUEST,
        limit="redaction",
        spec="client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid",
    )
    async def redact_event(self, caller: Caller, room_id: RoomId, event_id: EventId, txn_id: str, body: Json) -> Json:
        if len(txn_id.encode()) > OPAQUE_BYTES_MAX:
            raise InvalidParam(f"a transaction id may have {OPAQUE_BYTES_MAX} bytes")
        transaction = Transaction(caller.user_id, caller.device_id, txn_id, f"{room_id}/redact/{event_id}")
        # Whoever is suspended may still take back what they said.
        event = await self._sending.redact(room_id, event_id, body, transaction, only_own=caller.is_suspended)
        return {"event_id": event.event_id}
