"""Rewrites files, so that no byte of what was erased is left in them: the database's, indexes', archives'."""

from __future__ import annotations

from collections.abc import Mapping

from admin.jobs import Job, Jobs
from admin.storage import scrubbing
from homeserver.core.operators import Permission
from homeserver.ports import ContentKeeper
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator

KIND = "scrub"


class Scrubbing:
    """Begins such jobs, and does them."""

    def __init__(self, db: Database, jobs: Jobs, keepers: Mapping[str, ContentKeeper]) -> None:
        self._db = db
        self._jobs = jobs
        self._keepers = keepers
        jobs.provide(KIND, self._scrub)

    async def begin(self, *, by: Operator) -> str:
        """The id of a job. While it rewrites a table, requests that need it wait: do it when few are about."""
        by.check(Permission.CHANGE_SERVER)
        return await self._jobs.begin(KIND, "storage", {}, by=by, action="server.scrub")

    async def _scrub(self, job: Job) -> None:
        done = job.progress
        places: list[str] = done.setdefault("places", [])
        tables: list[str] = done.setdefault("tables", [])
        for name, keeper in self._keepers.items():
            if name not in places:
                await keeper.scrub()
                places.append(name)
                await job.note()
        for table in scrubbing.TABLES:
            if table in tables:
                continue
            before = await scrubbing.size(self._db, table)
            if before:
                await scrubbing.rewrite(self._db, table)
                freed = before - await scrubbing.size(self._db, table)
                done["freed_bytes"] = done.get("freed_bytes", 0) + max(0, freed)
            tables.append(table)
            done["of"] = len(scrubbing.TABLES)
            await job.note()
        # Whoever runs PostgreSQL apart from us decides for how long its log is kept.
        done["log"] = "cleared" if await scrubbing.may_clear_log(self._db) else "kept by the database"
        if done["log"] == "cleared":
            await scrubbing.clear_log(self._db)
