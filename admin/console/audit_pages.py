"""The audit log: who did what, why, and what it was before."""

from __future__ import annotations

from admin.console.changes import changes
from admin.console.desk import Desk, Visit
from admin.console.page import page
from admin.storage import audit_log
from admin.storage.audit_log import AuditFilter
from admin.storage.console_reads import Shown
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_NEWEST = 2**63 - 1
_COLUMNS = ("entry_nid", "ts", "actor", "action", "target", "reason", "before", "after", "address", "request_id")


class AuditPages:
    """/admin/audit."""

    def __init__(self, desk: Desk, db: Database) -> None:
        self.desk = desk
        self._db = db

    @page("GET", "/admin/audit", needs=Permission.READ_AUDIT, reach=Reach.SERVER)
    async def entries(self, visit: Visit) -> Answer:
        actor, action, target = visit.asked("actor"), visit.asked("action"), visit.asked("target")
        wanted = AuditFilter(actor=actor or None, action=action or None, target=target or None)
        below = visit.number("below") or _NEWEST

        async def fetch(limit: int) -> list[Shown]:
            found = await audit_log.page(self._db, wanted, below, limit)
            return [{column: getattr(entry, column) for column in _COLUMNS} for entry in found]

        values = {"actor": actor, "action": action, "target": target, "changes": changes}
        return await self.desk.listing(visit, "audit", _COLUMNS, fetch, values, more="entry_nid")
