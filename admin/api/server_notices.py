"""Server notices as administrators' tools send them: `/_synapse/admin/v1/send_server_notice`."""

from __future__ import annotations

from typing import Any

import msgspec

from admin.audit import AuditLog, entry_of
from homeserver.accounts.server_notices import ServerNotices
from homeserver.core.identifiers import parse_user_id
from homeserver.core.operators import Permission
from homeserver.rooms.writer import Transaction
from homeserver.storage.database import Database
from homeserver.web.endpoint import Access, Caller, Json, Operator, Reach, endpoint

_PATH = "/_synapse/admin/v1/send_server_notice"


class NoticeBody(msgspec.Struct, frozen=True):
    user_id: str
    content: dict[str, Any]
    type: str = "m.room.message"
    state_key: str | None = None


class ServerNoticeEndpoints:
    """POST and PUT of a notice."""

    def __init__(self, db: Database, audit: AuditLog, notices: ServerNotices) -> None:
        self._db = db
        self._audit = audit
        self._notices = notices

    @endpoint("POST", _PATH, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.SEND_NOTICES)
    async def send(self, operator: Operator, body: NoticeBody) -> Json:
        return await self._send(operator, body, None)

    @endpoint(
        "PUT", _PATH + "/{txn_id}", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.SEND_NOTICES
    )
    async def send_once(self, caller: Caller, operator: Operator, txn_id: str, body: NoticeBody) -> Json:
        scope = f"server_notice {body.user_id}"
        return await self._send(operator, body, Transaction(caller.user_id, caller.device_id, txn_id, scope))

    async def _send(self, operator: Operator, body: NoticeBody, transaction: Transaction | None) -> Json:
        """The audit entry comes first: a notice that was sent is never without one."""
        user_id = parse_user_id(body.user_id)
        async with self._db.transaction() as tx:
            after = {"type": body.type, "content": body.content}
            await self._audit.record(tx, entry_of(operator, "notice.send", user_id, after=after))
        event = await self._notices.send(
            user_id, body.content, type=body.type, state_key=body.state_key, transaction=transaction
        )
        return {"event_id": event.event_id}
