"""Answers to users who said that a rule was wrong about them: it was, and is undone; or it was right."""

from __future__ import annotations

from admin.actions.cases import CaseTools, checked_text, replied
from admin.audit import entry_of
from admin.spam.recording import recording
from admin.spam.reviewing import Reviewing
from admin.storage import cases
from homeserver.accounts.server_notices import ServerNotices
from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.operators import Permission
from homeserver.storage.database import Row
from homeserver.web.endpoint import Operator


class Appeals:
    """Each is answered once. What is decided of it marks the sample, so that trials know better."""

    def __init__(self, tools: CaseTools, reviewing: Reviewing, notices: ServerNotices) -> None:
        self._tools = tools
        self._reviewing = reviewing
        self._notices = notices

    async def page(
        self, sender: str, below: tuple[int, int], limit: int, *, only_open: bool, by: Operator
    ) -> list[Row]:
        """The latest first, of one user or (empty) of all; only those that nobody answered yet, or all."""
        return await cases.appeals(self._tools.db, sender, below, limit, only_open=only_open, rooms=by.rooms)

    async def answer(self, decision_id: int, *, is_accepted: bool, reason: str, reply: str, by: Operator) -> bool:
        """Undoes the decision, or upholds it; whether the user was told `reply` (empty: nothing).

        Raises NotFound, InvalidParam; MatrixError (409) where it was answered or undone before.
        """
        by.check(Permission.CHANGE_RULES)
        reason = checked_text(reason)
        text = checked_text(reply) if reply.strip() else ""
        row = await cases.appeal(self._tools.db, decision_id)
        if row is None or not by.has_room(row["room_id"]):
            raise NotFound("there is no such appeal")
        if row["undone_ts"] is not None:
            raise MatrixError("this decision was undone already", status=409)
        now_ms, audit = self._tools.clock.now_ms(), self._tools.audit
        async with self._tools.db.transaction() as tx:
            who = by.user_id
            if not await cases.answer(tx, decision_id, is_accepted=is_accepted, reply=text, by=who, now_ms=now_ms):
                raise MatrixError("this appeal was answered already", status=409)
            after = {"decision": str(decision_id), "accepted": is_accepted, "reply": text}
            await audit.record(tx, entry_of(by, "appeal.answer", row["sender"], reason=reason, after=after))
        number = str(decision_id)
        if is_accepted:
            recorded = recording(audit, by, "decision.undo", number, reason)
            await self._reviewing.undo(decision_id, by=by.user_id, why=reason, recorded=recorded, has_reply=bool(text))
        else:
            recorded = recording(audit, by, "decision.mark", number, reason)
            await self._reviewing.mark(decision_id, is_spam=True, by=by.user_id, recorded=recorded)
        return await replied(self._notices, row["sender"], text, by.user_id) if text else False
