"""Files of this server's users."""

from __future__ import annotations

from admin.console.desk import Desk, Visit
from admin.console.page import page
from admin.storage import console_reads
from admin.storage.console_reads import Shown
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
        about, state = visit.asked("q"), visit.asked("state") or "all"
        below = visit.number("below") or _NEWEST, visit.asked("below_id") or chr(0x10FFFF)

        async def fetch(limit: int) -> list[Shown]:
            return await console_reads.media(self._db, below, about, state, limit)

        values = {"q": about, "state": state, "states": STATES}
        return await self.desk.listing(visit, "media", _COLUMNS, fetch, values)
