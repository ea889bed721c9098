"""Accounts: found, looked at, acted upon."""

from __future__ import annotations

from admin.console.desk import ROWS, Desk, Visit
from admin.console.export import export, limit_of
from admin.console.page import page
from admin.storage import console_reads
from homeserver.core.errors import NotFound
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer

STATES = ("all", "active", "suspended", "locked", "deactivated", "guests", "operators")
_COLUMNS = (
    "user_id",
    "display_name",
    "role",
    "created_ts",
    "last_seen_ts",
    "is_guest",
    "is_suspended",
    "is_locked",
    "is_deactivated",
)


class UserPages:
    """/admin/users."""

    def __init__(self, desk: Desk, db: Database) -> None:
        self.desk = desk
        self._db = db

    @page("GET", "/admin/users", needs=Permission.READ_USERS)
    async def users(self, visit: Visit) -> Answer:
        start, state, format = visit.asked("q"), visit.asked("state") or "all", visit.asked("format")
        limit = limit_of(format, ROWS + 1)
        rows = await console_reads.users(self._db, visit.asked("after"), start, state, limit)
        if limit > ROWS + 1:
            return export("users", _COLUMNS, rows, format)
        values = {"rows": rows[:ROWS], "more": rows[ROWS - 1]["user_id"] if len(rows) > ROWS else None}
        return self.desk.page(visit, "users", {**values, "q": start, "state": state, "states": STATES})

    @page("GET", "/admin/users/{user_id}", needs=Permission.READ_USERS)
    async def user(self, visit: Visit, user_id: str) -> Answer:
        found = await console_reads.user(self._db, user_id)
        if found is None:
            raise NotFound("there is no such account here")
        values = {
            "user": found,
            "devices": await console_reads.devices(self._db, user_id),
            "rooms": await console_reads.rooms_of(self._db, user_id),
            "reports": await console_reads.reports_about(self._db, user_id),
        }
        return self.desk.page(visit, "user", values)
