"""Looking at decisions afterwards: why, whether it was right, and taking it back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from admin.spam import storage
from admin.spam.book import Recorded
from admin.spam.engine import SpamEngine
from admin.spam.rules import Rule
from admin.spam.sanctions import Sanctions
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.identifiers import UserId
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database, Row
from homeserver.web.endpoint import Operator

log = structlog.get_logger()

KEPT_MS = 90 * 86_400_000
_ROUND_S = 3_600.0


NO_DECISION = "there is no such decision"
UPHELD = "Your appeal {code} was granted: what was done was taken back, as far as that is possible."


async def _nobody(user_id: UserId, words: str) -> None:
    return None


class Reviewing:
    """Reads decisions and undoes them. What waits to be written is written first, so that nothing is missing."""

    def __init__(self, db: Database, engine: SpamEngine, sanctions: Sanctions, clock: Clock) -> None:
        self._db = db
        self._engine = engine
        self._sanctions = sanctions
        self._clock = clock
        # Says something to a user of ours; set by the assembly.
        self.tell: Callable[[UserId, str], Awaitable[None]] = _nobody

    async def page(
        self,
        *,
        before: int | None,
        rule_id: str | None,
        sender: str | None,
        appealed: bool,
        limit: int,
        rooms: frozenset[str] | None = None,
    ) -> list[Row]:
        """The latest first; with `rooms` those in these alone."""
        await self._engine.write()
        return await storage.decisions(
            self._db, before=before, rule_id=rule_id, sender=sender, appealed=appealed, limit=limit, rooms=rooms
        )

    async def check_room(self, decision_id: int, operator: Operator) -> None:
        """Raises NotFound for a decision about something outside of the operator's rooms."""
        if operator.rooms is not None:
            operator.find_in_room((await self._row(decision_id))["room_id"], NO_DECISION)

    async def explained(self, decision_id: int) -> tuple[Row, Rule | None]:
        """A decision and its rule in that version. Raises NotFound."""
        row = await self._row(decision_id)
        versions = {rule.version: rule for rule, _ in await storage.versions(self._db, row["rule_id"])}
        return row, versions.get(row["rule_version"])

    async def appeal(self, code: str, text: str, *, by: UserId) -> None:
        """Raises InvalidParam for no text, NotFound for a code that isn't this user's, or was used."""
        if not text.strip() or "\x00" in text:
            raise InvalidParam("say why it was wrong")
        await self._engine.write()
        async with self._db.transaction() as tx:
            if not await storage.appeal(tx, code, by, text, self._clock.now_ms()):
                raise NotFound("there is nothing to appeal with this code")
        self._engine.decided.ring()

    async def undo(
        self, decision_id: int, *, by: str, why: str, recorded: Recorded, has_reply: bool = False
    ) -> dict[str, Any]:
        """Takes back what can be taken back, and marks the sample as no spam. Raises NotFound, MatrixError.

        Who appealed is told, unless somebody replies to them (`has_reply`).
        """
        row = await self._row(decision_id)
        if row["stage"] != "enforced":
            raise InvalidParam("the rule was in shadow: nothing was done")
        if row["rule_id"] == storage.POLICY_SERVER:
            raise InvalidParam("the room's policy server refused this: it alone can say otherwise")
        if row["undone_ts"] is not None:
            raise MatrixError("this was undone already", status=409)
        done = await self._sanctions.undo(row)
        held = await storage.held(self._db, decision_id)
        sent = await self._sanctions.send_held(held) if held is not None else None
        now_ms = self._clock.now_ms()
        async with self._db.transaction() as tx:
            if not await storage.undo(tx, decision_id, by=by, why=why, now_ms=now_ms):
                raise MatrixError("this was undone already", status=409)
            await storage.release(tx, decision_id)
            await storage.mark(tx, decision_id, is_spam=False, by=by, now_ms=now_ms)
            await recorded(tx, {"outcome": row["outcome"]}, {"undone": done, "sent": sent})
        self._engine.around.acted_on(row["sender"])
        if row["appeal"] is not None and not has_reply:
            await self._tell(UserId(row["sender"]), UPHELD.format(code=row["code"]))
        return {"undone": done, **({"event_id": sent} if sent is not None else {})}

    async def _tell(self, user_id: UserId, words: str) -> None:
        try:
            await self.tell(user_id, words)
        except MatrixError as error:  # the account is no more; it is undone all the same
            log.info("appeal_not_answered", error=error.code)

    async def mark(self, decision_id: int, *, is_spam: bool, by: str, recorded: Recorded) -> None:
        """Raises NotFound."""
        await self._row(decision_id)
        async with self._db.transaction() as tx:
            await storage.mark(tx, decision_id, is_spam=is_spam, by=by, now_ms=self._clock.now_ms())
            await recorded(tx, None, {"is_spam": is_spam})

    async def run(self) -> None:
        """One round of a background task: what is older than KEPT_MS goes."""
        async with self._db.transaction() as tx:
            await storage.forget(tx, self._clock.now_ms() - KEPT_MS)
        await self._clock.sleep(_ROUND_S)

    async def _row(self, decision_id: int) -> Row:
        await self._engine.write()
        row = await storage.decision(self._db, decision_id)
        if row is None:
            raise NotFound(NO_DECISION)
        return row
