"""What the server has to say to one of its users."""

from __future__ import annotations

from admin.audit import AuditLog, entry_of
from admin.console.desk import Desk, Visit
from admin.console.page import page
from homeserver.accounts.server_notices import ServerNotices
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import parse_user_id
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/notices"
_TEXT_CHARS_MAX = 10_000


class NoticePages:
    """/admin/notices."""

    def __init__(self, desk: Desk, db: Database, audit: AuditLog, notices: ServerNotices) -> None:
        self.desk = desk
        self._db = db
        self._audit = audit
        self._notices = notices

    @page("GET", _PATH, needs=Permission.SEND_NOTICES, reach=Reach.SERVER)
    async def form(self, visit: Visit) -> Answer:
        return self.desk.page(visit, "notices", {"to": visit.asked("to"), "sender": self._notices.sender})

    @page("POST", _PATH, needs=Permission.SEND_NOTICES, reach=Reach.SERVER)
    async def send(self, visit: Visit) -> Answer:
        """The audit entry comes first: a notice that was sent is never without one."""
        user_id, text = parse_user_id(visit.fields.get("to", "").strip()), visit.fields.get("text", "").strip()
        if not text or len(text) > _TEXT_CHARS_MAX:
            raise InvalidParam(f"a notice has 1 to {_TEXT_CHARS_MAX} characters")
        async with self._db.transaction() as tx:
            await self._audit.record(tx, entry_of(visit.operator, "notice.send", user_id, after={"text": text}))
        await self._notices.send(user_id, {"msgtype": "m.text", "body": text})
        return self.desk.go(f"{_PATH}?done=notice")
