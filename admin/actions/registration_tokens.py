"""Tokens that let people register."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from admin.audit import AuditLog, entry_of
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.operators import Permission
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import registration_tokens
from homeserver.storage.database import Database
from homeserver.storage.registration_tokens import TokenRow
from homeserver.web.endpoint import Operator

LENGTH_DEFAULT = 16
LENGTH_MAX = 64
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{1,64}", re.ASCII)


class RegistrationTokens:
    """Makes, changes and deletes them. In the audit log they stand by their digest: they open the door."""

    def __init__(self, db: Database, audit: AuditLog, clock: Clock, randomness: Randomness) -> None:
        self._db = db
        self._audit = audit
        self._clock = clock
        self._randomness = randomness

    async def all_of_them(self, valid: bool | None) -> list[TokenRow]:
        """Those that are, or aren't, good for a registration now; None: all."""
        return await registration_tokens.all_of_them(self._db, valid, self._clock.now_ms())

    async def one(self, token: str) -> TokenRow:
        """Raises NotFound."""
        row = await registration_tokens.one(self._db, token)
        if row is None:
            raise NotFound(f"No such registration token: {token[:LENGTH_MAX]}")
        return row

    async def make(
        self,
        token: str | None,
        *,
        uses_allowed: int | None,
        expires_ts: int | None,
        length: int,
        by: Operator,
    ) -> TokenRow:
        """A token, at random where none is given. Raises InvalidParam; MatrixError where it is there already."""
        by.check(Permission.CHANGE_TOKENS)
        if token is None:
            token = self._randomness.letters(length)
        elif _TOKEN.fullmatch(token) is None:
            raise InvalidParam(f"token must consist of 1 to {LENGTH_MAX} characters A-Z a-z 0-9 . _ ~ -")
        self._check(uses_allowed, expires_ts)
        async with self._db.transaction() as tx:
            if await registration_tokens.one(tx, token) is not None:
                raise MatrixError(f"Token already exists: {token}", errcode="M_INVALID_PARAM")
            await registration_tokens.insert(tx, token, uses_allowed, expires_ts)
            after = {"uses_allowed": uses_allowed, "expiry_time": expires_ts}
            await self._audit.record(tx, entry_of(by, "registration_token.create", _named(token), after=after))
        return TokenRow(token, uses_allowed, 0, expires_ts)

    async def change(self, token: str, changes: Mapping[str, Any], *, by: Operator) -> TokenRow:
        """`changes` holds uses_allowed, expires_ts, or both. Raises NotFound, InvalidParam."""
        by.check(Permission.CHANGE_TOKENS)
        async with self._db.transaction() as tx:
            row = await registration_tokens.one(tx, token)
            if row is None:
                raise NotFound(f"No such registration token: {token[:LENGTH_MAX]}")
            uses = changes.get("uses_allowed", row.uses_allowed)
            expires = changes.get("expires_ts", row.expires_ts)
            self._check(uses, expires if "expires_ts" in changes else None)
            await registration_tokens.update(tx, token, uses, expires)
            before = {"uses_allowed": row.uses_allowed, "expiry_time": row.expires_ts}
            after = {"uses_allowed": uses, "expiry_time": expires}
            entry = entry_of(by, "registration_token.change", _named(token), before=before, after=after)
            await self._audit.record(tx, entry)
        return TokenRow(token, uses, row.completed, expires)

    async def delete(self, token: str, *, by: Operator) -> None:
        """Raises NotFound."""
        by.check(Permission.CHANGE_TOKENS)
        async with self._db.transaction() as tx:
            if not await registration_tokens.delete(tx, token):
                raise NotFound(f"No such registration token: {token[:LENGTH_MAX]}")
            await self._audit.record(tx, entry_of(by, "registration_token.delete", _named(token)))

    def _check(self, uses_allowed: int | None, expires_ts: int | None) -> None:
        if uses_allowed is not None and not 0 <= uses_allowed < 2**31:
            raise InvalidParam("uses_allowed must be a non-negative integer or null")
        if expires_ts is not None and not self._clock.now_ms() <= expires_ts < 2**53:
            raise InvalidParam("expiry_time must not be in the past")


def _named(token: str) -> str:
    return f"registration_token:{hashlib.sha256(token.encode()).hexdigest()[:12]}"
