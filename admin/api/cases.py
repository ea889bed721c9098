"""Cases: /_hansa/admin/v1/cases; and what users say against rules: /_hansa/admin/v1/appeals."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from admin.actions.case_acts import CaseWork, Plan
from admin.actions.cases import shown_notes
from admin.given import case_number, checked_reason, decision_number
from admin.storage import cases
from admin.storage.cases import CaseFilter
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import UserId
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_CASES = "/_hansa/admin/v1/cases"
_CASE = _CASES + "/{case_id}"
_APPEALS = "/_hansa/admin/v1/appeals"
_LATEST = (2**62, 2**62)
_SAID_MAX = 200
_PAGE_MAX = 500
_Limit = Annotated[int, msgspec.Meta(ge=1, le=_PAGE_MAX)]
_Text = Annotated[str, msgspec.Meta(max_length=255)]


class CasesQuery(msgspec.Struct, frozen=True):
    state: Literal["open", "unassigned", "closed"] = "open"
    about: _Text = ""  # a user, a room, or an assignee
    kind: Literal["user", "room", ""] = ""
    because: Literal["report", "appeal", "held", "hits", "refusal", ""] = ""
    limit: _Limit = 100
    from_: _Text = msgspec.field(default="", name="from")


class AppealsQuery(msgspec.Struct, frozen=True):
    user_id: _Text = ""
    answered: bool = False  # those that were answered as well
    limit: _Limit = 100
    from_: _Text = msgspec.field(default="", name="from")


class AssignBody(msgspec.Struct, frozen=True):
    assignee: UserId | None


class NoteBody(msgspec.Struct, frozen=True):
    text: str


class ReasonBody(msgspec.Struct, frozen=True):
    reason: str


class ActsBody(msgspec.Struct, frozen=True):
    acts: Annotated[list[str], msgspec.Meta(max_length=20)]
    reason: str = ""
    preview: bool = False  # what would be done, and nothing else


class CloseBody(msgspec.Struct, frozen=True):
    outcome: str
    reply: str = ""


class AnswerBody(msgspec.Struct, frozen=True):
    accepted: bool
    reason: str
    reply: str = ""


class CaseEndpoints:
    """Listed and looked at. What people wrote is shown to those who may read it."""

    def __init__(self, db: Database, work: CaseWork) -> None:
        self._db = db
        self._work = work

    @endpoint("GET", _CASES, access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_REPORTS)
    async def list_cases(self, operator: Operator, query: CasesQuery) -> Json:
        """Those of which something was said last first; `next_token` where there are more."""
        await self._work.keeping.catch_up()
        wanted = CaseFilter(
            is_open=query.state != "closed",
            only_unassigned=query.state == "unassigned",
            about=query.about,
            kind=query.kind,
            because=query.because,
            rooms=operator.rooms,
        )
        rows = await cases.page(self._db, wanted, _below(query.from_), query.limit + 1)
        return _listed("cases", rows, query.limit, "changed_ts", "case_id")

    @endpoint("GET", _CASE, access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_REPORTS)
    async def one(self, operator: Operator, case_id: str) -> Json:
        """With reports, hits of rules, refusals, notes and evidence; redacted evidence only by its id."""
        return await self._whole(operator, case_number(case_id), is_revealed=False)

    @endpoint(
        "POST", _CASE + "/evidence", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_CONTENT
    )
    async def reveal(self, operator: Operator, case_id: str, body: ReasonBody) -> Json:
        """The same with what redacted events had said: that it was looked at, and why, is written down."""
        number = case_number(case_id)
        await self._work.keeping.revealed(number, checked_reason(body.reason), by=operator)
        return await self._whole(operator, number, is_revealed=True)

    async def _whole(self, operator: Operator, case_id: int, *, is_revealed: bool) -> Json:
        case, rooms = await self._work.keeping.one(case_id, by=operator), operator.rooms
        row, is_user = await cases.one(self._db, case_id, rooms), case.kind == "user"
        if row is None:
            raise NotFound("there is no such case")
        reads, is_whole = operator.holds(Permission.READ_CONTENT), await cases.lies_in(self._db, case_id, rooms)
        kept = await cases.evidence(self._db, case_id, rooms) if reads else []
        hits = await cases.hits(self._db, case.entity, _SAID_MAX, rooms) if is_user else []
        refusals = await cases.refusals(self._db, case.entity, _SAID_MAX, rooms) if is_user else []
        return {
            **row,
            "possible_acts": list(self._work.acts.possible(case, operator)),
            "rooms": await self._work.acts.rooms_of(case, operator),
            "reported": [dict(one) for one in await cases.reports(self._db, case, _SAID_MAX, rooms)],
            "rule_hits": [dict(one) for one in hits],
            "refused": [dict(one) for one in refusals],
            "notes": shown_notes(await cases.notes(self._db, case_id), is_whole, operator),
            "evidence": [_evidence(dict(one), is_revealed) for one in kept],
            "earlier": [one["case_id"] for one in await cases.earlier(self._db, case)] if is_whole else [],
        }


class CaseActEndpoints:
    """What is done with a case."""

    def __init__(self, work: CaseWork) -> None:
        self._cases = work.keeping
        self._acts = work.acts

    @endpoint(
        "POST", _CASE + "/assign", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.HANDLE_REPORTS
    )
    async def assign(self, operator: Operator, case_id: str, body: AssignBody) -> Json:
        """To an operator, or with null to nobody."""
        await self._cases.assign(case_number(case_id), body.assignee, by=operator)
        return {}

    @endpoint(
        "POST", _CASE + "/notes", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.HANDLE_REPORTS
    )
    async def note(self, operator: Operator, case_id: str, body: NoteBody) -> Json:
        await self._cases.note(case_number(case_id), body.text, by=operator)
        return {}

    @endpoint(
        "POST", _CASE + "/acts", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.HANDLE_REPORTS
    )
    async def act(self, operator: Operator, case_id: str, body: ActsBody) -> Json:
        """Several acts at once: what came of each, in words. With `preview` only what it would be about."""
        case = await self._cases.one(case_number(case_id), by=operator)
        plan = await self._acts.plan(case, body.acts, operator)
        if body.preview:
            return {"plan": _planned(plan)}
        reason = checked_reason(body.reason)
        told = await self._acts.do(case, plan, by=operator, reason=reason)
        await self._cases.note(case.case_id, f"{reason}\n" + "\n".join(told), by=operator)
        return {"done": told}

    @endpoint(
        "POST", _CASE + "/close", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.HANDLE_REPORTS
    )
    async def close(self, operator: Operator, case_id: str, body: CloseBody) -> Json:
        """`told`: to how many reporters of this server the reply went."""
        return {"told": await self._cases.close(case_number(case_id), body.outcome, body.reply, by=operator)}

    @endpoint(
        "POST", _CASE + "/reopen", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.HANDLE_REPORTS
    )
    async def reopen(self, operator: Operator, case_id: str, body: ReasonBody) -> Json:
        await self._cases.reopen(case_number(case_id), checked_reason(body.reason), by=operator)
        return {}


class AppealEndpoints:
    """What users say against decisions about them, and the answers."""

    def __init__(self, work: CaseWork) -> None:
        self._appeals = work.appeals

    @endpoint("GET", _APPEALS, access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_REPORTS)
    async def list_appeals(self, operator: Operator, query: AppealsQuery) -> Json:
        """The latest first; those that wait for an answer unless `answered`."""
        below, more = _below(query.from_), query.limit + 1
        rows = await self._appeals.page(query.user_id, below, more, only_open=not query.answered, by=operator)
        return _listed("appeals", rows, query.limit, "appealed_ts", "decision_id")

    @endpoint(
        "POST",
        _APPEALS + "/{decision_id}",
        access=Access.ADMIN,
        reach=Reach.WITHIN,
        spec="",
        needs=Permission.CHANGE_RULES,
    )
    async def answer(self, operator: Operator, decision_id: str, body: AnswerBody) -> Json:
        """Accepted: the decision is undone. `told`: whether the user got the reply."""
        number = decision_number(decision_id)
        told = await self._appeals.answer(
            number, is_accepted=body.accepted, reason=body.reason, reply=body.reply, by=operator
        )
        return {"told": told}


def _listed(name: str, rows: list[Any], limit: int, ts: str, number: str) -> Json:
    shown = [dict(row) for row in rows[:limit]]
    more = {"next_token": f"{shown[-1][ts]}.{shown[-1][number]}"} if len(rows) > limit else {}
    return {name: shown, **more}


def _below(token: str) -> tuple[int, int]:
    """Where a page goes on. Raises InvalidParam."""
    if not token:
        return _LATEST
    parts = token.split(".")
    if len(parts) != 2 or not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in parts):
        raise InvalidParam("from must be a next_token of the page before")
    return int(parts[0]), int(parts[1])


def _evidence(one: dict[str, Any], is_revealed: bool) -> dict[str, Any]:
    is_hidden = not is_revealed and (one["is_redacted"] or not one["is_here"])
    shown = {name: one[name] for name in ("event_id", "room_id", "kept_ts", "is_redacted", "is_here")}
    return shown if is_hidden else {**shown, "event": one["source"]}


def _planned(plan: Plan) -> dict[str, Any]:
    return {"acts": plan.acts, "events": plan.events, "rooms": plan.rooms, "files": plan.files}
