"""Legal holds: who and what is held, holding more, releasing."""

from __future__ import annotations

from admin.actions.legal_holds import LegalHolds
from admin.console.acting import proven, reason_of
from admin.console.desk import Desk, Visit
from admin.console.page import page
from admin.storage import evidence_reads
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/holds"
_NEWEST = 2**62
_COLUMNS = ("hold_id", "kind", "target", "reason", "set_by", "set_ts", "released_by", "released_ts")
_STATES = ("held", "released", "all")


class HoldPages:
    """/admin/holds."""

    def __init__(self, desk: Desk, db: Database, holds: LegalHolds) -> None:
        self.desk = desk
        self._db = db
        self._holds = holds

    @page("GET", _PATH, needs=Permission.READ_HOLDS, reach=Reach.SERVER)
    async def holds(self, visit: Visit) -> Answer:
        about, state = visit.asked("q"), visit.asked("state") or "held"
        below = visit.number("below") or _NEWEST, visit.asked("below_id") or chr(0x10FFFF)

        async def fetch(limit: int) -> list[Shown]:
            return [dict(row) for row in await evidence_reads.holds(self._db, below, about, state, limit)]

        values = {"q": about, "state": state, "states": _STATES, "target": visit.asked("target")}
        return await self.desk.listing(visit, "holds", _COLUMNS, fetch, values)

    @page("POST", _PATH, needs=Permission.CHANGE_HOLDS, reach=Reach.SERVER)
    async def place(self, visit: Visit) -> Answer:
        """Holds a user or a room, by which its id says it is."""
        target, reason = visit.fields.get("target", "").strip(), reason_of(visit)
        if not target.startswith(("@", "!")):
            raise InvalidParam("a hold is of a user (@name:server) or of a room (!id)")
        await self._holds.set("user" if target.startswith("@") else "room", target, reason, by=visit.operator)
        return self.desk.go(f"{_PATH}?done=held")

    @page("POST", _PATH + "/{hold_id}/release", needs=Permission.CHANGE_HOLDS, reach=Reach.SERVER)
    async def release(self, visit: Visit, hold_id: str) -> Answer:
        """What is due goes soon afterwards, for good: so it wants the password again."""
        reason = reason_of(visit)
        await self._holds.release(hold_id, reason, by=await proven(self.desk, visit))
        return self.desk.go(f"{_PATH}?done=released")
