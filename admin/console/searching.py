"""Search and archive: how its tiers fare, and searching in what everybody wrote, with a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from admin.actions.content_search import ContentSearch, ContentWish
from admin.console.acting import reason_of
from admin.console.changes import changes
from admin.console.desk import Desk, Visit
from admin.console.export import export
from admin.console.page import page
from admin.storage import console_reads
from homeserver.core.operators import Permission
from homeserver.rooms.searching import FoundEvent
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/search"
_COLUMNS = ("event_id", "room_id", "sender", "type", "origin_server_ts", "text")
_LETTERS_SHOWN = 50
_SHOWN = 100
_EXPORTED = 1_000


@dataclass(frozen=True, slots=True)
class SearchGauges:
    """What is read from memory: the engine's name, and figures of the index by name."""

    engine: str
    figures: Callable[[], Mapping[str, float]]


class SearchPages:
    """/admin/search."""

    def __init__(self, desk: Desk, db: Database, gauges: SearchGauges, content: ContentSearch) -> None:
        self.desk = desk
        self._db = db
        self._gauges = gauges
        self._content = content

    @page("GET", _PATH, needs=Permission.READ_SERVER, reach=Reach.SERVER)
    async def search(self, visit: Visit) -> Answer:
        values = await self._values({})
        tables = {
            "tiers": (("consumer", "position"), values["cursors"]),
            "archive": (("month", "messages", "bytes", "files", "is_cold", "damaged"), values["months"]),
            "letters": (("event_id", "reason", "noted_ms"), values["letters"]),
        }
        return self.desk.tables(visit, "searching", values, tables)

    @page("POST", _PATH, needs=Permission.SEARCH_CONTENT, reach=Reach.SERVER)
    async def find(self, visit: Visit) -> Answer:
        """Never by a link: a search is somebody's act, and stands in the audit log with its reason."""
        fields, format = visit.fields, visit.fields.get("format", "")
        wish = ContentWish(
            term=fields.get("term", ""),
            room_id=fields.get("room_id", "").strip(),
            sender=fields.get("sender", "").strip(),
            order_by=fields.get("order_by", "recent"),
            limit=_EXPORTED if format in ("csv", "json") else _SHOWN,
        )
        found = await self._content.find(wish, by=visit.operator, reason=reason_of(visit))
        rows = [_shown(one) for one in found.found]
        if format in ("csv", "json"):
            return export("search", _COLUMNS, rows, format)
        values = await self._values(fields)
        return self.desk.page(
            visit, "searching", {**values, "rows": rows, "count": found.count, "is_partial": found.is_partial}
        )

    async def _values(self, fields: Mapping[str, str]) -> dict[str, Any]:
        return {
            "engine": self._gauges.engine,
            "figures": self._gauges.figures(),
            "cursors": await console_reads.search_cursors(self._db),
            "letters": await console_reads.dead_letters(self._db, _LETTERS_SHOWN),
            "months": await console_reads.archive_months(self._db),
            "jobs": await console_reads.archive_jobs(self._db),
            "changes": changes,
            "fields": fields,
            "rows": None,
            "count": 0,
            "is_partial": False,
        }


def _shown(one: FoundEvent) -> dict[str, Any]:
    event, content = one.stored.event, one.source.event.content
    texts = (content.get(key) for key in ("body", "name", "topic"))
    return {
        "event_id": event.event_id,
        "room_id": event.room_id,
        "sender": event.sender,
        "type": event.type,
        "origin_server_ts": event.origin_server_ts,
        "text": next((text for text in texts if isinstance(text, str)), ""),
    }
