"""Spam rules: which there are and what they do, written, tried, put in force a share at a time, and taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from admin.console.acting import reason_of, whole_number
from admin.console.changes import changes
from admin.console.desk import Desk, Visit, rule_path
from admin.console.page import page
from admin.console.rule_form import ACTION_ROWS, DETAILS, described, form_of, rule_in
from admin.spam.api import RuleBody, RuleEndpoints, StageBody, TryBody, VersionBody, rule_from
from admin.spam.book import RuleBook, difference
from admin.spam.rules import ACTIONS, HOOKS, STAGES, Rule, check_rule
from admin.storage import rule_reads
from admin.storage.console_reads import Shown
from admin.storage.rule_reads import Hits
from homeserver.core.errors import InvalidParam, MatrixError
from homeserver.core.operators import Permission
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/spam"
_DAY_MS = 86_400_000
_TRIALS_MAX = 10
_COLUMNS = (
    "id",
    "title",
    "stage",
    "percentage",
    "version",
    "enforced",
    "shadowed",
    "newest_ts",
    "stopped",
    "condition",
)
_SHOWN = ("all", *STAGES, "stopped")
_NEW = Rule(id="", title="", when=("event",), condition="", actions=())


class SpamRulePages:
    """/admin/spam and /admin/spam/rules."""

    def __init__(self, desk: Desk, db: Database, clock: Clock, book: RuleBook, rules: RuleEndpoints) -> None:
        self.desk = desk
        self._db = db
        self._clock = clock
        self._book = book
        self._rules = rules

    @page("GET", _PATH, needs=Permission.READ_RULES, reach=Reach.SERVER)
    async def rules(self, visit: Visit) -> Answer:
        wanted, state, after = visit.asked("q").lower(), visit.asked("state") or "all", visit.asked("after")
        hits = await rule_reads.hits(self._db, self._clock.now_ms() - _DAY_MS)

        async def fetch(limit: int) -> list[Shown]:
            found = [self._row(rule, hits.get(rule.id, Hits())) for rule in self._book.force.rules.values()]
            found = [row for row in found if row["id"] > after and wanted in f"{row['id']} {row['title']}".lower()]
            if state != "all":
                found = [row for row in found if (row["stopped"] if state == "stopped" else row["stage"] == state)]
            return sorted(found, key=lambda row: str(row["id"]))[:limit]

        values = {"q": visit.asked("q"), "state": state, "states": _SHOWN}
        return await self.desk.listing(visit, "spam-rules", _COLUMNS, fetch, values, template="spam_rules", more="id")

    @page("GET", _PATH + "/new", needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def new(self, visit: Visit) -> Answer:
        return self._form(visit, form_of(_NEW))

    @page("GET", _PATH + "/rules/{rule_id}", needs=Permission.READ_RULES, reach=Reach.SERVER)
    async def rule(self, visit: Visit, rule_id: str) -> Answer:
        versions = await self._book.versions(rule_id)
        known = self._book.force.rules.get(rule_id)
        shown = known or versions[-1][0]
        hits = await rule_reads.hits(self._db, self._clock.now_ms() - _DAY_MS)
        values = {
            "rule": shown,
            "row": self._row(shown, hits.get(rule_id, Hits())),
            "in_force": known is not None,
            "actions": [(action, described(action)) for action in shown.actions],
            "versions": _told(versions, visit.language),
            "trials": await rule_reads.trials(self._db, rule_id, _TRIALS_MAX),
            "stages": STAGES,
        }
        return self.desk.page(visit, "spam_rule", values)

    @page("GET", _PATH + "/rules/{rule_id}/edit", needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def edit(self, visit: Visit, rule_id: str) -> Answer:
        return self._form(visit, form_of(self._book.rule(rule_id)), is_known=True)

    @page("POST", _PATH + "/rules", needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def save(self, visit: Visit) -> Answer:
        """Checks what was typed, and keeps it where that was asked for and nothing is wrong."""
        fields, is_known = dict(visit.fields), "is_known" in visit.fields
        try:
            body = rule_in(fields)
            rule = rule_from(body)
            await asyncio.to_thread(check_rule, rule)
            if not is_known and rule.id in self._book.force.rules:
                raise InvalidParam("there is a rule with this id already")
        except (MatrixError, ValueError) as error:
            why = error.message if isinstance(error, MatrixError) else str(error)
            return self._form(visit, fields, is_known=is_known, problem=why, status=400)
        if fields.get("act") != "save":
            return self._form(visit, fields, is_known=is_known, tried=await self._tried(body, fields.get("sample", "")))
        try:
            await self._rules.put(visit.operator, rule.id, RuleBody(rule=body, why=reason_of(visit)))
        except MatrixError as error:
            return self._form(visit, fields, is_known=is_known, problem=error.message, status=error.http_status)
        return self.desk.go(f"{rule_path(rule.id)}?done=rule_saved")

    @page("POST", _PATH + "/rules/{rule_id}/stage", needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def set_stage(self, visit: Visit, rule_id: str) -> Answer:
        body = StageBody(
            stage=visit.fields.get("stage", ""),
            version=whole_number(visit, "version") or 0,
            percentage=whole_number(visit, "percentage"),
            rooms=visit.fields.get("rooms", "").split(),
            why=reason_of(visit),
        )
        await self._rules.set_stage(visit.operator, rule_id, body)
        return self.desk.go(f"{rule_path(rule_id)}?done=rule_stage")

    @page("POST", _PATH + "/rules/{rule_id}/rollback", needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def roll_back(self, visit: Visit, rule_id: str) -> Answer:
        body = VersionBody(version=whole_number(visit, "version") or 0, why=reason_of(visit))
        await self._rules.roll_back(visit.operator, rule_id, body)
        return self.desk.go(f"{rule_path(rule_id)}?done=rule_rolled_back")

    @page("POST", _PATH + "/rules/{rule_id}/delete", needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def delete(self, visit: Visit, rule_id: str) -> Answer:
        await self._rules.delete(visit.operator, rule_id)
        return self.desk.go(f"{_PATH}?done=rule_deleted")

    def _row(self, rule: Rule, hits: Hits) -> Shown:
        return {
            "id": rule.id,
            "title": rule.title,
            "when": rule.when,
            "stage": rule.stage,
            "percentage": rule.percentage,
            "rooms": rule.rooms,
            "version": rule.version,
            "condition": rule.condition,
            "until_ms": rule.until_ms,
            "enforced": hits.enforced,
            "shadowed": hits.shadowed,
            "newest_ts": hits.newest_ts,
            "stopped": self._book.stopped.get((rule.id, rule.version), ""),
        }

    async def _tried(self, body: Mapping[str, Any], text: str) -> dict[str, Any]:
        """What the rule says of a message with this text; without one, only that it can be used."""
        if not text:
            return {"hit": None}
        sample = {"content": {"msgtype": "m.text", "body": text[:10_000]}}
        answer = await self._rules.try_out(TryBody(rule={**body, "when": ["event"]}, samples=[sample]))
        return dict(answer["results"][0])

    def _form(
        self,
        visit: Visit,
        fields: Mapping[str, str],
        *,
        is_known: bool = False,
        problem: str = "",
        tried: Mapping[str, Any] | None = None,
        status: int = 200,
    ) -> Answer:
        values = {
            "fields": fields,
            "is_known": is_known,
            "problem": problem,
            "tried": tried,
            "hooks": HOOKS,
            "stages": STAGES,
            "kinds": ACTIONS,
            "details": DETAILS,
            "action_rows": range(ACTION_ROWS),
        }
        return self.desk.page(visit, "spam_rule_form", values, status=status)


def _told(versions: list[tuple[Rule, Mapping[str, Any]]], language: str) -> list[dict[str, Any]]:
    """Each version with what it changed, the newest first."""
    told: list[dict[str, Any]] = []
    before: Rule | None = None
    for rule, made in versions:
        changed = difference(before, rule) if before is not None else {}
        sides = ({name: values[side] for name, values in changed.items()} for side in (0, 1))
        old, new = (msgspec.json.encode(side).decode() for side in sides)
        told.append({"version": rule.version, "changed": changes(old, new, language), "stage": rule.stage, **made})
        before = rule
    return told[::-1]
