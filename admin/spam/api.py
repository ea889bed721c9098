"""Spam rules over HTTP: `/_hansa/admin/v1/spam/…`, and appeals of users against decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import orjson

from admin.audit import AuditLog
from admin.audit_actions import Action
from admin.given import decision_number
from admin.spam.book import Recorded, RuleBook, difference
from admin.spam.history import HistoryTrials
from admin.spam.packs import PACKS, pack_of
from admin.spam.plugins import Plugins
from admin.spam.recording import recording
from admin.spam.reviewing import Reviewing
from admin.spam.rules import Rule, Wordlist
from admin.spam.trial import Sample, tried_on
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Access, Caller, Json, Operator, Reach, endpoint

_SPAM = "/_hansa/admin/v1/spam"
_RULE = _SPAM + "/rules/{rule_id}"
_LIST = _SPAM + "/lists/{name}"
_DECISION = _SPAM + "/decisions/{decision_id}"
TEXT_CHARS_MAX = 2_000

# Without NUL, which no column takes.
Why = Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX, pattern="^[^\\x00]*$")]


class RuleBody(msgspec.Struct, frozen=True):
    rule: dict[str, Any]
    why: Why = ""


class StageBody(msgspec.Struct, frozen=True):
    stage: str
    version: int
    percentage: int | None = None
    rooms: list[str] | None = None
    why: Why = ""


class VersionBody(msgspec.Struct, frozen=True):
    version: int
    why: Why = ""


class ListBody(msgspec.Struct, frozen=True):
    kind: str
    entries: list[str]


class TryBody(msgspec.Struct, frozen=True):
    rule: dict[str, Any]
    samples: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=100)]


class TrialBody(msgspec.Struct, frozen=True):
    rule: dict[str, Any] | None = None
    days: Annotated[int, msgspec.Meta(ge=1, le=3_650)] = 30


class UndoBody(msgspec.Struct, frozen=True):
    why: Why = ""


class MarkBody(msgspec.Struct, frozen=True):
    is_spam: bool


class AppealBody(msgspec.Struct, frozen=True):
    code: Annotated[str, msgspec.Meta(max_length=64)]
    text: Why


class DecisionQuery(msgspec.Struct, frozen=True, rename={"before": "from"}):
    before: Annotated[int, msgspec.Meta(ge=1)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
    rule_id: str | None = None
    sender: str | None = None
    appealed: bool = False


class RuleEndpoints:
    """Rules, lists and packs."""

    def __init__(self, book: RuleBook, audit: AuditLog) -> None:
        self._book = book
        self._audit = audit

    @endpoint("GET", _SPAM + "/rules", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_RULES)
    async def list_rules(self) -> Json:
        return {"rules": [self._shown(rule) for rule in self._book.force.rules.values()]}

    @endpoint("GET", _RULE, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_RULES)
    async def rule(self, rule_id: str) -> Json:
        versions = await self._book.versions(rule_id)
        shown: list[Json] = []
        before: Rule | None = None
        for rule, made in versions:
            changed: Json = dict(difference(before, rule)) if before is not None else {}
            shown.append({"rule": msgspec.to_builtins(rule), "changed": changed, **made})
            before = rule
        known = self._book.force.rules.get(rule_id)
        return {"rule": self._shown(known) if known is not None else None, "versions": shown}

    @endpoint("PUT", _RULE, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES)
    async def put(self, operator: Operator, rule_id: str, body: RuleBody) -> Json:
        rule = rule_from({**body.rule, "id": rule_id})
        made = await self._book.put(
            rule, by=operator.user_id, why=body.why, recorded=self._recorded(operator, "rule.put", rule_id, body.why)
        )
        return {"rule": self._shown(made)}

    @endpoint("DELETE", _RULE, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES)
    async def delete(self, operator: Operator, rule_id: str) -> Json:
        await self._book.delete(rule_id, recorded=self._recorded(operator, "rule.delete", rule_id, ""))
        return {}

    @endpoint("POST", _RULE + "/stage", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES)
    async def set_stage(self, operator: Operator, rule_id: str, body: StageBody) -> Json:
        known = self._book.rule(rule_id)
        changed = msgspec.structs.replace(
            known,
            stage=body.stage,
            version=body.version,
            percentage=known.percentage if body.percentage is None else body.percentage,
            rooms=known.rooms if body.rooms is None else tuple(body.rooms),
        )
        recorded = self._recorded(operator, "rule.stage", rule_id, body.why)
        made = await self._book.put(changed, by=operator.user_id, why=body.why, recorded=recorded)
        return {"rule": self._shown(made)}

    @endpoint(
        "POST", _RULE + "/rollback", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES
    )
    async def roll_back(self, operator: Operator, rule_id: str, body: VersionBody) -> Json:
        """A new version that says what an earlier one said."""
        earlier = {rule.version: rule for rule, _ in await self._book.versions(rule_id)}.get(body.version)
        if earlier is None:
            raise NotFound("the rule has no such version")
        known = self._book.force.rules.get(rule_id)
        wanted = msgspec.structs.replace(earlier, version=known.version if known is not None else 0)
        recorded = self._recorded(operator, "rule.rollback", rule_id, body.why)
        made = await self._book.put(wanted, by=operator.user_id, why=body.why, recorded=recorded)
        return {"rule": self._shown(made)}

    @endpoint("POST", _SPAM + "/try", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_RULES)
    async def try_out(self, body: TryBody) -> Json:
        """What a rule says of examples; nothing is kept, nothing is done."""
        rule = rule_from({"id": "tried", "title": "tried", **body.rule})
        try:
            samples = [msgspec.convert(sample, Sample) for sample in body.samples]
            return {"results": tried_on(rule, self._book.force.lists, samples)}
        except (ValueError, msgspec.ValidationError) as error:
            raise InvalidParam(str(error)[:500]) from None

    @endpoint("GET", _SPAM + "/lists", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_RULES)
    async def lists(self) -> Json:
        found = await self._book.lists()
        return {"lists": [{"name": one.name, "kind": one.kind, "entries": len(one.entries)} for one in found]}

    @endpoint("GET", _LIST, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_RULES)
    async def list_entries(self, name: str) -> Json:
        for one in await self._book.lists():
            if one.name == name:
                return {"name": one.name, "kind": one.kind, "entries": list(one.entries)}
        raise NotFound("there is no such list")

    @endpoint(
        "PUT",
        _LIST,
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_RULES,
        body_bytes_max=16 << 20,
    )
    async def put_list(self, operator: Operator, name: str, body: ListBody) -> Json:
        wordlist = Wordlist(name=name, kind=body.kind, entries=tuple(body.entries))
        await self._book.put_list(wordlist, recorded=self._recorded(operator, "spam_list.put", name, ""))
        return {}

    @endpoint("DELETE", _LIST, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES)
    async def delete_list(self, operator: Operator, name: str) -> Json:
        await self._book.delete_list(name, recorded=self._recorded(operator, "spam_list.delete", name, ""))
        return {}

    @endpoint("GET", _SPAM + "/packs", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_RULES)
    async def packs(self) -> Json:
        """Ready rules; none is in force before it is installed."""
        return {
            "packs": [
                {"name": pack.name, "title": pack.title, "rules": [msgspec.to_builtins(rule) for rule in pack.rules]}
                for pack in PACKS
            ]
        }

    @endpoint(
        "POST", _SPAM + "/packs/{name}", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES
    )
    async def install(self, operator: Operator, name: str) -> Json:
        """Puts a pack's rules in force as it gives them: in shadow. Those that are there already stay as they are."""
        pack = pack_of(name)
        if pack is None:
            raise NotFound("there is no such pack")
        for wordlist in pack.lists:
            recorded = self._recorded(operator, "spam_list.put", wordlist.name, f"pack {name}")
            await self._book.put_list(wordlist, recorded=recorded)
        made = []
        for rule in pack.rules:
            if rule.id not in self._book.force.rules:
                recorded = self._recorded(operator, "rule.put", rule.id, f"pack {name}")
                made.append(await self._book.put(rule, by=operator.user_id, why=f"pack {name}", recorded=recorded))
        return {"rules": [self._shown(rule) for rule in made]}

    def _shown(self, rule: Rule) -> Json:
        stopped = self._book.stopped.get((rule.id, rule.version))
        return {**msgspec.to_builtins(rule), **({"stopped": stopped} if stopped else {})}

    def _recorded(self, operator: Operator, action: Action, target: str, why: str) -> Recorded:
        return recording(self._audit, operator, action, target, why)


