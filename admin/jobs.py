"""Long work that operators begin: it goes on in the background, is taken up again after a restart, and can be stopped.

Work must bear being begun twice: what it has done stands in its progress, or is found done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from admin.audit import AuditLog, entry_of
from admin.audit_actions import Action
from admin.storage import jobs
from admin.storage.jobs import JobFilter, JobRow
from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.operators import Permission
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.runtime.tasks import Tasks
from homeserver.storage.database import Database, Tx
from homeserver.web.endpoint import Operator

log = structlog.get_logger()

WORKERS = 2
TRIES_MAX = 5
PAGE_MAX = 500
ERROR_CHARS_MAX = 500
_SWITCH = "jobs"
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Job:
    """A job as whoever does it gets it. `arguments` and `progress` were decoded."""

    job_id: str
    kind: str
    target: str
    started_by: str
    arguments: Mapping[str, Any]
    progress: dict[str, Any]
    note: Callable[[], Awaitable[None]]  # keeps `progress` as it is now


Work = Callable[[Job], Awaitable[None]]


async def _nothing(tx: Tx) -> None:
    return None


class Jobs:
    """Begins jobs, does them a few at a time, says how they are."""

    def __init__(self, db: Database, audit: AuditLog, tasks: Tasks, clock: Clock, randomness: Randomness) -> None:
        self._db = db
        self._audit = audit
        self._tasks = tasks
        self._clock = clock
        self._randomness = randomness
        self._works: dict[str, Work] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._claiming = asyncio.Lock()

    def provide(self, kind: str, work: Work) -> None:
        """Says who does jobs of a kind: until then they wait."""
        self._works[kind] = work
        self._wake.set()

    async def start(self) -> None:
        """Takes up what a restart cut short, and begins to work."""
        async with self._db.transaction() as tx:
            await jobs.take_up(tx, TRIES_MAX, "begun too often without coming to an end", self._clock.now_ms())
        for number in range(WORKERS):
            self._tasks.forever(self._work, name=f"admin_jobs_{number}")

    async def begin(
        self,
        kind: str,
        target: str,
        arguments: Mapping[str, Any],
        *,
        by: Operator,
        action: Action,
        reason: str | None = None,
        also: Callable[[Tx], Awaitable[None]] = _nothing,
    ) -> str:
        """The id of a new job. `also` happens in the same transaction, as does the audit entry of `action`."""
        row = JobRow(
            job_id=self._randomness.letters(16),
            kind=kind,
            target=target,
            arguments=orjson.dumps(dict(arguments)).decode(),
            state="scheduled",
            progress="{}",
            error=None,
            started_by=by.user_id,
            created_ts=self._clock.now_ms(),
            changed_ts=0,
            tries=0,
        )
        async with self._db.transaction() as tx:
            await jobs.insert(tx, row)
            await also(tx)
            after = {"job": row.job_id, **arguments}
            await self._audit.record(tx, entry_of(by, action, target, reason=reason, after=after))
        self._wake.set()
        return row.job_id

    async def one(self, job_id: str) -> JobRow:
        """Raises NotFound."""
        row = await jobs.one(self._db, job_id)
        if row is None:
            raise NotFound("there is no such job")
        return row

    async def ended(self, job_id: str) -> JobRow:
        """The job, once it has ended. Raises NotFound."""
        while (row := await self.one(job_id)).state in ("scheduled", "active"):
            await self._clock.sleep(_LOOK_S)
        return row

    async def page(self, wanted: JobFilter, limit: int = PAGE_MAX) -> list[JobRow]:
        """The newest first; at most `PAGE_MAX`."""
        return await jobs.page(self._db, wanted, min(max(limit, 1), PAGE_MAX))

    async def cancel(self, job_id: str, *, by: Operator) -> None:
        """Stops a job where it is. Raises NotFound, MatrixError for one that has ended."""
        by.check(Permission.CHANGE_JOBS)
        row = await self.one(job_id)
        async with self._db.transaction() as tx:
            if not await jobs.end(tx, job_id, "cancelled", None, None, self._clock.now_ms()):
                raise MatrixError("this job has ended")
            await self._audit.record(tx, entry_of(by, "job.cancel", job_id, before={"kind": row.kind}))
        task = self._running.get(job_id)
        if task is not None:
            task.cancel()

    async def is_enabled(self) -> bool:
        """Whether waiting jobs are begun."""
        return await jobs.is_on(self._db, _SWITCH)

    async def set_enabled(self, is_enabled: bool, *, by: Operator) -> None:
        """Lets waiting jobs be begun, or wait; those under way go on."""
        by.check(Permission.CHANGE_JOBS)
        async with self._db.transaction() as tx:
            before = await jobs.is_on(tx, _SWITCH)
            await jobs.switch(tx, _SWITCH, is_enabled)
            was, now = {"enabled": before}, {"enabled": is_enabled}
            await self._audit.record(tx, entry_of(by, "job.enabled", "jobs", before=was, after=now))
        self._wake.set()

    async def _work(self) -> None:
        """Does the next job, or waits for one."""
        self._wake.clear()
        row = None
        if await self.is_enabled():
            async with self._claiming, self._db.transaction() as tx:
                row = await jobs.claim(tx, self._works, self._clock.now_ms())
        if row is None:
            await self._wake.wait()
            return
        task = asyncio.ensure_future(self._do(row))
        self._running[row.job_id] = task
        try:
            # Not `await task`: who cancels the job, and who stops the server, may do it in the same moment.
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()  # the server stops: the job stays active, and is taken up again
            raise
        finally:
            self._running.pop(row.job_id, None)
            self._wake.set()
        if task.cancelled():
            log.info("job_cancelled", job=row.job_id, kind=row.kind)
        else:
            task.result()

    async def _do(self, row: JobRow) -> None:
        progress: dict[str, Any] = orjson.loads(row.progress)

        async def note() -> None:
            async with self._db.transaction() as tx:
                await jobs.set_progress(tx, row.job_id, orjson.dumps(progress).decode(), self._clock.now_ms())

        job = Job(row.job_id, row.kind, row.target, row.started_by, orjson.loads(row.arguments), progress, note)
        state, error = "complete", None
        try:
            await self._works[row.kind](job)
        except MatrixError as refusal:
            state, error = "failed", refusal.message[:ERROR_CHARS_MAX]
        except Exception:
            log.exception("job_failed", job=row.job_id, kind=row.kind)
            state, error = "failed", "an error of the server's own: see its log"
        done = orjson.dumps(progress).decode()
        async with self._db.transaction() as tx:
            await jobs.end(tx, row.job_id, state, error, done, self._clock.now_ms())
        log.info("job_ended", job=row.job_id, kind=row.kind, state=state)
