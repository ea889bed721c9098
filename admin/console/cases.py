"""Cases: what is said against one user or room, looked at, acted upon, answered."""

from __future__ import annotations

import json
from typing import Any

from admin.actions.case_acts import CaseWork, Plan
from admin.actions.cases import OUTCOMES, shown_notes
from admin.console.acting import reason_of
from admin.console.desk import Desk, Visit
from admin.console.export import REPORT_COLUMNS
from admin.console.page import page
from admin.given import case_number, decision_number
from admin.storage import cases, console_reads
from admin.storage.cases import Case, CaseFilter
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import UserId, parse_user_id
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/cases"
_NEWEST = 2**62
_SHOWN_MAX = 50
_COLUMNS = (
    "case_id",
    "kind",
    "entity",
    "because",
    "assignee",
    "reports",
    "hits",
    "appeals",
    "refusals",
    "opened_ts",
    "changed_ts",
    "closed_ts",
    "closed_by",
    "outcome",
)
_REFUSAL_COLUMNS = ("refused_ts", "event_id", "room_id", "why")
_HIT_COLUMNS = (
    "decision_id",
    "decided_ts",
    "rule_id",
    "stage",
    "outcome",
    "undone_ts",
    "answered_ts",
    "appeal",
    "reply",
)
_STATES = ("open", "unassigned", "closed")


