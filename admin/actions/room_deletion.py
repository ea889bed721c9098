"""Rooms shut down and deleted, history purged: as jobs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import structlog

from admin.actions.four_eyes import FourEyes
from admin.actions.room_tools import RoomTools
from admin.actions.rooms import leaving
from admin.jobs import Job, Jobs
from admin.storage.jobs import JobFilter, JobRow
from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.core.operators import Permission
from homeserver.rooms.commands.create import RoomCreation, RoomRequest
from homeserver.rooms.purging import Purging
from homeserver.storage import blocked_rooms, events, legal_holds, room_aliases
from homeserver.storage.database import Tx
from homeserver.web.endpoint import Operator

log = structlog.get_logger()

DELETE = "shutdown_and_purge_room"
PURGE_HISTORY = "purge_history"
MESSAGE = "Sharing illegal content on this server is not permitted and rooms in violation will be blocked."
ROOM_NAME = "Content Violation Notification"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """What is to become of a room. With `new_room_user_id`, users of ours are brought to a new room that says why."""

    new_room_user_id: UserId | None = None
    room_name: str = ROOM_NAME
    message: str = MESSAGE
    block: bool = False
    purge: bool = True
    force_purge: bool = False


class RoomDeletion:
    """Begins deletions, and does them."""

    def __init__(
        self, tools: RoomTools, four_eyes: FourEyes, jobs: Jobs, creation: RoomCreation, purging: Purging
    ) -> None:
        self._tools = tools
        self._four_eyes = four_eyes
        self._jobs = jobs
        self._creation = creation
        self._purging = purging
        self._beginning = asyncio.Lock()
        jobs.provide(DELETE, self._delete)
        jobs.provide(PURGE_HISTORY, self._purge_history)

    async def begin(self, room_id: RoomId, wish: Deletion, *, by: Operator, reason: str | None = None) -> str:
        """The id of the job.

        Raises NotFound, MatrixError; 400 where a deletion of this room is under way, 409 where a legal hold keeps it.
        """
        by.check(Permission.DELETE_ROOMS)
        # Two who ask at once: the second one finds the first one's job.
        async with self._beginning:
            return await self._begin(room_id, wish, by, reason)

    async def _begin(self, room_id: RoomId, wish: Deletion, by: Operator, reason: str | None) -> str:
        tools = self._tools
        if wish.new_room_user_id is not None:
            if not tools.submission.is_local(wish.new_room_user_id):
                raise MatrixError(f"User must be our own: {wish.new_room_user_id}")
            await tools.check_user(wish.new_room_user_id)
        if not wish.block and await tools.rooms.get(room_id) is None:
            raise NotFound(f"Unknown room id {room_id}")
        if any(row.state in ("scheduled", "active") for row in await self.of_room(room_id)):
            raise MatrixError(f"Purge already in progress for {room_id}")
        if wish.purge:
            await self._purging.check_free(room_id)
        await self._four_eyes.check("delete_room", room_id, Permission.DELETE_ROOMS, by=by)

        async def block(tx: Tx) -> None:
            if wish.block:
                await blocked_rooms.block(tx, room_id, by.user_id, tools.clock.now_ms())

        arguments = {
            "new_room_user_id": wish.new_room_user_id,
            "room_name": wish.room_name,
            "message": wish.message,
            "block": wish.block,
            "purge": wish.purge,
            "force_purge": wish.force_purge,
        }
        job_id = await self._jobs.begin(
            DELETE, room_id, arguments, by=by, action="room.delete", reason=reason, also=block
        )
        if wish.block:
            tools.blocked.changed(room_id, True)
        return job_id

    async def of_room(self, room_id: RoomId) -> list[JobRow]:
        """Deletions of a room, the newest first."""
        return await self._jobs.page(JobFilter(kind=DELETE, target=room_id))

    async def begin_purge(
        self,
        room_id: RoomId,
        *,
        upto: EventId | None,
        upto_ts: int | None,
        delete_local: bool,
        by: Operator,
        reason: str | None = None,
    ) -> str:
        """The id of a job that deletes messages before an event, or a time. Raises NotFound, MatrixError."""
        by.check(Permission.DELETE_ROOMS)
        tools = self._tools
        room = await tools.room(room_id)
        if await legal_holds.is_room_held(tools.db, room_id):
            raise MatrixError("a legal hold keeps this room", status=409)
        if upto is not None:
            found = next(iter(await events.by_ids(tools.db, [upto])), None)
            if found is None or found.ordering is None:
                raise NotFound("Event not found")
            if found.room_nid != room.nid:
                raise MatrixError("Event is for wrong room.")
            place = found.ordering
        elif upto_ts is not None:
            nid = await events.nearest(tools.db, room.nid, upto_ts, forwards_in_time=False)
            stored = await events.by_nids(tools.db, [nid]) if nid is not None else []
            if not stored or stored[0].ordering is None:
                raise NotFound("there is no event to be purged")
            place = stored[0].ordering + 1
        else:
            raise MatrixError(
                "must specify purge_up_to_event_id or purge_up_to_ts, or an event_id in the URL path",
                errcode="M_BAD_JSON",
            )
        await self._four_eyes.check("purge_history", room_id, Permission.DELETE_ROOMS, by=by)
        arguments = {"place": place, "delete_local_events": delete_local}
        return await self._jobs.begin(
            PURGE_HISTORY, room_id, arguments, by=by, action="room.purge_history", reason=reason
        )

    # --- the work

    async def _delete(self, job: Job) -> None:
        room_id, wish, done = RoomId(job.target), job.arguments, job.progress
        for key in ("kicked_users", "failed_to_kick_users", "local_aliases"):
            done.setdefault(key, [])
        if done.setdefault("new_room_id", None) is None and wish["new_room_user_id"] is not None:
            done["new_room_id"] = await self._new_room(UserId(wish["new_room_user_id"]), wish)
            await job.note()
        await self._empty(job, room_id)
        await self._move_aliases(job, room_id)
        if not wish["purge"]:
            return
        room = await self._tools.rooms.get(room_id)
        if room is not None and not wish["force_purge"]:
            left = [user for user in room.joined_members() if self._tools.submission.is_local(user)]
            if left:
                raise MatrixError("Users are still joined to this room")

        async def report(count: int) -> None:
            done["purged_events"] = count
            await job.note()

        await self._purging.purge_room(room_id, report)

    async def _new_room(self, user_id: UserId, wish: Any) -> RoomId:
        request = RoomRequest(
            preset="public_chat", name=wish["room_name"], power_level_content_override={"users_default": -10}
        )
        room_id = await self._creation.create(user_id, request)
        content = {"msgtype": "m.text", "body": wish["message"]}
        submission = self._tools.submission
        await self._tools.writer.send(room_id, submission.draft("m.room.message", user_id, content))
        return room_id

    async def _empty(self, job: Job, room_id: RoomId) -> None:
        """Takes our users out of the room, and where there is a new one, into that."""
        tools, done = self._tools, job.progress
        room = await tools.rooms.get(room_id)
        if room is None:
            return
        ours = [
            user_id
            for user_id, membership in room.members.items()
            if membership in ("join", "invite", "knock") and tools.submission.is_local(user_id)
        ]
        for user_id in ours:
            try:
                if any(room.membership(other) == "join" for other in ours):
                    await tools.writer.send(room_id, leaving(tools, user_id))
                else:
                    await tools.membership.leave(room_id, user_id)
                if done["new_room_id"] is not None:
                    await tools.membership.join(RoomId(done["new_room_id"]), user_id)
                done["kicked_users"].append(user_id)
            except MatrixError as error:
                log.info("user_not_removed", room_id=room_id, error=error.code)
                done["failed_to_kick_users"].append(user_id)
            if len(done["kicked_users"]) % 20 == 0:
                await job.note()

    async def _move_aliases(self, job: Job, room_id: RoomId) -> None:
        """The room's names lead to the new one, where there is one."""
        tools, done = self._tools, job.progress
        aliases = await room_aliases.of_room(tools.db, room_id)
        if aliases and done["new_room_id"] is not None:
            done["local_aliases"] = sorted({*done["local_aliases"], *aliases})
            await job.note()
            async with tools.db.transaction() as tx:
                await room_aliases.move(tx, room_id, RoomId(done["new_room_id"]))
        await job.note()

    async def _purge_history(self, job: Job) -> None:
        wish = job.arguments
        before = int(job.progress.get("purged_events", 0))

        async def report(count: int) -> None:
            job.progress["purged_events"] = before + count
            await job.note()

        await self._purging.purge_history(
            RoomId(job.target),
            int(wish["place"]),
            keep_server=None if wish["delete_local_events"] else self._tools.submission.server_name,
            report=report,
        )
