"""spec: client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid"""

from __future__ import annotations

import msgspec

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import OPAQUE_BYTES_MAX, RoomId
from homeserver.rooms.commands.delaying import DelayedEvents
from homeserver.rooms.commands.sending import Sending
from homeserver.rooms.writer import Transaction
from homeserver.web.binding import StickyMs, Timestamp
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class TimestampQuery(msgspec.Struct, frozen=True):
    ts: Timestamp | None = None
    delay_ms: int | None = msgspec.field(default=None, name="org.matrix.msc4140.delay")
    sticky_ms: StickyMs | None = msgspec.field(default=None, name="org.matrix.msc4354.sticky_duration_ms")


class RoomSend:
    """PUT /rooms/{roomId}/send."""

    def __init__(self, sending: Sending, delayed: DelayedEvents) -> None:
        self._sending = sending
        self._delayed = delayed

    @endpoint(
        "PUT",
        "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}",
        "/_matrix/client/r0/rooms/{room_id}/send/{event_type}/{txn_id}",
        access=Access.GUEST,
        limit="message",
        while_suspended=False,
        spec="client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid",
    )
    async def send_message(
        self, caller: Caller, room_id: RoomId, event_type: str, txn_id: str, query: TimestampQuery, body: Json
    ) -> Json:
        if len(txn_id.encode()) > OPAQUE_BYTES_MAX:
            raise InvalidParam(f"a transaction id may have {OPAQUE_BYTES_MAX} bytes")
        scope = f"{room_id}/send/{event_type}"
        transaction = Transaction(caller.user_id, caller.device_id, txn_id, scope)
        if query.delay_ms is not None:
            place = (room_id, event_type, None)
            return {
                "delay_id": await self._delayed.delay(
                    place, caller.user_id, caller.device_id, body, query.delay_ms, transaction, query.sticky_ms
                )
            }
        if event_type == "m.room.redaction":
            event = await self._sending.redact(room_id, body.get("redacts"), body, transaction)
        else:
            # Only bridges say when something was sent.
            timestamp_ms = query.ts if caller.appservice_id is not None else None
            event = await self._sending.message(room_id, event_type, body, transaction, timestamp_ms, query.sticky_ms)
        return {"event_id": event.event_id}
