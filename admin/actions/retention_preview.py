"""What retention would delete, before it does: by the rules in force, or by others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from admin.jobs import Job, Jobs
from admin.storage import retention_preview
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import RoomId, is_room_id
from homeserver.core.operators import Permission
from homeserver.rooms.retention import RetentionTimes
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator

KIND = "retention_preview"
ROOMS_AT_ONCE = 50
LARGEST = 50

Report = Callable[[int, int], Awaitable[None]]


async def preview(
    db: Database,
    times: RetentionTimes,
    now_ms: int,
    room_id: str | None,
    found: dict[str, Any],
    report: Report,
    *,
    wish_ms: int | None = None,
) -> None:
    """Adds up into `found`: rooms, events, bytes, files, oldest_ts, and the `largest` rooms. Changes nothing.

    `wish_ms` is taken for the room's own wish.

    Raises InvalidParam, NotFound.
    """
    if room_id is not None and not is_room_id(room_id):
        raise InvalidParam("this is no id of a room")
    total = await retention_preview.count_rooms(db, room_id)
    if room_id is not None and not total:
        raise NotFound("this room isn't known here")
    found.update(rooms=0, events=0, bytes=0, files=0, oldest_ts=None, largest=[])
    after = done = 0
    while rooms := await retention_preview.rooms(db, after, room_id, ROOMS_AT_ONCE):
        after, done = rooms[-1].room_nid, done + len(rooms)
        lifetimes = {room.room_nid: times.of(room.retention_ms if wish_ms is None else wish_ms) for room in rooms}
        ids = {room.room_nid: room.room_id for room in rooms}
        before = {nid: now_ms - lifetime for nid, lifetime in lifetimes.items() if lifetime}
        for one in await retention_preview.expires(db, before) if before else []:
            _add(found, ids[one.room_nid], one, lifetimes[one.room_nid])
        await report(done, total)


def _add(found: dict[str, Any], room_id: RoomId, one: retention_preview.Expires, lifetime_ms: int) -> None:
    found["rooms"] += 1
    found["events"] += one.events
    found["bytes"] += one.bytes
    found["files"] += one.files
    found["oldest_ts"] = min(one.oldest_ts, found["oldest_ts"] or one.oldest_ts)
    room = {
        "room_id": room_id,
        "events": one.events,
        "bytes": one.bytes,
        "files": one.files,
        "oldest_ts": one.oldest_ts,
        "lifetime_ms": lifetime_ms,
    }
    found["largest"] = sorted([*found["largest"], room], key=lambda other: -other["events"])[:LARGEST]


class RetentionPreview:
    """Begins such jobs, and does them."""

    def __init__(self, db: Database, jobs: Jobs, clock: Clock, in_force: RetentionTimes) -> None:
        self._db = db
        self._jobs = jobs
        self._clock = clock
        self.in_force = in_force
        jobs.provide(KIND, self._count)

    async def begin(
        self,
        *,
        room_id: str | None,
        wish_s: int | None = None,
        default_s: int | None = None,
        least_s: int | None = None,
        most_s: int | None = None,
        by: Operator,
    ) -> str:
        """The id of a job, whose progress has what would go. What isn't given is as it is in force."""
        by.check(Permission.CHANGE_SERVER)
        if room_id is not None and not is_room_id(room_id):
            raise InvalidParam("this is no id of a room")
        arguments = {
            "room_id": room_id,
            "wish": None if wish_s is None else wish_s * 1000,
            "default": self.in_force.default if default_s is None else default_s * 1000,
            "least": self.in_force.least if least_s is None else least_s * 1000,
            "most": self.in_force.most if most_s is None else most_s * 1000,
        }
        return await self._jobs.begin(
            KIND, f"retention {room_id or ''}".strip(), arguments, by=by, action="server.retention_preview"
        )

    async def _count(self, job: Job) -> None:
        wish, progress = job.arguments, job.progress
        times = RetentionTimes(default=wish["default"], least=wish["least"], most=wish["most"])

        async def report(done: int, total: int) -> None:
            progress.update(done=done, of=max(done, total))
            await job.note()

        await preview(
            self._db, times, self._clock.now_ms(), wish["room_id"], progress, report, wish_ms=wish.get("wish")
        )
