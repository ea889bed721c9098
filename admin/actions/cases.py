"""Cases: everything said against one user or room in one place, from the first word to the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from admin.actions.operators import OperatorRoles
from admin.audit import AuditLog, entry_of
from admin.audit_actions import Action
from admin.storage import cases
from admin.storage.cases import Case
from homeserver.accounts.server_notices import ServerNotices
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError, NotFound
from homeserver.core.identifiers import UserId, domain_of
from homeserver.core.operators import Permission
from homeserver.runtime.bell import Bell
from homeserver.runtime.clock import Clock
from homeserver.storage import bodies
from homeserver.storage.database import Database, Row, Tx
from homeserver.web.endpoint import Operator

log = structlog.get_logger()

OUTCOMES = ("acted", "nothing", "wrong")
TEXT_CHARS_MAX = 5_000
TOLD_MAX = 50
# What is said at the same time is taken in at once; without a word the round is for what has grown old.
_GATHERED_S = 2.0
_FALL_BACK_S = 1_800.0
# What commits late isn't missed: each sweep looks back so far.
_OVERLAP_MS = 600_000
_EVIDENCE_KEPT_MS = 180 * 86_400_000


@dataclass(frozen=True, slots=True)
class CaseTools:
    """What cases are kept with."""

    db: Database
    clock: Clock
    audit: AuditLog


class Cases:
    """Opens cases by itself; assigns, annotates and closes them for operators."""

    def __init__(self, tools: CaseTools, roles: OperatorRoles, notices: ServerNotices, said: Bell) -> None:
        self._tools = tools
        self._roles = roles
        self._notices = notices
        self._said = said
        self._swept_ms = 0
        self._sweeping = asyncio.Lock()

    async def sweep(self) -> None:
        """Takes in what was said since the last time; waits for who does so now."""
        async with self._sweeping:
            self._said.answer()
            now = self._tools.clock.now_ms()
            since_ms = max(0, self._swept_ms - _OVERLAP_MS)
            moved = await cases.elsewhere(self._tools.db, since_ms)
            said = await bodies.of(self._tools.db, moved) if moved else {}
            async with self._tools.db.transaction() as tx:
                await bodies.put_back(tx, said)
                await cases.sweep(tx, since_ms, now - _OVERLAP_MS, now)
                await cases.forget_evidence(tx, now - _EVIDENCE_KEPT_MS)
            self._swept_ms = now

    async def run(self) -> None:
        """One round of a background task."""
        await self.sweep()
        await self._said.wait(self._tools.clock, _FALL_BACK_S)
        await self._tools.clock.sleep(_GATHERED_S)

    async def catch_up(self) -> None:
        """Takes in at once what was said and waits for the next round."""
        # Who sweeps now has answered the bell, and isn't done.
        if self._said.is_rung or self._sweeping.locked():
            await self.sweep()

    async def one(self, case_id: int, *, by: Operator) -> Case:
        """Raises NotFound, also where nothing of it was said in the operator's rooms."""
        async with self._tools.db.transaction() as tx:
            return await self._locked(tx, case_id, by)

    async def assign(self, case_id: int, assignee: UserId | None, *, by: Operator) -> None:
        """Gives a case to an operator who handles reports, or to nobody. Raises NotFound, InvalidParam."""
        by.check(Permission.HANDLE_REPORTS)
        if assignee is not None and await self._roles.of(assignee) is None:
            raise InvalidParam(f"{assignee} doesn't run this server")
        async with self._tools.db.transaction() as tx:
            case = await self._locked(tx, case_id, by)
            await cases.assign(tx, case_id, assignee)
            was, now = {"assignee": case.assignee}, {"assignee": assignee}
            await self._record(tx, by, "case.assign", case, before=was, after=now)

    async def note(self, case_id: int, text: str, *, by: Operator) -> None:
        """Adds a note, which stays. Raises NotFound, InvalidParam."""
        by.check(Permission.HANDLE_REPORTS)
        text = checked_text(text)
        async with self._tools.db.transaction() as tx:
            case = await self._locked(tx, case_id, by)
            await cases.note(tx, case_id, by=by.user_id, text=text, now_ms=self._tools.clock.now_ms())
            await self._record(tx, by, "case.note", case)

    async def close(self, case_id: int, outcome: str, reply: str, *, by: Operator) -> int:
        """Ends a case; with a reply, the reporters of ours get it. How many did. Raises NotFound, MatrixError."""
        by.check(Permission.HANDLE_REPORTS)
        if outcome not in OUTCOMES:
            raise InvalidParam(f"outcome must be one of {', '.join(OUTCOMES)}")
        answer = checked_text(reply) if reply.strip() else None
        async with self._tools.db.transaction() as tx:
            case = await self._locked(tx, case_id, by)
            await self._check_whole(tx, case, by)
            if not case.is_open:
                raise MatrixError("this case is closed already", status=409)
            reporters = {row["reporter"] for row in await cases.reports(tx, case, TOLD_MAX)}
            now = self._tools.clock.now_ms()
            await cases.close(tx, case_id, by=by.user_id, outcome=outcome, reply=answer, now_ms=now)
            await self._record(tx, by, "case.close", case, after={"outcome": outcome, "reply": answer})
        return await self._tell(reporters, answer, by.user_id) if answer is not None else 0

    async def reopen(self, case_id: int, reason: str, *, by: Operator) -> None:
        """Raises NotFound, MatrixError where it is open, or another one of the same is."""
        by.check(Permission.HANDLE_REPORTS)
        async with self._tools.db.transaction() as tx:
            case = await self._locked(tx, case_id, by)
            await self._check_whole(tx, case, by)
            if case.is_open or not await cases.reopen(tx, case):
                raise MatrixError("there is an open case of this user or room", status=409)
            await self._record(tx, by, "case.reopen", case, reason=reason)

    async def revealed(self, case_id: int, reason: str, *, by: Operator) -> None:
        """Notes that somebody looked at what redacted evidence had said."""
        by.check(Permission.READ_CONTENT)
        async with self._tools.db.transaction() as tx:
            await self._record(tx, by, "case.evidence", await self._locked(tx, case_id, by), reason=reason)

    async def _tell(self, reporters: set[str], text: str, by: str) -> int:
        return sum([await replied(self._notices, reporter, text, by) for reporter in sorted(reporters)])

    async def _locked(self, tx: Tx, case_id: int, by: Operator) -> Case:
        case = await cases.locked(tx, case_id)
        if case is None or (by.rooms is not None and not await cases.touches(tx, case_id, by.rooms)):
            raise NotFound("there is no such case")
        return case

    async def _check_whole(self, tx: Tx, case: Case, by: Operator) -> None:
        """Who is bound to rooms ends no case that is about others too."""
        if not await cases.lies_in(tx, case.case_id, by.rooms):
            raise Forbidden("your role is bound to rooms, and this case is about other ones too")

    async def _record(
        self,
        tx: Tx,
        by: Operator,
        action: Action,
        case: Case,
        *,
        reason: str | None = None,
        before: Mapping[str, str | None] | None = None,
        after: Mapping[str, str | None] | None = None,
    ) -> None:
        shown = {"case": str(case.case_id), **(after or {})}
        entry = entry_of(by, action, case.entity, reason=reason, before=before, after=shown)
        await self._tools.audit.record(tx, entry)


def shown_notes(notes: Sequence[Row], is_whole: bool, by: Operator) -> list[dict[str, Any]]:
    """Of a case that is about other rooms too, who is bound to some sees their own notes: others' may tell of those."""
    return [dict(one) for one in notes if is_whole or one["author"] == by.user_id]


async def replied(notices: ServerNotices, user_id: str, text: str, by: str) -> bool:
    """Tells a user of the server that `by` is of. Whether they got it: others are told nothing."""
    if domain_of(user_id) != domain_of(by) or user_id.startswith("@:"):
        return False
    try:
        await notices.send(UserId(user_id), {"msgtype": "m.text", "body": text})
    except MatrixError as error:
        log.info("reply_failed", why=error.message[:200])
        return False
    return True


def checked_text(text: str) -> str:
    """Raises InvalidParam."""
    text = text.strip().replace("\x00", "")
    if not 0 < len(text) <= TEXT_CHARS_MAX:
        raise InvalidParam(f"a text has 1 to {TEXT_CHARS_MAX} characters")
    return text
