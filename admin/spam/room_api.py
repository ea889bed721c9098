"""Policy lists, the rooms that they are applied to, and rooms that are locked: `/_hansa/admin/v1/spam/…`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from admin.audit import AuditLog
from admin.spam.policy_lists import PolicyLists
from admin.spam.publishing import PolicyPublishing, Wish
from admin.spam.raids import SECONDS_MAX, RaidMode
from admin.spam.recording import recording
from admin.spam.room_groups import RoomGroups, shown
from admin.storage.spam_policy_lists import GroupRow
from homeserver.core.identifiers import RoomId
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_SPAM = "/_hansa/admin/v1/spam"
_LISTS = _SPAM + "/policy_lists"
_LIST = _LISTS + "/{room_id}"
_GROUP = _SPAM + "/room_groups/{name}"
_RAID = _SPAM + "/locked_rooms/{room_id}"

Kind = Literal["user", "room", "server"]
Text = Annotated[str, msgspec.Meta(max_length=2_000)]


class NewListBody(msgspec.Struct, frozen=True):
    name: Text
    alias: Text | None = None
    public: bool = True


class FollowBody(msgspec.Struct, frozen=True):
    everywhere: bool = True


class EntryBody(msgspec.Struct, frozen=True):
    kind: Kind
    entity: Text
    reason: Text = ""
    recommendation: Literal["ban", "takedown"] = "ban"
    hashed: bool = False


class EntryQuery(msgspec.Struct, frozen=True):
    kind: Kind
    entity: Text
    reason: Text = ""


class PageQuery(msgspec.Struct, frozen=True, rename={"start": "from"}):
    start: Annotated[int, msgspec.Meta(ge=0)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 500


class GroupBody(msgspec.Struct, frozen=True):
    rooms: list[RoomId]
    lists: list[RoomId]
    bans_members: bool = False


class LockBody(msgspec.Struct, frozen=True):
    how: Literal["invite_only", "quiet"] = "invite_only"
    seconds: Annotated[int, msgspec.Meta(ge=1, le=SECONDS_MAX)] = 3_600
    reason: Text = ""


class ReasonQuery(msgspec.Struct, frozen=True):
    reason: Text = ""


class PolicyListEndpoints:
    """Policy list rooms that this server follows, and those that it writes."""

    def __init__(self, lists: PolicyLists, publishing: PolicyPublishing, audit: AuditLog) -> None:
        self._lists = lists
        self._publishing = publishing
        self._audit = audit

    @endpoint("GET", _LISTS, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_RULES)
    async def followed(self) -> Json:
        rows = self._lists.followed
        lists = [{"room_id": row.room_id, "own": row.is_own, "everywhere": row.is_everywhere} for row in rows]
        return {"rooms": [row.room_id for row in rows], "lists": lists}

    @endpoint("POST", _LISTS, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES)
    async def create(self, operator: Operator, body: NewListBody) -> Json:
        """A list of our own: a room that others can follow."""
        recorded = recording(self._audit, operator, "policy_list.create", body.name)
        room_id = await self._publishing.create(
            body.name, by=operator.user_id, recorded=recorded, alias=body.alias, is_public=body.public
        )
        return {"room_id": room_id}

    @endpoint("PUT", _LIST, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES)
    async def follow(self, operator: Operator, room_id: RoomId, body: FollowBody) -> Json:
        recorded = recording(self._audit, operator, "policy_list.follow", room_id)
        await self._lists.follow(room_id, by=operator.user_id, recorded=recorded, is_everywhere=body.everywhere)
        return {}

    @endpoint("DELETE", _LIST, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES)
    async def unfollow(self, operator: Operator, room_id: RoomId) -> Json:
        await self._lists.unfollow(room_id, recorded=recording(self._audit, operator, "policy_list.unfollow", room_id))
        return {}

    @endpoint("GET", _LIST + "/entries", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_RULES)
    async def entries(self, room_id: RoomId, query: PageQuery) -> Json:
        found = await self._publishing.entries(room_id)
        page = found[query.start : query.start + query.limit]
        following = {"next": query.start + len(page)} if query.start + len(page) < len(found) else {}
        return {"entries": [one.shown() for one in page], "total": len(found), **following}

    @endpoint(
        "POST", _LIST + "/entries", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES
    )
    async def add(self, operator: Operator, room_id: RoomId, body: EntryBody) -> Json:
        wish = Wish(
            kind=body.kind,
            entity=body.entity,
            reason=body.reason,
            recommendation=body.recommendation,
            is_hashed=body.hashed,
        )
        recorded = recording(self._audit, operator, "policy_list.publish", room_id, body.reason)
        return {"event_id": await self._publishing.add(room_id, wish, by=operator.user_id, recorded=recorded)}

    @endpoint(
        "DELETE", _LIST + "/entries", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES
    )
    async def remove(self, operator: Operator, room_id: RoomId, query: EntryQuery) -> Json:
        recorded = recording(self._audit, operator, "policy_list.withdraw", room_id, query.reason)
        removed = await self._publishing.remove(
            room_id, query.kind, query.entity, by=operator.user_id, recorded=recorded
        )
        return {"removed": removed}


class RoomGroupEndpoints:
    """Rooms that policy lists are applied to together."""

    def __init__(self, groups: RoomGroups, audit: AuditLog) -> None:
        self._groups = groups
        self._audit = audit

    @endpoint(
        "GET", _SPAM + "/room_groups", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_RULES
    )
    async def groups(self) -> Json:
        return {"groups": [shown(group) for group in self._groups.groups]}

    @endpoint("PUT", _GROUP, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES)
    async def put(self, operator: Operator, name: str, body: GroupBody) -> Json:
        group = GroupRow(
            name=name,
            rooms=tuple(dict.fromkeys(body.rooms)),
            lists=tuple(dict.fromkeys(body.lists)),
            bans_members=body.bans_members,
        )
        await self._groups.put(group, recorded=recording(self._audit, operator, "room_group.put", name))
        return {}

    @endpoint("DELETE", _GROUP, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES)
    async def delete(self, operator: Operator, name: str) -> Json:
        await self._groups.delete(name, recorded=recording(self._audit, operator, "room_group.delete", name))
        return {}


class LockedRoomEndpoints:
    """Rooms that are locked while a wave lasts, by rules or by hand."""

    def __init__(self, raids: RaidMode, audit: AuditLog) -> None:
        self._raids = raids
        self._audit = audit

    @endpoint(
        "GET", _SPAM + "/locked_rooms", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_RULES
    )
    async def locked(self, operator: Operator) -> Json:
        rows = [
            {
                "room_id": raid.room_id,
                "how": raid.how,
                "because": raid.because,
                "since_ts": raid.since_ts,
                "until_ts": raid.until_ts,
            }
            for raid in self._raids.locked.values()
            if operator.has_room(raid.room_id)
        ]
        return {"rooms": rows}

    @endpoint("PUT", _RAID, access=Access.ADMIN, reach=Reach.ROOM, spec="", needs=Permission.CHANGE_RULES)
    async def lock(self, operator: Operator, room_id: RoomId, body: LockBody) -> Json:
        recorded = recording(self._audit, operator, "room.lock", room_id, body.reason)
        raid = await self._raids.lock(
            room_id, how=body.how, seconds=body.seconds, because=operator.user_id, recorded=recorded
        )
        return {"until_ts": raid.until_ts}

    @endpoint("DELETE", _RAID, access=Access.ADMIN, reach=Reach.ROOM, spec="", needs=Permission.CHANGE_RULES)
    async def unlock(self, operator: Operator, room_id: RoomId, query: ReasonQuery) -> Json:
        """`restored` is false where somebody changed the room meanwhile: then it stays as they wanted it."""
        recorded = recording(self._audit, operator, "room.unlock", room_id, query.reason)
        return {"restored": await self._raids.unlock(room_id, because=query.reason, recorded=recorded)}
