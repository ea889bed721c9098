"""Acts that need two: one operator asks by trying, another approves, and the first does it within the hour."""

from __future__ import annotations

from collections.abc import Collection

from admin.audit import AuditLog, entry_of
from admin.storage import approvals
from admin.storage.approvals import Approval
from homeserver.core.errors import Forbidden, NotFound
from homeserver.core.operators import Permission
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator

GOOD_FOR_MS = 3_600_000
LISTED_MAX = 500


class FourEyes:
    """Asked before each act; those that the configuration doesn't name pass."""

    def __init__(
        self, db: Database, audit: AuditLog, clock: Clock, randomness: Randomness, acts: Collection[str]
    ) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock
        self._randomness = randomness
        self._acts = frozenset(acts)

    async def check(self, act: str, target: str, permission: Permission, *, by: Operator) -> None:
        """Passes where nobody need agree, or somebody has, which counts once.

        Raises Forbidden, with the `approval_id` that a second operator needs, where somebody has yet to.
        """
        if act not in self._acts:
            return
        now = self._clock.now_ms()
        async with self._db.transaction() as tx:
            approved_by = await approvals.take(tx, by.user_id, act, target, now - GOOD_FOR_MS)
            if approved_by is not None:
                entry = entry_of(by, "approval.use", target, after={"act": act, "approved_by": approved_by})
                await self._audit.record(tx, entry)
                return
            wish = Approval(
                approval_id=self._randomness.letters(16),
                act=act,
                target=target,
                permission=permission.value,
                asked_by=by.user_id,
                asked_ts=now,
            )
            asked, is_new = await approvals.ask(tx, wish, now - GOOD_FOR_MS)
            if is_new:
                await self._audit.record(tx, entry_of(by, "approval.ask", target, after={"act": act}))
        raise Forbidden(
            "a second operator has to approve this: then do it again", extra={"approval_id": asked.approval_id}
        )

    async def waiting(self) -> list[Approval]:
        """What was asked for within the hour, the newest first."""
        return await approvals.some(self._db, self._clock.now_ms() - GOOD_FOR_MS, LISTED_MAX)

    async def approve(self, approval_id: str, *, by: Operator) -> None:
        """Raises NotFound; Forbidden for whoever asked, and for those who may not do it themselves."""
        by.check(Permission.APPROVE)
        now = self._clock.now_ms()
        async with self._db.transaction() as tx:
            asked = await approvals.locked(tx, approval_id)
            if asked is None or asked.asked_ts <= now - GOOD_FOR_MS:
                raise NotFound("nobody asks for this")
            if asked.asked_by == by.user_id:
                raise Forbidden("somebody else has to approve what you ask for")
            by.check(Permission(asked.permission))
            await approvals.approve(tx, approval_id, by.user_id, now)
            after = {"act": asked.act, "asked_by": asked.asked_by}
            await self._audit.record(tx, entry_of(by, "approval.give", asked.target, after=after))

    async def refuse(self, approval_id: str, *, by: Operator, reason: str | None = None) -> None:
        """Ends a request, given or not; whoever asked may take it back so. Raises NotFound, Forbidden."""
        by.check(Permission.APPROVE)
        async with self._db.transaction() as tx:
            asked = await approvals.locked(tx, approval_id)
            if asked is None or asked.asked_ts <= self._clock.now_ms() - GOOD_FOR_MS:
                raise NotFound("nobody asks for this")
            if asked.asked_by != by.user_id:
                by.check(Permission(asked.permission))
            await approvals.delete(tx, approval_id)
            before = {"act": asked.act, "asked_by": asked.asked_by, "approved_by": asked.approved_by}
            await self._audit.record(tx, entry_of(by, "approval.refuse", asked.target, reason=reason, before=before))
