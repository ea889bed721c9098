"""Jobs: one at a time on a target, taken up again after a restart, stopped when told so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from admin.audit import AuditLog
from admin.jobs import TRIES_MAX, Job, Jobs
from admin.storage.jobs import JobFilter
from homeserver.core.errors import Forbidden, MatrixError
from homeserver.core.identifiers import UserId
from homeserver.core.operators import Role
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.ids import SystemRandomness
from homeserver.runtime.tasks import Tasks
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator
from tests.kit.until import a_moment, until

OWNER = Operator(user_id=UserId("@owner:hansa.test"), role=Role.OWNER)
AUDITOR = Operator(user_id=UserId("@auditor:hansa.test"), role=Role.AUDITOR)


class Process:
    """A server process, as far as jobs go. `stop` ends it as a restart does."""

    def __init__(self, db: Database) -> None:
        clock = SystemClock()
        self._tasks = Tasks(clock)
        self.jobs = Jobs(db, AuditLog(clock), self._tasks, clock, SystemRandomness())

    async def stop(self) -> None:
        await self._tasks.stop()


async def begin(jobs: Jobs, target: str = "a", **arguments: Any) -> str:
    return await jobs.begin("work", target, arguments, by=OWNER, action="server.rebuild")


def has_state(jobs: Jobs, job_id: str, state: str) -> Callable[[], Any]:
    async def is_so() -> bool:
        return (await jobs.one(job_id)).state == state

    return is_so


async def test_a_restart_takes_up_what_was_under_way(database: Database) -> None:
    """T-H: where it was, and never with what it had done forgotten."""
    seen: list[int] = []

    async def counts(job: Job) -> None:
        for number in range(int(job.progress.get("done", 0)), 3):
            seen.append(number)
            job.progress["done"] = number + 1
            await job.note()
            if len(seen) == 2:
                await asyncio.Event().wait()

    first = Process(database)
    first.jobs.provide("work", counts)
    await first.jobs.start()
    job_id = await begin(first.jobs)
    await until(lambda: _true(len(seen) == 2))
    await first.stop()
    assert (await first.jobs.one(job_id)).state == "active"
    second = Process(database)
    second.jobs.provide("work", counts)
    await second.jobs.start()
    await until(has_state(second.jobs, job_id, "complete"))
    assert seen == [0, 1, 2]
    await second.stop()


async def test_a_server_stops_while_a_job_is_cancelled(database: Database) -> None:
    """T-H: the one isn't taken for the other, which would leave the server waiting for jobs for ever."""

    async def waits(job: Job) -> None:
        await asyncio.Event().wait()

    process = Process(database)
    process.jobs.provide("work", waits)
    await process.jobs.start()
    job_id = await begin(process.jobs)
    await until(has_state(process.jobs, job_id, "active"))
    await process.jobs.cancel(job_id, by=OWNER)
    async with asyncio.timeout(30):
        await process.stop()
    assert (await process.jobs.one(job_id)).state == "cancelled"


async def test_what_never_ends_is_given_up(database: Database) -> None:
    """T-H: a job that takes the process down isn't begun for ever."""

    async def hangs(job: Job) -> None:
        await asyncio.Event().wait()

    job_id = ""
    for _ in range(TRIES_MAX):
        process = Process(database)
        process.jobs.provide("work", hangs)
        await process.jobs.start()
        job_id = job_id or await begin(process.jobs)
        await until(has_state(process.jobs, job_id, "active"))
        await a_moment()
        await process.stop()
    last = Process(database)
    await last.jobs.start()
    row = await last.jobs.one(job_id)
    assert (row.state, row.tries) == ("failed", TRIES_MAX)
    await last.stop()


async def test_a_job_is_stopped_and_the_next_begins(database: Database) -> None:
    process, running = Process(database), set[str]()

    async def waits(job: Job) -> None:
        running.add(job.job_id)
        try:
            await asyncio.Event().wait()
        finally:
            running.discard(job.job_id)

    process.jobs.provide("work", waits)
    await process.jobs.start()
    first, second, other = [await begin(process.jobs, target) for target in ("a", "a", "b")]
    await until(lambda: _true(running == {first, other}))
    assert (await process.jobs.one(second)).state == "scheduled"
    with pytest.raises(Forbidden):
        await process.jobs.cancel(first, by=AUDITOR)
    await process.jobs.cancel(first, by=OWNER)
    await until(lambda: _true(running == {second, other}))
    assert (await process.jobs.one(first)).state == "cancelled"
    with pytest.raises(MatrixError):
        await process.jobs.cancel(first, by=OWNER)
    await process.stop()


async def test_a_failure_is_told_and_nothing_of_its_inside(database: Database) -> None:
    process = Process(database)

    async def fails(job: Job) -> None:
        if job.arguments["how"] == "refused":
            raise MatrixError("the room is full")
        raise ValueError("a secret")

    process.jobs.provide("work", fails)
    await process.jobs.start()
    refused, broken = await begin(process.jobs, how="refused"), await begin(process.jobs, how="broken")
    await until(has_state(process.jobs, broken, "failed"))
    await until(has_state(process.jobs, refused, "failed"))
    assert (await process.jobs.one(refused)).error == "the room is full"
    assert "secret" not in str((await process.jobs.one(broken)).error)
    assert len(await process.jobs.page(JobFilter(state="failed"))) == 2
    await process.stop()


async def _true(value: bool) -> bool:
    return value
