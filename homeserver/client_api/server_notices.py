"""Server notices as administrators' tools send them: `/_synapse/admin/v1/send_server_notice`."""

from __future__ import annotations

from typing import Any

import msgspec

from homeserver.accounts.server_notices import ServerNotices
from homeserver.core.identifiers import parse_user_id
from homeserver.rooms.writer import Transaction
from homeserver.web.endpoint import Access, Caller, Json, endpoint

_PATH = "/_synapse/admin/v1/send_server_notice"


class NoticeBody(msgspec.Struct, frozen=True):
    user_id: str
    content: dict[str, Any]
    type: str = "m.room.message"
    state_key: str | None = None


class ServerNoticeEndpoints:
    """POST and PUT of a notice."""

    def __init__(self, notices: ServerNotices) -> None:
        self._notices = notices

    @endpoint("POST", _PATH, access=Access.ADMIN, spec="")
    async def send(self, caller: Caller, body: NoticeBody) -> Json:
        return await self._send(body, None)

    @endpoint("PUT", _PATH + "/{txn_id}", access=Access.ADMIN, spec="")
    async def send_once(self, caller: Caller, txn_id: str, body: NoticeBody) -> Json:
        scope = f"server_notice {body.user_id}"
        return await self._send(body, Transaction(caller.user_id, caller.device_id, txn_id, scope))

    async def _send(self, body: NoticeBody, transaction: Transaction | None) -> Json:
        event = await self._notices.send(
            parse_user_id(body.user_id),
            body.content,
            type=body.type,
            state_key=body.state_key,
            transaction=transaction,
        )
        return {"event_id": event.event_id}
