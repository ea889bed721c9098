"""What operators change in rooms: `/_synapse/admin/v1/rooms`, `/join`, deletions and purges."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import orjson

from admin.actions.room_deletion import DELETE, MESSAGE, PURGE_HISTORY, ROOM_NAME, Deletion, RoomDeletion
from admin.actions.room_tools import check_room_id
from admin.actions.rooms import RoomActions
from admin.jobs import Jobs
from admin.storage.jobs import JobRow
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import EventId, parse_event_id, parse_user_id
from homeserver.core.operators import Permission
from homeserver.rooms.commands.finding import servers_to_ask
from homeserver.storage import events
from homeserver.storage.database import Database
from homeserver.web.endpoint import Access, Json, Operator, Reach, Request, endpoint

_V1 = "/_synapse/admin/v1"
_V2 = "/_synapse/admin/v2"

Text = Annotated[str, msgspec.Meta(max_length=10_000)]


class BlockBody(msgspec.Struct, frozen=True):
    block: bool
    reason: Annotated[str, msgspec.Meta(max_length=1_000)] | None = None


class JoinBody(msgspec.Struct, frozen=True):
    user_id: str


class MakeAdminBody(msgspec.Struct, frozen=True):
    user_id: str | None = None


class RoomChanges:
    """Blocks, joins, power, loose ends."""

    def __init__(self, db: Database, actions: RoomActions) -> None:
        self._db = db
        self._actions = actions

    @endpoint(
        "GET",
        _V1 + "/rooms/{room_id}/block",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.READ_ROOMS,
    )
    async def is_blocked(self, room_id: str) -> Json:
        by = await self._actions.blocked_by(check_room_id(room_id))
        return {"block": True, "user_id": by} if by is not None else {"block": False}

    @endpoint(
        "PUT",
        _V1 + "/rooms/{room_id}/block",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.MODERATE_ROOMS,
    )
    async def block(self, operator: Operator, room_id: str, body: BlockBody) -> Json:
        await self._actions.set_blocked(check_room_id(room_id), body.block, by=operator, reason=body.reason)
        return {"block": body.block}

    @endpoint(
        "POST",
        _V1 + "/join/{room_identifier}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_ROOMS,
    )
    async def join(self, operator: Operator, request: Request, room_identifier: str, body: JoinBody) -> Json:
        via = servers_to_ask(request.raw_query)
        room_id = await self._actions.join(room_identifier, parse_user_id(body.user_id), via, by=operator)
        return {"room_id": room_id}

    @endpoint(
        "POST",
        _V1 + "/rooms/{room_identifier}/make_room_admin",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_ROOMS,
    )
    async def make_admin(self, operator: Operator, room_identifier: str, body: MakeAdminBody) -> Json:
        user_id = parse_user_id(body.user_id) if body.user_id is not None else operator.user_id
        await self._actions.make_admin(room_identifier, user_id, by=operator)
        return {}

    @endpoint(
        "GET",
        _V1 + "/rooms/{room_identifier}/forward_extremities",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_ROOMS,
    )
    async def heads(self, room_identifier: str) -> Json:
        _, nids = await self._actions.heads(room_identifier)
        stored = await events.by_ids(self._db, [EventId(event_id) for event_id in nids])
        results = [
            {
                "event_id": one.event.event_id,
                "state_group": one.state_after,
                "depth": one.event.depth,
                "received_ts": one.event.origin_server_ts,
            }
            for one in stored
        ]
        return {"count": len(results), "results": results}

    @endpoint(
        "DELETE",
        _V1 + "/rooms/{room_identifier}/forward_extremities",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_ROOMS,
    )
    async def join_heads(self, operator: Operator, room_identifier: str) -> Json:
        return {"deleted": await self._actions.join_heads(room_identifier, by=operator)}


class DeleteBody(msgspec.Struct, frozen=True):
    new_room_user_id: str | None = None
    room_name: Text | None = None
    message: Text | None = None
    block: bool = False
    purge: bool = True
    force_purge: bool = False

    def wish(self) -> Deletion:
        return Deletion(
            new_room_user_id=parse_user_id(self.new_room_user_id) if self.new_room_user_id is not None else None,
            room_name=self.room_name if self.room_name is not None else ROOM_NAME,
            message=self.message if self.message is not None else MESSAGE,
            block=self.block,
            purge=self.purge,
            force_purge=self.force_purge,
        )


class PurgeBody(msgspec.Struct, frozen=True):
    delete_local_events: bool = False
    purge_up_to_event_id: str | None = None
    purge_up_to_ts: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None


class RoomDeletions:
    """Deletions of rooms and history, and how they are going."""

    def __init__(self, deletion: RoomDeletion, jobs: Jobs) -> None:
        self._deletion = deletion
        self._jobs = jobs

    @endpoint(
        "DELETE",
        _V2 + "/rooms/{room_id}",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.DELETE_ROOMS,
    )
    async def delete(self, operator: Operator, room_id: str, body: DeleteBody) -> Json:
        return {"delete_id": await self._deletion.begin(check_room_id(room_id), body.wish(), by=operator)}

    @endpoint(
        "DELETE",
        _V1 + "/rooms/{room_id}",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.DELETE_ROOMS,
    )
    async def delete_and_wait(self, operator: Operator, room_id: str, body: DeleteBody) -> Json:
        """The same, answered when it is done; the job goes on if the caller doesn't wait."""
        job_id = await self._deletion.begin(check_room_id(room_id), body.wish(), by=operator)
        row = await self._jobs.ended(job_id)
        if row.error is not None:
            raise InvalidParam(row.error, errcode="M_UNKNOWN")
        return shutdown_of(row)

    @endpoint(
        "GET",
        _V2 + "/rooms/delete_status/{delete_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_JOBS,
    )
    async def status(self, delete_id: str) -> Json:
        row = await self._jobs.one(delete_id)
        if row.kind != DELETE:
            raise NotFound(f"delete id '{delete_id}' not found")
        return _status(row)

    @endpoint(
        "GET",
        _V2 + "/rooms/{room_id}/delete_status",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.READ_JOBS,
    )
    async def statuses(self, room_id: str) -> Json:
        rows = await self._deletion.of_room(check_room_id(room_id))
        if not rows:
            raise NotFound(f"No delete task for room_id '{room_id}' found")
        return {"results": [_status(row) for row in rows]}

    @endpoint(
        "POST",
        _V1 + "/purge_history/{room_id}",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.DELETE_ROOMS,
    )
    async def purge(self, operator: Operator, room_id: str, body: PurgeBody) -> Json:
        event_id = parse_event_id(body.purge_up_to_event_id) if body.purge_up_to_event_id is not None else None
        return await self._purge(operator, room_id, event_id, body)

    @endpoint(
        "POST",
        _V1 + "/purge_history/{room_id}/{event_id}",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.DELETE_ROOMS,
    )
    async def purge_to(self, operator: Operator, room_id: str, event_id: EventId, body: PurgeBody) -> Json:
        return await self._purge(operator, room_id, event_id, body)

    @endpoint(
        "GET",
        _V1 + "/purge_history_status/{purge_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_JOBS,
    )
    async def purge_status(self, purge_id: str) -> Json:
        row = await self._jobs.one(purge_id)
        if row.kind != PURGE_HISTORY:
            raise NotFound(f"purge id '{purge_id}' not found")
        answer: Json = {"status": row.state if row.state != "cancelled" else "failed"}
        if row.error is not None:
            answer["error"] = row.error
        return answer

    async def _purge(self, operator: Operator, room_id: str, event_id: EventId | None, body: PurgeBody) -> Json:
        purge_id = await self._deletion.begin_purge(
            check_room_id(room_id),
            upto=event_id,
            upto_ts=body.purge_up_to_ts,
            delete_local=body.delete_local_events,
            by=operator,
        )
        return {"purge_id": purge_id}


def shutdown_of(row: JobRow) -> dict[str, Any]:
    """What became of a room's users and aliases."""
    done = orjson.loads(row.progress)
    return {
        "kicked_users": done.get("kicked_users", []),
        "failed_to_kick_users": done.get("failed_to_kick_users", []),
        "local_aliases": done.get("local_aliases", []),
        "new_room_id": done.get("new_room_id"),
    }


def _status(row: JobRow) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "delete_id": row.job_id,
        "room_id": row.target,
        "status": row.state if row.state != "cancelled" else "failed",
        "shutdown_room": shutdown_of(row),
    }
    if row.error is not None:
        answer["error"] = row.error
    return answer
