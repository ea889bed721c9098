"""The audit log: who did what, why, and what it was before."""

from __future__ import annotations

from admin.console.desk import ROWS, Desk, Visit
from admin.console.export import export, limit_of
from admin.console.page import page
from admin.storage import audit_log
from admin.storage.audit_log import AuditFilter
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer

_NEWEST = 2**63 - 1
_COLUMNS = ("entry_nid", "ts", "actor", "action", "target", "reason", "before", "after", "address", "request_id")


class AuditPages:
    """/admin/audit."""

    def __init__(self, desk: Desk, db: Database) -> None:
        self.desk = desk
        self._db = db

    @page("GET", "/admin/audit", needs=Permission.READ_AUDIT)
    async def entries(self, visit: Visit) -> Answer:
        actor, action, target = visit.asked("actor"), visit.asked("action"), visit.asked("target")
        wanted = AuditFilter(actor=actor or None, action=action or None, target=target or None)
        format, below = visit.asked("format"), visit.number("below") or _NEWEST
        limit = limit_of(format, ROWS + 1)
        found = await audit_log.page(self._db, wanted, below, limit)
        rows = [{column: getattr(entry, column) for column in _COLUMNS} for entry in found]
        if limit > ROWS + 1:
            return export("audit", _COLUMNS, rows, format)
        values = {"rows": rows[:ROWS], "more": rows[ROWS - 1]["entry_nid"] if len(rows) > ROWS else None}
        return self.desk.page(visit, "audit", {**values, "actor": actor, "action": action, "target": target})
