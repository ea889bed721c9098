"""Receipts. spec: client-server-api/#receipts"""

from __future__ import annotations

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import ID_BYTES_MAX, EventId, RoomId
from homeserver.ephemeral.receipts import FULLY_READ, RECEIPT_TYPES, Receipts
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class ReceiptEndpoints:
    def __init__(self, receipts: Receipts) -> None:
        self._receipts = receipts

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/receipt/{receipt_type}/{event_id}",
        "/_matrix/client/r0/rooms/{room_id}/receipt/{receipt_type}/{event_id}",
        access=Access.USER,
        spec="client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid",
        limit="receipt",
        while_suspended=False,
    )
    async def receipt(self, caller: Caller, room_id: RoomId, receipt_type: str, event_id: EventId, body: Json) -> Json:
        if receipt_type not in RECEIPT_TYPES:
            raise InvalidParam(f"a receipt must be one of {', '.join(RECEIPT_TYPES)}")
        thread_id = body.get("thread_id")
        if thread_id is not None or "thread_id" in body:
            if not isinstance(thread_id, str) or not 1 <= len(thread_id.encode()) <= ID_BYTES_MAX:
                raise InvalidParam("thread_id must be main or an event id")
            if receipt_type == FULLY_READ:
                raise InvalidParam("m.fully_read has no thread_id")
        await self._receipts.set(caller.user_id, room_id, {receipt_type: event_id}, thread_id)
        return {}
