"""Other servers: which are reached, which are left alone until when, and why."""

from __future__ import annotations

from admin.console.desk import ROWS, Desk, Visit
from admin.console.export import export, limit_of
from admin.console.page import page
from admin.storage import console_reads
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer

_COLUMNS = ("server_name", "failing_since_ms", "retry_at_ms", "failures", "reason")
STATES = ("troubled", "all")


class FederationPages:
    """/admin/federation."""

    def __init__(self, desk: Desk, db: Database) -> None:
        self.desk = desk
        self._db = db

    @page("GET", "/admin/federation", needs=Permission.READ_FEDERATION)
    async def servers(self, visit: Visit) -> Answer:
        state, format = visit.asked("state") or "troubled", visit.asked("format")
        limit, is_troubled = limit_of(format, ROWS + 1), state != "all"
        rows = await console_reads.servers(self._db, visit.asked("after"), limit, only_troubled=is_troubled)
        if limit > ROWS + 1:
            return export("servers", _COLUMNS, rows, format)
        values = {"rows": rows[:ROWS], "more": rows[ROWS - 1]["server_name"] if len(rows) > ROWS else None}
        return self.desk.page(visit, "federation", {**values, "state": state, "states": STATES})
