"""Other servers: which are reached, which are left alone until when, and why."""

from __future__ import annotations

from admin.console.desk import Desk, Visit
from admin.console.page import page
from admin.storage import console_reads
from admin.storage.console_reads import Shown
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
        state, after = visit.asked("state") or "troubled", visit.asked("after")

        async def fetch(limit: int) -> list[Shown]:
            return await console_reads.servers(self._db, after, limit, only_troubled=state != "all")

        values = {"state": state, "states": STATES}
        return await self.desk.listing(
            visit, "servers", _COLUMNS, fetch, values, template="federation", more="server_name"
        )
