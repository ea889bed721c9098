"""Jobs: ours in full, and as `/_synapse/admin/v1/scheduled_tasks` and `/background_updates` have them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import orjson

from admin.jobs import PAGE_MAX, Jobs
from admin.room_overviews import REBUILD
from admin.storage.jobs import JobFilter, JobRow
from homeserver.core.errors import InvalidParam
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_V1 = "/_synapse/admin/v1"
_JOBS = "/_hansa/admin/v1/jobs"
# What tools know the job under that makes the overview of rooms anew.
_STATISTICS = "populate_stats_process_rooms"

State = Literal["scheduled", "active", "complete", "failed", "cancelled"]


class JobsQuery(msgspec.Struct, frozen=True):
    kind: str | None = None
    target: str | None = None
    state: State | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100


class TasksQuery(msgspec.Struct, frozen=True):
    action_name: str | None = None
    resource_id: str | None = None
    job_status: State | None = None
    max_timestamp: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


class EnabledBody(msgspec.Struct, frozen=True):
    enabled: bool


class StartBody(msgspec.Struct, frozen=True):
    job_name: str


class JobEndpoints:
    """What goes on in the background."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    @endpoint("GET", _JOBS, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_JOBS)
    async def list_jobs(self, query: JobsQuery) -> Json:
        wanted = JobFilter(kind=query.kind, target=query.target, state=query.state)
        return {"jobs": [as_json(row) for row in await self._jobs.page(wanted, query.limit)]}

    @endpoint("GET", _JOBS + "/{job_id}", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_JOBS)
    async def one(self, job_id: str) -> Json:
        return as_json(await self._jobs.one(job_id))

    @endpoint(
        "POST",
        _JOBS + "/{job_id}/cancel",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_JOBS,
    )
    async def cancel(self, operator: Operator, job_id: str) -> Json:
        await self._jobs.cancel(job_id, by=operator)
        return {}

    @endpoint(
        "GET", _V1 + "/scheduled_tasks", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_JOBS
    )
    async def scheduled_tasks(self, query: TasksQuery) -> Json:
        wanted = JobFilter(
            kind=query.action_name, target=query.resource_id, state=query.job_status, until_ts=query.max_timestamp
        )
        return {
            "scheduled_tasks": [
                {
                    "id": row.job_id,
                    "action": row.kind,
                    "status": row.state,
                    "timestamp_ms": row.created_ts,
                    "resource_id": row.target,
                    "result": orjson.loads(row.progress),
                    "error": row.error,
                }
                for row in await self._jobs.page(wanted)
            ]
        }

    @endpoint(
        "GET",
        _V1 + "/background_updates/enabled",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_JOBS,
    )
    async def is_enabled(self) -> Json:
        return {"enabled": await self._jobs.is_enabled()}

    @endpoint(
        "POST",
        _V1 + "/background_updates/enabled",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_JOBS,
    )
    async def set_enabled(self, operator: Operator, body: EnabledBody) -> Json:
        await self._jobs.set_enabled(body.enabled, by=operator)
        return {"enabled": body.enabled}

    @endpoint(
        "GET",
        _V1 + "/background_updates/status",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_JOBS,
    )
    async def status(self) -> Json:
        under_way = await self._jobs.page(JobFilter(kind=REBUILD, state="active"))
        updates = {
            row.kind: {
                "name": row.kind,
                "total_item_count": orjson.loads(row.progress).get("rooms", 0),
                "total_duration_ms": float(max(0, row.changed_ts - row.created_ts)),
                "average_items_per_ms": orjson.loads(row.progress).get("rooms", 0)
                / max(1, row.changed_ts - row.created_ts),
            }
            for row in under_way
        }
        return {"enabled": await self._jobs.is_enabled(), "current_updates": {"master": updates} if updates else {}}

    @endpoint(
        "POST",
        _V1 + "/background_updates/start_job",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_JOBS,
    )
    async def start_job(self, operator: Operator, body: StartBody) -> Json:
        if body.job_name != _STATISTICS:
            raise InvalidParam("Invalid job_name", errcode="M_UNKNOWN")
        if await self._jobs.page(JobFilter(kind=REBUILD, state="active")):
            raise InvalidParam(f"Job {body.job_name} is already in queue of background updates.", errcode="M_UNKNOWN")
        await self._jobs.begin(REBUILD, "rooms", {}, by=operator, action="server.rebuild")
        return {}


def as_json(row: JobRow) -> dict[str, Any]:
    """A job as pages and tools of ours have it."""
    return {
        "id": row.job_id,
        "kind": row.kind,
        "target": row.target,
        "arguments": orjson.loads(row.arguments),
        "state": row.state,
        "progress": orjson.loads(row.progress),
        "error": row.error,
        "started_by": row.started_by,
        "created_ts": row.created_ts,
        "changed_ts": row.changed_ts,
        "tries": row.tries,
    }
