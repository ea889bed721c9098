"""How long messages are kept: the rules in force, rooms with a wish of their own, and what would go, before it goes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from admin.actions.retention_preview import KIND, RetentionPreview
from admin.actions.room_retention import RoomRetention
from admin.console.acting import proven, reason_of, whole_number
from admin.console.desk import Desk, Visit
from admin.console.page import page
from admin.jobs import Jobs
from admin.storage import console_reads, evidence_reads
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import RoomId
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/retention"
_COLUMNS = ("room_id", "name", "wish_days", "kept_days", "is_held")
_DAY_S = 86_400
_DAYS_MAX = 36_500


@dataclass(frozen=True, slots=True)
class RetentionWork:
    """Looking ahead, and setting what a room wishes."""

    preview: RetentionPreview
    rooms: RoomRetention


class RetentionPages:
    """/admin/retention."""

    def __init__(self, desk: Desk, db: Database, jobs: Jobs, work: RetentionWork, *, is_on: bool) -> None:
        self.desk = desk
        self._db = db
        self._jobs = jobs
        self._work = work
        self._is_on = is_on

    @page("GET", _PATH, needs=Permission.READ_SERVER, reach=Reach.SERVER)
    async def retention(self, visit: Visit) -> Answer:
        about, after, times = visit.asked("q"), visit.number("after") or 0, self._work.preview.in_force

        async def fetch(limit: int) -> list[Shown]:
            rows = await evidence_reads.rooms_that_expire(self._db, after, about, limit)
            names = await console_reads.room_names(self._db, [RoomId(row["room_id"]) for row in rows])
            return [
                {
                    **row,
                    "name": names.get(row["room_id"], ""),
                    "wish_days": _days(row["retention_ms"]),
                    "kept_days": _days(times.of(row["retention_ms"])),
                }
                for row in rows
            ]

        values = {
            "q": about,
            "is_on": self._is_on,
            "in_force": {name: _days(getattr(times, name)) for name in ("default", "least", "most")},
            "room_id": visit.asked("room_id"),
        }
        return await self.desk.listing(visit, "retention", _COLUMNS, fetch, values, more="room_nid")

    @page("POST", _PATH, needs=Permission.CHANGE_SERVER, reach=Reach.SERVER)
    async def preview(self, visit: Visit) -> Answer:
        """Counts what would go, by the rules in force but for those that are given."""
        room_id = visit.fields.get("room_id", "").strip() or None
        seconds = {name: _seconds(visit, name) for name in ("wish", "default", "least", "most")}
        if seconds["wish"] is not None and room_id is None:
            raise InvalidParam("name the room whose own lifetime it is")
        job_id = await self._work.preview.begin(
            room_id=room_id,
            wish_s=seconds["wish"],
            default_s=seconds["default"],
            least_s=seconds["least"],
            most_s=seconds["most"],
            by=visit.operator,
        )
        return self.desk.go(f"{_PATH}/{job_id}")

    @page("GET", _PATH + "/{preview_id}", needs=Permission.READ_SERVER, reach=Reach.SERVER)
    async def previewed(self, visit: Visit, preview_id: str) -> Answer:
        row = await self._jobs.one(preview_id)
        if row.kind != KIND:
            raise NotFound("there is no such preview")
        wish: dict[str, Any] = json.loads(row.arguments)
        found: dict[str, Any] = json.loads(row.progress)
        largest = found.get("largest", [])
        names = await console_reads.room_names(self._db, [RoomId(one["room_id"]) for one in largest])
        own = await evidence_reads.rooms_that_expire(self._db, 0, wish["room_id"], 1) if wish["room_id"] else []
        rooms = [{**one, "kept_days": _days(one["lifetime_ms"])} for one in largest]
        as_if = {name: _days(wish[name]) for name in ("default", "least", "most")}
        values = {
            "job": row,
            "found": found,
            "largest": rooms,
            "names": names,
            "room_id": wish["room_id"],
            "wish_days": _days(wish["wish"]) if wish.get("wish") is not None else None,
            "own_days": _days(own[0]["retention_ms"]) if own else None,
            "as_if": as_if,
            "in_force": {name: _days(getattr(self._work.preview.in_force, name)) for name in as_if},
            "is_on": self._is_on,
        }
        columns = ("room_id", "kept_days", "events", "bytes", "files")
        return self.desk.tables(visit, "retention_preview", values, {"largest": (columns, rooms)})

    @page("POST", _PATH + "/room", needs=Permission.CHANGE_ROOMS, reach=Reach.SERVER)
    async def set(self, visit: Visit) -> Answer:
        """Sets how long a room's messages are kept. What is older goes for good: so it wants the password again."""
        room_id, reason = visit.fields.get("room_id", "").strip(), reason_of(visit)
        wish_s = _seconds(visit, "wish")
        if wish_s is None:
            raise InvalidParam("say for how many days, 0 for ever")
        await self._work.rooms.set(room_id, wish_s * 1_000, by=await proven(self.desk, visit), reason=reason)
        return self.desk.go(f"{_PATH}?q={quote(room_id)}&done=retention")


def _seconds(visit: Visit, name: str) -> int | None:
    """A field of days. Raises InvalidParam."""
    days = whole_number(visit, name)
    if days is not None and days > _DAYS_MAX:
        raise InvalidParam(f"{name} may be {_DAYS_MAX} days")
    return days * _DAY_S if days is not None else None


def _days(ms: int | None) -> float:
    """For people: at most two places; 0 is for ever."""
    days = round((ms or 0) / 1_000 / _DAY_S, 2)
    return int(days) if days == int(days) else days
