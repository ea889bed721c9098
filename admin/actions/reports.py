"""Reports looked at and put away."""

from __future__ import annotations

from typing import Literal

from admin.audit import AuditLog, entry_of
from admin.storage import reports
from admin.storage.reports import ReportFilter, ReportRow
from homeserver.core.errors import NotFound
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator

Kind = Literal["event", "user", "room"]


class Reports:
    """What users reported."""

    def __init__(self, db: Database, audit: AuditLog) -> None:
        self._db = db
        self._audit = audit

    async def page(self, wanted: ReportFilter, limit: int, offset: int) -> tuple[list[ReportRow], int]:
        """One page, and how many match in all."""
        return await reports.page(self._db, wanted, limit, offset)

    async def one(self, report_id: int, kind: Kind, *, by: Operator) -> ReportRow:
        """Raises NotFound, for what isn't in the operator's rooms too."""
        row = await reports.one(self._db, report_id, kind)
        if row is None or not by.has_room(row.room_id):
            raise NotFound(f"{kind.capitalize()} report not found")
        return row

    async def delete(self, report_id: int, kind: Kind, *, by: Operator, reason: str | None = None) -> None:
        """Raises NotFound."""
        by.check(Permission.HANDLE_REPORTS)
        async with self._db.transaction() as tx:
            target = await reports.delete(tx, report_id, kind, by.rooms)
            if target is None:
                raise NotFound(f"{kind.capitalize()} report not found")
            before = {"report": report_id, "kind": kind}
            await self._audit.record(tx, entry_of(by, "report.delete", target, reason=reason, before=before))
