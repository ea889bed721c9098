"""Rooms: members, state, and what was said, for those who may read it."""

from __future__ import annotations

import json

from admin.actions.room_deletion import Deletion, RoomDeletion
from admin.actions.rooms import RoomActions
from admin.console.acting import proven, reason_of
from admin.console.desk import ROWS, Desk, Visit, room_path
from admin.console.export import export, limit_of
from admin.console.page import page
from admin.storage import console_reads
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import parse_room_id
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer

_NEWEST = 2**63 - 1
_COLUMNS = ("room_id", "name", "members", "version", "creator", "is_published", "is_encrypted", "room_type")
_MEMBERSHIPS = ("join", "invite", "knock", "ban", "leave")
STATES = ("all", "published", "encrypted", "spaces", "blocked")


class RoomPages:
    """/admin/rooms, /admin/events."""

    def __init__(self, desk: Desk, db: Database, actions: RoomActions, deletion: RoomDeletion) -> None:
        self.desk = desk
        self._db = db
        self._actions = actions
        self._deletion = deletion

    @page("GET", "/admin/rooms", needs=Permission.READ_ROOMS)
    async def rooms(self, visit: Visit) -> Answer:
        wanted, state, format = visit.asked("q"), visit.asked("state") or "all", visit.asked("format")
        limit, below = limit_of(format, ROWS + 1), visit.number("below") or _NEWEST
        rows = await console_reads.rooms(self._db, below, wanted, state, limit)
        if limit > ROWS + 1:
            return export("rooms", _COLUMNS, rows, format)
        values = {"rows": rows[:ROWS], "more": rows[ROWS - 1]["room_nid"] if len(rows) > ROWS else None}
        return self.desk.page(visit, "rooms", {**values, "q": wanted, "state": state, "states": STATES})

    @page("GET", "/admin/rooms/{room_id}", needs=Permission.READ_ROOMS)
    async def room(self, visit: Visit, room_id: str) -> Answer:
        found = await self._room(room_id)
        state = await console_reads.state(self._db, found["room_nid"])
        for one in state:
            one["text"] = json.dumps(one["content"], ensure_ascii=False, indent=1)[:4_000]
        members = await console_reads.members(self._db, room_id, "join", "", 20)
        reports = await console_reads.reports(self._db, _NEWEST, "", room_id, 20)
        values = {"room": found, "state": state, "members": members, "reports": reports}
        return self.desk.page(visit, "room", values)

    @page("GET", "/admin/rooms/{room_id}/members", needs=Permission.READ_ROOMS)
    async def members(self, visit: Visit, room_id: str) -> Answer:
        found, format = await self._room(room_id), visit.asked("format")
        wanted, limit = visit.asked("membership") or "join", limit_of(format, ROWS + 1)
        rows = await console_reads.members(self._db, room_id, wanted, visit.asked("after"), limit)
        if limit > ROWS + 1:
            return export("members", ("user_id", "membership"), rows, format)
        values = {"rows": rows[:ROWS], "more": rows[ROWS - 1]["user_id"] if len(rows) > ROWS else None}
        choice = {"membership": wanted, "memberships": _MEMBERSHIPS}
        return self.desk.page(visit, "room_members", {**values, **choice, "room": found})

    @page("GET", "/admin/rooms/{room_id}/timeline", needs=Permission.READ_CONTENT)
    async def timeline(self, visit: Visit, room_id: str) -> Answer:
        found = await self._room(room_id)
        below = visit.number("below")
        rows = await console_reads.timeline(self._db, found["room_nid"], _NEWEST if below is None else below, ROWS + 1)
        values = {"rows": rows[:ROWS], "more": rows[ROWS - 1]["ordering"] if len(rows) > ROWS else None}
        return self.desk.page(visit, "room_timeline", {**values, "room": found})

    @page("GET", "/admin/events/{event_id}", needs=Permission.READ_CONTENT)
    async def event(self, visit: Visit, event_id: str) -> Answer:
        found = await console_reads.event(self._db, event_id)
        if found is None:
            raise NotFound("this server doesn't have this event")
        text = json.dumps(found["source"], ensure_ascii=False, indent=2)
        return self.desk.page(visit, "event", {"event": found, "text": text})

    @page("POST", "/admin/rooms/{room_id}/block", needs=Permission.MODERATE_ROOMS)
    async def block(self, visit: Visit, room_id: str) -> Answer:
        act, reason = visit.fields.get("act"), reason_of(visit)
        if act not in ("block", "unblock"):
            raise InvalidParam("there is no such act")
        await self._actions.set_blocked(parse_room_id(room_id), act == "block", by=visit.operator, reason=reason)
        return self.desk.go(f"{room_path(room_id)}?done={act}")

    @page("POST", "/admin/rooms/{room_id}/delete", needs=Permission.DELETE_ROOMS)
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
