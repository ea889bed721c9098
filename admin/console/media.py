"""Files of this server's users."""

from __future__ import annotations

from admin.console.desk import ROWS, Desk, Visit
from admin.console.export import export, limit_of
from admin.console.page import page
from admin.storage import console_reads
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer

_NEWEST = 2**62
_COLUMNS = (
    "media_id",
    "user_id",
    "created_ts",
    "size_bytes",
    "content_type",
    "file_name",
    "digest",
    "is_quarantined",
)
STATES = ("all", "quarantined")


class MediaPages:
    """/admin/media."""

    def __init__(self, desk: Desk, db: Database) -> None:
        self.desk = desk
        self._db = db

    @page("GET", "/admin/media", needs=Permission.READ_MEDIA)
    async def media(self, visit: Visit) -> Answer:
        about, state, format = visit.asked("q"), visit.asked("state") or "all", visit.asked("format")
        limit = limit_of(format, ROWS + 1)
        below = visit.number("below") or _NEWEST, visit.asked("below_id") or chr(0x10FFFF)
        rows = await console_reads.media(self._db, below, about, state, limit)
        if limit > ROWS + 1:
            return export("media", _COLUMNS, rows, format)
        last = rows[ROWS - 1] if len(rows) > ROWS else None
        values = {"rows": rows[:ROWS], "last": last}
        return self.desk.page(visit, "media", {**values, "q": about, "state": state, "states": STATES})