class TrialEndpoints:
    """Rules on what was said before."""

    def __init__(self, book: RuleBook, trials: HistoryTrials) -> None:
        self._book = book
        self._trials = trials

    @endpoint("POST", _RULE + "/trial", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_RULES)
    async def begin(self, operator: Operator, rule_id: str, body: TrialBody) -> Json:
        """A job whose progress says what the rule would have hit: one that is given, or the version in force."""
        rule = rule_from({**body.rule, "id": rule_id}) if body.rule is not None else self._book.rule(rule_id)
        return {"job_id": await self._trials.begin(rule, body.days, by=operator)}


class DecisionEndpoints:
    """What rules decided: listed, explained, appealed, undone."""

    def __init__(self, reviewing: Reviewing, audit: AuditLog) -> None:
        self._reviewing = reviewing
        self._audit = audit

    @endpoint(
        "GET", _SPAM + "/decisions", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_RULES
    )
    async def decisions(self, operator: Operator, query: DecisionQuery) -> Json:
        rows = await self._reviewing.page(
            before=query.before,
            rule_id=query.rule_id,
            sender=query.sender,
            appealed=query.appealed,
            limit=query.limit,
            rooms=operator.rooms,
        )
        following = {"next": rows[-1]["decision_id"]} if len(rows) == query.limit else {}
        return {"decisions": [dict(row) for row in rows], **following}

    @endpoint("GET", _DECISION, access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_RULES)
    async def explain(self, operator: Operator, decision_id: str) -> Json:
        """The rule as it was, and the values that it saw."""
        await self._reviewing.check_room(decision_number(decision_id), operator)
        row, rule = await self._reviewing.explained(decision_number(decision_id))
        shown = {**dict(row), "seen": orjson.loads(row["seen"])}
        return {"decision": shown, "rule": msgspec.to_builtins(rule) if rule is not None else None}

    @endpoint(
        "POST", _DECISION + "/undo", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.CHANGE_RULES
    )
    async def undo(self, operator: Operator, decision_id: str, body: UndoBody) -> Json:
        await self._reviewing.check_room(decision_number(decision_id), operator)
        recorded = recording(self._audit, operator, "decision.undo", decision_id, body.why)
        return await self._reviewing.undo(
            decision_number(decision_id), by=operator.user_id, why=body.why, recorded=recorded
        )

    @endpoint(
        "POST", _DECISION + "/mark", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.CHANGE_RULES
    )
    async def mark(self, operator: Operator, decision_id: str, body: MarkBody) -> Json:
        await self._reviewing.check_room(decision_number(decision_id), operator)
        recorded = recording(self._audit, operator, "decision.mark", decision_id, "")
        await self._reviewing.mark(
            decision_number(decision_id), is_spam=body.is_spam, by=operator.user_id, recorded=recorded
        )
        return {}


class PluginEndpoint:
    """Plug-ins that are in force."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    @endpoint("GET", _SPAM + "/plugins", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_RULES)
    async def plugins(self) -> Json:
        return {"plugins": self._plugins.shown()}


class AppealEndpoint:
    """A user answers to a refusal with its code."""

    def __init__(self, reviewing: Reviewing) -> None:
        self._reviewing = reviewing

    @endpoint("POST", "/_hansa/client/v1/appeals", access=Access.USER, spec="", limit="report")
    async def appeal(self, caller: Caller, body: AppealBody) -> Json:
        await self._reviewing.appeal(body.code, body.text, by=caller.user_id)
        return {}


def rule_from(value: Mapping[str, Any]) -> Rule:
    """Raises InvalidParam."""
    try:
        rule = msgspec.convert(value, Rule)
    except msgspec.ValidationError as error:
        raise InvalidParam(str(error)) from None
    if not 0 < len(rule.id) <= 64 or not rule.id.replace("-", "").replace("_", "").isalnum():
        raise InvalidParam("a rule's id has 1 to 64 letters, digits, - and _")
    return rule
