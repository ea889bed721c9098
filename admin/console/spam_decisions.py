"""What spam rules decided: why, whether that was right, and taking it back."""

from __future__ import annotations

import json

from admin.console.acting import reason_of
from admin.console.desk import Desk, Visit
from admin.console.page import page
from admin.given import decision_number
from admin.spam.api import DecisionEndpoints, MarkBody, UndoBody
from admin.spam.reviewing import Reviewing
from admin.storage import rule_reads
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/spam/decisions"
_COLUMNS = (
    "decision_id",
    "decided_ts",
    "rule_id",
    "rule_version",
    "stage",
    "outcome",
    "hook",
    "sender",
    "room_id",
    "event_id",
    "appeal",
    "appealed_ts",
    "undone_ts",
    "undone_by",
    "undone_why",
)
_STATES = ("all", "appealed")
# What people wrote is among the values that a rule saw: for those who may read it.
_WRITTEN = ("event.text", "event.raw", "event.links", "event.file_name", "sender.name", "sender.address")


class SpamDecisionPages:
    """/admin/spam/decisions."""

    def __init__(self, desk: Desk, db: Database, reviewing: Reviewing, decisions: DecisionEndpoints) -> None:
        self.desk = desk
        self._db = db
        self._reviewing = reviewing
        self._decisions = decisions

    @page("GET", _PATH, needs=Permission.READ_RULES, reach=Reach.WITHIN)
    async def decisions(self, visit: Visit) -> Answer:
        about, state, before = visit.asked("q"), visit.asked("state") or "all", visit.number("below")

        async def fetch(limit: int) -> list[Shown]:
            found = await self._reviewing.page(
                before=before,
                rule_id=about if about and not about.startswith("@") else None,
                sender=about if about.startswith("@") else None,
                appealed=state == "appealed",
                limit=limit,
                rooms=visit.rooms,
            )
            return [dict(row) for row in found]

        values = {"q": about, "state": state, "states": _STATES}
        return await self.desk.listing(
            visit, "decisions", _COLUMNS, fetch, values, template="spam_decisions", more="decision_id"
        )

    @page("GET", _PATH + "/{decision_id}", needs=Permission.READ_RULES, reach=Reach.WITHIN)
    async def decision(self, visit: Visit, decision_id: str) -> Answer:
        await self._reviewing.check_room(decision_number(decision_id), visit.operator)
        row, rule = await self._reviewing.explained(decision_number(decision_id))
        reads = visit.may(Permission.READ_CONTENT)
        seen = [
            (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            for name, value in json.loads(row["seen"]).items()
            if reads or name not in _WRITTEN
        ]
        marked = await rule_reads.mark_of(self._db, row["decision_id"])
        values = {"decision": dict(row), "rule": rule, "seen": seen, "marked": marked}
        return self.desk.page(visit, "spam_decision", values)

    @page("POST", _PATH + "/{decision_id}/undo", needs=Permission.CHANGE_RULES, reach=Reach.WITHIN)
    async def undo(self, visit: Visit, decision_id: str) -> Answer:
        await self._decisions.undo(visit.operator, decision_id, UndoBody(why=reason_of(visit)))
        return self.desk.go(f"{_PATH}/{decision_number(decision_id)}?done=undone")

    @page("POST", _PATH + "/{decision_id}/mark", needs=Permission.CHANGE_RULES, reach=Reach.WITHIN)
    async def mark(self, visit: Visit, decision_id: str) -> Answer:
        said = visit.fields.get("is_spam")
        if said not in ("yes", "no"):
            raise InvalidParam("say whether it is spam")
        await self._decisions.mark(visit.operator, decision_id, MarkBody(is_spam=said == "yes"))
        return self.desk.go(f"{_PATH}/{decision_number(decision_id)}?done=marked")