class CasePages:
    """/admin/cases."""

    def __init__(self, desk: Desk, db: Database, work: CaseWork) -> None:
        self.desk = desk
        self._db = db
        self._cases = work.keeping
        self._acts = work.acts
        self._appeals = work.appeals

    @page("GET", _PATH, needs=Permission.READ_REPORTS, reach=Reach.WITHIN)
    async def cases(self, visit: Visit) -> Answer:
        await self._cases.catch_up()
        about, state = visit.asked("q"), visit.asked("state") or "open"
        below = visit.number("below") or _NEWEST, visit.number("below_id") or _NEWEST

        async def fetch(limit: int) -> list[Shown]:
            wanted = CaseFilter(
                is_open=state != "closed", only_unassigned=state == "unassigned", about=about, rooms=visit.rooms
            )
            return [dict(row) for row in await cases.page(self._db, wanted, below, limit)]

        values = {"q": about, "state": state, "states": _STATES}
        return await self.desk.listing(visit, "cases", _COLUMNS, fetch, values)

    @page("GET", _PATH + "/{case_id}", needs=Permission.READ_REPORTS, reach=Reach.WITHIN)
    async def case(self, visit: Visit, case_id: str) -> Answer:
        values = await self._values(visit, case_number(case_id))
        tables = {
            "reports": (REPORT_COLUMNS, values["reports"]),
            "hits": (_HIT_COLUMNS, values["hits"]),
            "refusals": (_REFUSAL_COLUMNS, values["refusals"]),
        }
        return self.desk.tables(visit, "case", values, tables)

    @page("POST", _PATH + "/{case_id}/assign", needs=Permission.HANDLE_REPORTS, reach=Reach.WITHIN)
    async def assign(self, visit: Visit, case_id: str) -> Answer:
        named = visit.fields.get("assignee", "").strip()
        assignee: UserId | None = parse_user_id(named) if named else None
        if visit.fields.get("act") == "take":
            assignee = UserId(visit.operator.user_id)
        await self._cases.assign(case_number(case_id), assignee, by=visit.operator)
        return self._done(case_id, "assigned")

    @page("POST", _PATH + "/{case_id}/note", needs=Permission.HANDLE_REPORTS, reach=Reach.WITHIN)
    async def note(self, visit: Visit, case_id: str) -> Answer:
        await self._cases.note(case_number(case_id), visit.fields.get("text", ""), by=visit.operator)
        return self._done(case_id, "noted")

    @page("POST", _PATH + "/{case_id}/evidence", needs=Permission.READ_CONTENT, reach=Reach.WITHIN)
    async def reveal(self, visit: Visit, case_id: str) -> Answer:
        """Shows what redacted evidence had said: whoever looks is noted, with the reason."""
        await self._cases.revealed(case_number(case_id), reason_of(visit), by=visit.operator)
        return self.desk.page(visit, "case", await self._values(visit, case_number(case_id), is_revealed=True))

    @page("POST", _PATH + "/{case_id}/act", needs=Permission.HANDLE_REPORTS, reach=Reach.WITHIN)
    async def act(self, visit: Visit, case_id: str) -> Answer:
        """First what would be done; then, where that was agreed to, doing it."""
        case, reason = await self._cases.one(case_number(case_id), by=visit.operator), reason_of(visit)
        acts = [name.removeprefix("do_") for name in visit.fields if name.startswith("do_")]
        plan = await self._acts.plan(case, acts, visit.operator)
        if visit.fields.get("step") != "do":
            values = await self._planned(visit, case, plan)
            return self.desk.page(visit, "case_plan", {**values, "reason": reason})
        told = await self._acts.do(case, plan, by=visit.operator, reason=reason)
        await self._cases.note(case.case_id, f"{reason}\n" + "\n".join(told), by=visit.operator)
        return self._done(case_id, "acted")

    @page("POST", _PATH + "/{case_id}/close", needs=Permission.HANDLE_REPORTS, reach=Reach.WITHIN)
    async def close(self, visit: Visit, case_id: str) -> Answer:
        outcome, reply = visit.fields.get("outcome", ""), visit.fields.get("reply", "")
        await self._cases.close(case_number(case_id), outcome, reply, by=visit.operator)
        return self._done(case_id, "closed")

    @page("POST", _PATH + "/{case_id}/appeal", needs=Permission.CHANGE_RULES, reach=Reach.WITHIN)
    async def appeal(self, visit: Visit, case_id: str) -> Answer:
        """Answers what the user said against a decision."""
        answer, reply = visit.fields.get("answer"), visit.fields.get("reply", "")
        if answer not in ("accept", "refuse"):
            raise InvalidParam("say whether the appeal is right")
        await self._appeals.answer(
            decision_number(visit.fields.get("decision", "")),
            is_accepted=answer == "accept",
            reason=reason_of(visit),
            reply=reply,
            by=visit.operator,
        )
        return self._done(case_id, "appeal")

    @page("POST", _PATH + "/{case_id}/reopen", needs=Permission.HANDLE_REPORTS, reach=Reach.WITHIN)
    async def reopen(self, visit: Visit, case_id: str) -> Answer:
        await self._cases.reopen(case_number(case_id), reason_of(visit), by=visit.operator)
        return self._done(case_id, "reopened")

    async def _values(self, visit: Visit, case_id: int, *, is_revealed: bool = False) -> dict[str, Any]:
        by, within = visit.operator, visit.rooms
        case = await self._cases.one(case_id, by=by)
        row, is_user = await cases.one(self._db, case_id, within), case.kind == "user"
        if row is None:
            raise NotFound("there is no such case")
        is_whole = await cases.lies_in(self._db, case_id, within)
        evidence = await cases.evidence(self._db, case_id, within) if visit.may(Permission.READ_CONTENT) else []
        rooms = await self._acts.rooms_of(case, by)
        return {
            "case": row,
            "names": await console_reads.room_names(self._db, rooms),
            "reports": await cases.reports(self._db, case, _SHOWN_MAX, within),
            "hits": await cases.hits(self._db, case.entity, _SHOWN_MAX, within) if is_user else [],
            "refusals": await cases.refusals(self._db, case.entity, _SHOWN_MAX, within) if is_user else [],
            "evidence": [_shown(one, is_revealed) for one in evidence],
            "hidden_evidence": not is_revealed and any(one["is_redacted"] or not one["is_here"] for one in evidence),
            "notes": shown_notes(await cases.notes(self._db, case_id), is_whole, by),
            "is_whole": is_whole,
            "earlier": await cases.earlier(self._db, case) if is_whole else [],
            "rooms": rooms,
            "user": await console_reads.user(self._db, case.entity) if is_user else None,
            "room": None if is_user else await console_reads.room(self._db, case.entity),
            "possible": self._acts.possible(case, by),
            "outcomes": OUTCOMES,
        }

    async def _planned(self, visit: Visit, case: Case, plan: Plan) -> dict[str, Any]:
        shown = plan.events[:200]
        bodies = await console_reads.bodies(self._db, shown) if visit.may(Permission.READ_CONTENT) else {}
        names = await console_reads.room_names(self._db, plan.rooms)
        return {"case": case, "plan": plan, "names": names, "events": [(one, bodies.get(one, "")) for one in shown]}

    def _done(self, case_id: str, what: str) -> Answer:
        return self.desk.go(f"{_PATH}/{case_number(case_id)}?done=case_{what}")


def _shown(one: Any, is_revealed: bool) -> Shown:
    """Evidence as the page has it. What was redacted since is shown only to those who ask for it."""
    source, content = one["source"], one["source"].get("content", {})
    is_hidden = not is_revealed and (one["is_redacted"] or not one["is_here"])
    body = content.get("body") if isinstance(content, dict) else None
    return {
        "event_id": one["event_id"],
        "room_id": one["room_id"],
        "kept_ts": one["kept_ts"],
        "is_redacted": one["is_redacted"],
        "is_here": one["is_here"],
        "is_hidden": is_hidden,
        "type": source.get("type", ""),
        "body": "" if is_hidden or not isinstance(body, str) else body,
        "text": "" if is_hidden else json.dumps(source, ensure_ascii=False, indent=2)[:20_000],
    }
