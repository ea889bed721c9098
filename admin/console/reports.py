"""What users reported, with all that was reported of the same thing, and the evidence."""

from __future__ import annotations

import json

from admin.actions.reports import Reports
from admin.console.acting import reason_of
from admin.console.desk import ROWS, Desk, Visit
from admin.console.export import REPORT_COLUMNS
from admin.console.page import page
from admin.storage import cases, console_reads
from admin.storage.console_reads import Shown
from homeserver.core.errors import NotFound
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_NEWEST = 2**63 - 1
_COLUMNS = ("report_id", "kind", "target", "room_id", "sender", "reporter", "reason", "received_ts")
KINDS = ("all", "event", "room", "user")


class ReportPages:
    """/admin/reports."""

    def __init__(self, desk: Desk, db: Database, actions: Reports) -> None:
        self.desk = desk
        self._db = db
        self._actions = actions

    @page("GET", "/admin/reports", needs=Permission.READ_REPORTS, reach=Reach.WITHIN)
    async def reports(self, visit: Visit) -> Answer:
        about, kind, below = visit.asked("q"), visit.asked("state") or "all", visit.number("below") or _NEWEST

        async def fetch(limit: int) -> list[Shown]:
            return await console_reads.reports(
                self._db, below, "" if kind == "all" else kind, about, limit, visit.rooms
            )

        values = {"q": about, "state": kind, "states": KINDS}
        return await self.desk.listing(visit, "reports", _COLUMNS, fetch, values, more="report_id")

    @page("GET", "/admin/reports/{report_id}", needs=Permission.READ_REPORTS, reach=Reach.WITHIN)
    async def report(self, visit: Visit, report_id: str) -> Answer:
        found = await console_reads.report(self._db, int(report_id)) if _is_number(report_id) else None
        if found is None or not visit.operator.has_room(found["room_id"]):
            raise NotFound("there is no such report")
        same = await console_reads.reports(self._db, _NEWEST, found["kind"], found["target"], ROWS, visit.rooms)
        evidence = None
        if found["kind"] == "event" and visit.may(Permission.READ_CONTENT):
            evidence = await console_reads.event(self._db, found["target"])
        text = json.dumps(evidence["source"], ensure_ascii=False, indent=2) if evidence else ""
        case_id = await cases.open_about(self._db, found["sender"] or found["room_id"] or found["target"], visit.rooms)
        values = {"report": found, "same": same, "evidence": evidence, "text": text, "case_id": case_id}
        return self.desk.tables(visit, "report", values, {"reports": (REPORT_COLUMNS, same)})

    @page("POST", "/admin/reports/{report_id}/delete", needs=Permission.HANDLE_REPORTS, reach=Reach.WITHIN)
    async def delete(self, visit: Visit, report_id: str) -> Answer:
        """Puts one report away: for a mistake. What is to be looked into is closed as a case."""
        found = await console_reads.report(self._db, int(report_id)) if _is_number(report_id) else None
        if found is None or not visit.operator.has_room(found["room_id"]):
            raise NotFound("there is no such report")
        await self._actions.delete(found["report_id"], found["kind"], by=visit.operator, reason=reason_of(visit))
        return self.desk.go("/admin/reports?done=close")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
