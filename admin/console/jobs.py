"""Long work in the background: how far it is, what became of it, and stopping it."""

from __future__ import annotations

import json

from admin.console.desk import Desk, Visit
from admin.console.page import page
from admin.console.texts_jobs import shown
from admin.jobs import Jobs
from admin.storage import console_reads
from admin.storage.console_reads import Shown
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/jobs"
_NEWEST = 2**62
_COLUMNS = ("job_id", "kind", "target", "state", "progress", "error", "started_by", "created_ts", "changed_ts")
STATES = ("all", "scheduled", "active", "complete", "failed", "cancelled")


class JobPages:
    """/admin/jobs."""

    def __init__(self, desk: Desk, db: Database, jobs: Jobs) -> None:
        self.desk = desk
        self._db = db
        self._jobs = jobs

    @page("GET", _PATH, needs=Permission.READ_JOBS, reach=Reach.SERVER)
    async def jobs(self, visit: Visit) -> Answer:
        about, state = visit.asked("q"), visit.asked("state") or "all"
        below = visit.number("below") or _NEWEST, visit.asked("below_id") or chr(0x10FFFF)

        async def fetch(limit: int) -> list[Shown]:
            rows = await console_reads.jobs(self._db, below, about, state, limit)
            return [{**row, "shown": shown(json.loads(row["progress"]))} for row in rows]

        values = {"q": about, "state": state, "states": STATES}
        return await self.desk.listing(visit, "jobs", _COLUMNS, fetch, values)

    @page("POST", "/admin/jobs/{job_id}/cancel", needs=Permission.CHANGE_JOBS, reach=Reach.SERVER)
    async def cancel(self, visit: Visit, job_id: str) -> Answer:
        await self._jobs.cancel(job_id, by=visit.operator)
        return self.desk.go(f"{_PATH}?done=cancel")
