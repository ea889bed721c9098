"""Tokens for operators' programs: made by the operator for themselves, with some of their permissions, for a time."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from admin.actions.named_rooms import rooms_named
from admin.actions.targets import AccountTools
from admin.audit import entry_of
from homeserver.accounts.sessions import OPERATOR_PREFIX
from homeserver.core.errors import Forbidden, InvalidParam, LimitExceeded, NotFound
from homeserver.core.operators import Permission
from homeserver.runtime.ids import Randomness
from homeserver.storage import operator_tokens
from homeserver.storage.operator_tokens import OperatorToken
from homeserver.web.endpoint import Operator

LIFETIME_S_MAX = 366 * 24 * 3_600
TOKENS_PER_USER_MAX = 50
NAME_CHARS_MAX = 100
LISTED_MAX = 1_000


class OperatorTokens:
    """Makes, lists and ends them."""

    def __init__(self, tools: AccountTools, randomness: Randomness) -> None:
        self._tools = tools
        self._randomness = randomness

    async def make(
        self,
        name: str,
        scopes: Collection[Permission],
        lifetime_s: int,
        *,
        by: Operator,
        rooms: Collection[str] | None = None,
    ) -> tuple[str, OperatorToken]:
        """The token itself, which nobody is told again, and what is known of it.

        `rooms` narrow it further: what it opens is also what its operator has, whatever stands here. Raises Forbidden
        for a permission that the operator doesn't hold, and where a token makes a token.
        """
        by.check(Permission.OWN_TOKENS)
        if by.scopes is not None:
            raise Forbidden("a token can't make another one: log in")
        if not scopes or not name or len(name) > NAME_CHARS_MAX or "\x00" in name:
            raise InvalidParam(f"a token needs a name of 1 to {NAME_CHARS_MAX} characters, and scopes")
        if not 0 < lifetime_s <= LIFETIME_S_MAX:
            raise InvalidParam(f"expires_in_s must be 1 to {LIFETIME_S_MAX}")
        for scope in scopes:
            by.check(scope)
        these = await rooms_named(self._tools.db, rooms) if rooms is not None else None
        tools, now = self._tools, self._tools.clock.now_ms()
        token = f"{OPERATOR_PREFIX}{self._randomness.token(32)}"
        kept = OperatorToken(
            token_nid=0,
            user_id=by.user_id,
            name=name,
            scopes=frozenset(scopes),
            created_ts=now,
            expires_ts=now + lifetime_s * 1000,
            rooms=these,
        )
        async with tools.db.transaction() as tx:
            if await operator_tokens.count(tx, by.user_id) >= TOKENS_PER_USER_MAX:
                raise LimitExceeded("too many tokens: end some", retry_after_ms=60_000)
            nid = await operator_tokens.insert(tx, hashlib.sha256(token.encode()).digest(), kept)
            after: dict[str, Any] = {"name": name, "scopes": sorted(scopes), "expires_ts": kept.expires_ts}
            if these is not None:
                after["rooms"] = sorted(these)
            await tools.audit.record(tx, entry_of(by, "operator_token.create", f"operator_token:{nid}", after=after))
        return token, replace(kept, token_nid=nid)

    async def some(self, *, everybodys: bool, by: Operator) -> list[OperatorToken]:
        """One's own, or everybody's. Raises Forbidden."""
        by.check(Permission.CHANGE_OPERATORS if everybodys else Permission.OWN_TOKENS)
        return await operator_tokens.some(self._tools.db, None if everybodys else by.user_id, LISTED_MAX)

    async def end(self, token_nid: int, *, by: Operator) -> None:
        """Ends one's own token, or, as an owner, anybody's. Raises NotFound, where it is another's too."""
        by.check(Permission.OWN_TOKENS)
        tools = self._tools
        async with tools.db.transaction() as tx:
            gone = await operator_tokens.delete(tx, token_nid)
            if gone is None or (gone.user_id != by.user_id and not by.holds(Permission.CHANGE_OPERATORS)):
                raise NotFound("there is no such token")
            before = {"name": gone.name, "user_id": gone.user_id}
            entry = entry_of(by, "operator_token.end", f"operator_token:{token_nid}", before=before)
            await tools.audit.record(tx, entry)
        tools.sessions.account_changed(gone.user_id)
