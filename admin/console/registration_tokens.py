"""Registration tokens: made, seen and deleted."""

from __future__ import annotations

from admin.actions.registration_tokens import LENGTH_DEFAULT, RegistrationTokens
from admin.console.acting import whole_number
from admin.console.desk import Desk, Visit
from admin.console.page import page
from admin.storage import console_reads
from admin.storage.console_reads import Shown
from homeserver.core.operators import Permission
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/tokens"
_COLUMNS = ("token", "uses_allowed", "completed", "expires_ts")
_DAY_MS = 86_400_000


class RegistrationTokenPages:
    """/admin/tokens."""

    def __init__(self, desk: Desk, db: Database, clock: Clock, tokens: RegistrationTokens) -> None:
        self.desk = desk
        self._db = db
        self._clock = clock
        self._tokens = tokens

    @page("GET", _PATH, needs=Permission.READ_TOKENS, reach=Reach.SERVER)
    async def tokens(self, visit: Visit) -> Answer:
        after = visit.asked("after")

        async def fetch(limit: int) -> list[Shown]:
            return await console_reads.tokens(self._db, after, limit)

        return await self.desk.listing(visit, "registration-tokens", _COLUMNS, fetch, template="tokens", more="token")

    @page("POST", _PATH, needs=Permission.CHANGE_TOKENS, reach=Reach.SERVER)
    async def make(self, visit: Visit) -> Answer:
        days = whole_number(visit, "days")
        expires_ts = None if days is None else self._clock.now_ms() + days * _DAY_MS
        wanted = visit.fields.get("token", "").strip() or None
        uses = whole_number(visit, "uses")
        await self._tokens.make(
            wanted, uses_allowed=uses, expires_ts=expires_ts, length=LENGTH_DEFAULT, by=visit.operator
        )
        return self.desk.go(f"{_PATH}?done=token")

    @page("POST", "/admin/tokens/delete", needs=Permission.CHANGE_TOKENS, reach=Reach.SERVER)
    async def delete(self, visit: Visit) -> Answer:
        await self._tokens.delete(visit.fields.get("token", ""), by=visit.operator)
        return self.desk.go(f"{_PATH}?done=token_deleted")
