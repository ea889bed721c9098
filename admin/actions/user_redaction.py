"""Redacting all that a user said, as a job: by their own hand where they are of this server, else by the operator's.

Ordinary redactions, which other servers hear of. Beginning again finds what is redacted already, and goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from admin.actions.operators import OperatorRoles
from admin.jobs import Job, Jobs
from admin.storage import sent_events
from admin.storage.jobs import JobRow
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError, NotFound
from homeserver.core.events import Draft
from homeserver.core.identifiers import EventId, RoomId, UserId, domain_of
from homeserver.core.operators import Permission
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.writer import RoomWriter
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator

KIND = "redact_user"
LIMIT_DEFAULT = 1_000
ROOMS_MAX = 10_000
# What couldn't be redacted is told of, up to so many events.
FAILURES_TOLD_MAX = 1_000
_PAGE = 2_000
_AT_ONCE = 50
_NEWEST = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionTools:
    """What redactions are made with: the writer itself, past limits and rules that are for users."""

    db: Database
    clock: Clock
    rooms: Rooms
    events: EventStore
    writer: RoomWriter


class UserRedaction:
    """Begins such jobs, and does them."""

    def __init__(self, jobs: Jobs, roles: OperatorRoles, tools: RedactionTools) -> None:
        self._jobs = jobs
        self._roles = roles
        self._tools = tools
        jobs.provide(KIND, self._redact)

    async def begin(
        self,
        user_id: UserId,
        room_ids: Sequence[RoomId],
        *,
        limit: int,
        by_operator: bool,
        reason: str | None,
        by: Operator,
    ) -> str:
        """The id of the job. No rooms: all that the user is or was in; `limit` is of events in each room.

        Raises Forbidden, InvalidParam; MatrixError where one for this user is under way.
        """
        by.check(Permission.MODERATE_USERS)
        if user_id != by.user_id:
            await self._roles.check_may_act_on(by, user_id)
        if limit <= 0:
            raise InvalidParam("limit must be a positive integer")
        for room_id in room_ids:
            by.check_room(room_id)
        if not room_ids and by.rooms is not None:  # all that the operator may act on
            room_ids = sorted(RoomId(room_id) for room_id in by.rooms)
            if not room_ids:
                raise Forbidden("your role is bound to no rooms")
        if len(room_ids) > ROOMS_MAX:
            raise InvalidParam(f"at most {ROOMS_MAX} rooms at once")
        arguments = {"rooms": list(room_ids), "limit": limit, "use_admin": by_operator, "reason": reason}
        return await self._jobs.begin(KIND, user_id, arguments, by=by, action="user.redact", reason=reason)

    async def one(self, job_id: str, *, by: Operator) -> JobRow:
        """Raises NotFound for a job that isn't one of these, too; bound to rooms, one sees one's own."""
        row = await self._jobs.one(job_id)
        if row.kind != KIND or (by.rooms is not None and row.started_by != by.user_id):
            raise NotFound("there is no such redaction")
        return row

    async def _redact(self, job: Job) -> None:
        user_id, done = UserId(job.target), job.progress
        finished = set(done.setdefault("rooms_done", []))
        wanted = [RoomId(room_id) for room_id in job.arguments["rooms"]]
        if not wanted:
            wanted = sorted(room.room_id for room in await self._tools.rooms.rooms_of(user_id))
        for room_id in wanted:
            if room_id in finished:
                continue
            room = await self._tools.rooms.get(room_id)
            if room is not None:
                await self._redact_in(job, room, user_id)
            done["rooms_done"].append(room_id)
            await job.note()

    async def _redact_in(self, job: Job, room: Room, user_id: UserId) -> None:
        wish, done = job.arguments, job.progress
        failed: dict[str, str] = done.setdefault("failed_redactions", {})
        local = domain_of(user_id) == domain_of(UserId(job.started_by))
        uses_own = local and not wish["use_admin"] and room.membership(user_id) == "join"
        redactor = user_id if uses_own else UserId(job.started_by)
        left = int(wish["limit"])
        place: int | None = _NEWEST
        while place is not None and left > 0:
            place, event_ids = await sent_events.page(self._tools.db, room.nid, user_id, place, _PAGE)
            chosen = event_ids[:left]
            left -= len(chosen)
            for start in range(0, len(chosen), _AT_ONCE):
                some = chosen[start : start + _AT_ONCE]
                outcomes = await asyncio.gather(*(self._one(room, redactor, one, wish["reason"]) for one in some))
                for event_id, problem in zip(some, outcomes, strict=True):
                    if problem is not None and len(failed) < FAILURES_TOLD_MAX:
                        failed[event_id] = problem
                await job.note()

    async def _one(self, room: Room, redactor: UserId, event_id: EventId, reason: str | None) -> str | None:
        """Why it couldn't be redacted. A redaction has nothing to lose, and of comings and goings only joins have."""
        tools = self._tools
        stored = await tools.events.by_id(event_id)
        if stored is None or stored.event.type == "m.room.redaction":
            return None
        if stored.event.type == "m.room.member" and stored.event.membership != "join":
            return None
        levels = room.power_levels()
        if levels is None or not levels.may_request_redaction(redactor, stored.event):
            return f"{redactor} doesn't have the power to redact events of others"
        draft = Draft(
            type="m.room.redaction",
            sender=redactor,
            content={"reason": reason} if reason is not None else {},
            redacts=event_id,
            origin_server_ts=tools.clock.now_ms(),
        )
        try:
            await tools.writer.send(room.room_id, draft)
        except MatrixError as error:
            return error.message
        return None
