"""Rooms: members, state, and what was said, for those who may read it."""

from __future__ import annotations

import json

from admin.actions.media import MediaActions
from admin.actions.room_deletion import Deletion, RoomDeletion
from admin.actions.rooms import RoomActions
from admin.console.acting import proven, reason_of
from admin.console.desk import Desk, Visit, room_path
from admin.console.export import REPORT_COLUMNS
from admin.console.page import page
from admin.storage import cases, console_reads
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import parse_room_id
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_NEWEST = 2**63 - 1
_COLUMNS = ("room_id", "name", "members", "version", "creator", "is_published", "is_encrypted", "room_type")
_SHOWN_MAX = 60
_MEMBERSHIPS = ("join", "invite", "knock", "ban", "leave")
_SERVER_COLUMNS, _FILE_COLUMNS = ("server", "members"), ("server", "media_id")
_SAID = ("ordering", "event_id", "sender", "origin_server_ts", "type", "body", "redacted_by")
STATES = ("all", "published", "encrypted", "spaces", "blocked")


class RoomPages:
    """/admin/rooms, /admin/events."""

    def __init__(
        self, desk: Desk, db: Database, actions: RoomActions, deletion: RoomDeletion, media: MediaActions
    ) -> None:
        self.desk = desk
        self._db = db
        self._actions = actions
        self._deletion = deletion
        self._media = media

    @page("GET", "/admin/rooms", needs=Permission.READ_ROOMS, reach=Reach.WITHIN)
    async def rooms(self, visit: Visit) -> Answer:
        wanted, state, below = visit.asked("q"), visit.asked("state") or "all", visit.number("below") or _NEWEST

        async def fetch(limit: int) -> list[Shown]:
            return await console_reads.rooms(self._db, below, wanted, state, limit, visit.rooms)

        values = {"q": wanted, "state": state, "states": STATES}
        return await self.desk.listing(visit, "rooms", _COLUMNS, fetch, values, more="room_nid")

    @page("GET", "/admin/rooms/{room_id}", needs=Permission.READ_ROOMS, reach=Reach.ROOM)
    async def room(self, visit: Visit, room_id: str) -> Answer:
        found = await self._room(room_id)
        state = await console_reads.state(self._db, found["room_nid"])
        for one in state:
            one["text"] = json.dumps(one["content"], ensure_ascii=False, indent=1)[:4_000]
        members = await console_reads.members(self._db, room_id, "join", "", 20)
        reports = await console_reads.reports(self._db, _NEWEST, "", room_id, 20)
        shows = await self._media.of_room(parse_room_id(room_id)) if visit.may(Permission.READ_MEDIA) else []
        values: Shown = {
            "room": found,
            "state": state,
            "members": members,
            "reports": reports,
            "counts": await console_reads.memberships_of(self._db, found["room_nid"]),
            "servers": await console_reads.servers_of(self._db, found["room_nid"]),
            "own_server": self._media.server_name,
            "shows": shows[:_SHOWN_MAX],
            "shows_count": len(shows),
            "case_id": await cases.open_about(self._db, room_id, visit.rooms),
        }
        tables = {
            "reports": (REPORT_COLUMNS, reports),
            "servers": (_SERVER_COLUMNS, values["servers"]),
            "files": (_FILE_COLUMNS, [dict(zip(_FILE_COLUMNS, one, strict=True)) for one in shows]),
        }
        return self.desk.tables(visit, "room", values, tables)

    @page("GET", "/admin/rooms/{room_id}/members", needs=Permission.READ_ROOMS, reach=Reach.ROOM)
    async def members(self, visit: Visit, room_id: str) -> Answer:
        found, wanted, after = await self._room(room_id), visit.asked("membership") or "join", visit.asked("after")

        async def fetch(limit: int) -> list[Shown]:
            return await console_reads.members(self._db, room_id, wanted, after, limit)

        values = {
            "membership": wanted,
            "memberships": _MEMBERSHIPS,
            "acts": ("unban",) if wanted == "ban" else ("kick", "ban"),
            "room": found,
        }
        columns = ("user_id", "membership")
        return await self.desk.listing(
            visit, "members", columns, fetch, values, template="room_members", more="user_id"
        )

    @page("GET", "/admin/rooms/{room_id}/timeline", needs=Permission.READ_CONTENT, reach=Reach.ROOM)
    async def timeline(self, visit: Visit, room_id: str) -> Answer:
        found = await self._room(room_id)
        asked = visit.number("below")
        below = _NEWEST if asked is None else asked

        async def fetch(limit: int) -> list[Shown]:
            return await console_reads.timeline(self._db, found["room_nid"], below, limit)

        return await self.desk.listing(
            visit, "timeline", _SAID, fetch, {"room": found}, template="room_timeline", more="ordering"
        )

    @page("GET", "/admin/events/{event_id}", needs=Permission.READ_CONTENT, reach=Reach.WITHIN)
    async def event(self, visit: Visit, event_id: str) -> Answer:
        found = await console_reads.event(self._db, event_id)
        if found is None or not visit.operator.has_room(found["room_id"]):
            raise NotFound("this server doesn't have this event")
        text = json.dumps(found["source"], ensure_ascii=False, indent=2)
        return self.desk.page(visit, "event", {"event": found, "text": text})

    @page("POST", "/admin/rooms/{room_id}/block", needs=Permission.MODERATE_ROOMS, reach=Reach.ROOM)
    async def block(self, visit: Visit, room_id: str) -> Answer:
        act, reason = visit.fields.get("act"), reason_of(visit)
        if act not in ("block", "unblock"):
            raise InvalidParam("there is no such act")
        await self._actions.set_blocked(parse_room_id(room_id), act == "block", by=visit.operator, reason=reason)
        return self.desk.go(f"{room_path(room_id)}?done={act}")

    @page("POST", "/admin/rooms/{room_id}/delete", needs=Permission.DELETE_ROOMS, reach=Reach.ROOM)
    async def delete(self, visit: Visit, room_id: str) -> Answer:
        wish, reason = Deletion(block="block" in visit.fields), reason_of(visit)
        by = await proven(self.desk, visit)
        await self._deletion.begin(parse_room_id(room_id), wish, by=by, reason=reason)
        return self.desk.go("/admin/jobs?done=delete")

    async def _room(self, room_id: str) -> console_reads.Shown:
        found = await console_reads.room(self._db, room_id)
        if found is None:
            raise NotFound("this server doesn't know this room")
        return found
