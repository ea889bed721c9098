"""Legal holds: rooms and users of whom nothing is erased, whatever retention, redactions or operators ask for.

What is due meanwhile stays hidden as it would be without, and goes once the hold is released.
"""

from __future__ import annotations

from admin.audit import AuditLog, entry_of
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.identifiers import is_room_id, is_user_id
from homeserver.core.operators import Permission
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import legal_holds
from homeserver.storage.database import Database
from homeserver.storage.legal_holds import Hold, Kind
from homeserver.web.endpoint import Operator

REASON_CHARS_MAX = 1_000
LISTED_MAX = 1_000


class LegalHolds:
    """Sets them, releases them, lists them."""

    def __init__(self, db: Database, audit: AuditLog, clock: Clock, randomness: Randomness) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock
        self._randomness = randomness

    async def set(self, kind: Kind, target: str, reason: str, *, by: Operator) -> Hold:
        """Holds a room or a user from here on; what was erased before stays erased.

        Raises InvalidParam, MatrixError (409) where it is held already.
        """
        by.check(Permission.CHANGE_HOLDS)
        if not (is_room_id(target) if kind == "room" else is_user_id(target)):
            raise InvalidParam(f"this is no id of a {kind}")
        _check_reason(reason)
        hold = Hold(
            hold_id=self._randomness.letters(16),
            kind=kind,
            target=target,
            reason=reason,
            set_by=by.user_id,
            set_ts=self._clock.now_ms(),
        )
        async with self._db.transaction() as tx:
            if not await legal_holds.insert(tx, hold):
                raise MatrixError(f"this {kind} is held already", status=409)
            after = {"hold": hold.hold_id, "kind": kind}
            await self._audit.record(tx, entry_of(by, "hold.set", target, reason=reason, after=after))
        return hold

    async def release(self, hold_id: str, reason: str, *, by: Operator) -> Hold:
        """Lets what is due be erased again. Raises InvalidParam, NotFound; MatrixError (409) once it was released."""
        by.check(Permission.CHANGE_HOLDS)
        _check_reason(reason)
        hold = await legal_holds.one(self._db, hold_id)
        if hold is None:
            raise NotFound("there is no such hold")
        async with self._db.transaction() as tx:
            if not await legal_holds.release(tx, hold, by.user_id, self._clock.now_ms()):
                raise MatrixError("this hold was released before", status=409)
            before = {"hold": hold.hold_id, "kind": hold.kind, "reason": hold.reason}
            await self._audit.record(tx, entry_of(by, "hold.release", hold.target, reason=reason, before=before))
        released = await legal_holds.one(self._db, hold_id)
        assert released is not None
        return released

    async def page(
        self, *, in_force: bool = True, target: str | None = None, limit: int = 100, by: Operator
    ) -> list[Hold]:
        """The newest first; at most `LISTED_MAX`."""
        by.check(Permission.READ_HOLDS)
        return await legal_holds.page(self._db, in_force=in_force, target=target, limit=min(max(limit, 1), LISTED_MAX))


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > REASON_CHARS_MAX or "\x00" in reason:
        raise InvalidParam(f"give a reason of 1 to {REASON_CHARS_MAX} characters")
