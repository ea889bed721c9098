"""What became of one event, found by its id, or by when it came."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

from admin.console.desk import OWN_SITE, ROWS, Desk, Visit
from admin.console.page import page
from admin.storage import traces
from admin.trace import lines, trace
from homeserver.core.errors import NotFound
from homeserver.core.identifiers import ServerName
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/trace"


class TracePages:
    """/admin/trace."""

    def __init__(self, desk: Desk, db: Database, server_name: ServerName) -> None:
        self.desk = desk
        self._db = db
        self._server_name = server_name

    @page("GET", _PATH, needs=Permission.READ_ROOMS, reach=Reach.WITHIN)
    async def find(self, visit: Visit) -> Answer:
        wanted, about, moment = visit.asked("q").strip(), visit.asked("about").strip(), visit.asked("at", 30)
        if wanted.startswith("$"):
            return self.desk.go(f"{_PATH}/{quote(wanted, safe='')}")
        at_ms = _ms(moment)
        rows = await traces.since(self._db, at_ms, about, ROWS, visit.rooms) if at_ms is not None else []
        values = {"q": wanted, "about": about, "at": moment, "rows": rows, "is_asked": at_ms is not None}
        columns = ("received_ms", "event_id", "type", "sender", "room_id", "flags")
        return self.desk.tables(visit, "trace_find", values, {"events": (columns, rows)})

    @page("GET", _PATH + "/{event_id}", needs=Permission.READ_ROOMS, reach=Reach.WITHIN)
    async def one(self, visit: Visit, event_id: str) -> Answer:
        found = await trace(self._db, self._server_name, event_id)
        if found is None or not visit.operator.has_room(found.room_id):
            raise NotFound("this server never had this event")
        if visit.asked("format") == "jsonl":
            headers = {
                **OWN_SITE,
                "Content-Disposition": 'attachment; filename="trace.jsonl"',
                "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy": "default-src 'none'; sandbox",
                "Cache-Control": "no-store",
            }
            return Answer(lines(found).encode(), 200, "application/jsonl", headers)
        return self.desk.page(visit, "trace", {"trace": found})


def _ms(moment: str) -> int | None:
    """A time as a browser sends it, in UTC; None for no time."""
    try:
        return int(datetime.fromisoformat(moment.removesuffix("Z")[:19]).replace(tzinfo=UTC).timestamp() * 1_000)
    except (ValueError, OverflowError):
        return None
