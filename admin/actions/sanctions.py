"""What holds an account back, and lets it go again: lock, suspension, shadow-ban, limits of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from admin.actions.targets import AccountTools
from admin.audit import entry_of
from admin.audit_actions import Action
from admin.storage import accounts
from admin.storage.accounts import AccountRow
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError
from homeserver.core.identifiers import UserId
from homeserver.core.operators import Permission
from homeserver.rooms.shadow_bans import ShadowBans
from homeserver.storage import rate_limit_overrides, users
from homeserver.storage.database import Tx
from homeserver.web.endpoint import Operator
from homeserver.web.rate_limits import RateLimit, RateLimiter

_LOCAL = "Only local users can be acted upon"


class Sanctions:
    """Each act is written with its audit row, and is in force when it is answered."""

    def __init__(self, tools: AccountTools, shadow_bans: ShadowBans, limiter: RateLimiter) -> None:
        self._tools = tools
        self._shadow_bans = shadow_bans
        self._limiter = limiter

    async def load(self) -> None:
        """What was in force when the server stopped."""
        await self._shadow_bans.load()
        for user_id, limit in (await rate_limit_overrides.all_of_them(self._tools.db)).items():
            self._limiter.overrides[user_id] = _limit(*limit)

    async def set_locked(self, user_id: UserId, locked: bool, *, by: Operator, reason: str | None = None) -> None:
        """Nothing but logging out is left. Raises NotFound, Forbidden."""
        await self._target(by, user_id)

        async def write(tx: Tx) -> None:
            await users.set_locked(tx, user_id, locked)

        await self._set(user_id, by, ("user.lock", "locked"), locked, reason, write)

    async def set_suspended(self, user_id: UserId, suspended: bool, *, by: Operator, reason: str | None = None) -> None:
        """Nothing can be said any more. Raises NotFound, Forbidden."""
        await self._target(by, user_id)

        async def write(tx: Tx) -> None:
            await users.set_suspended(tx, user_id, suspended)

        await self._set(user_id, by, ("user.suspend", "suspended"), suspended, reason, write)

    async def set_shadow_banned(
        self, user_id: UserId, banned: bool, *, by: Operator, reason: str | None = None
    ) -> None:
        """What is sent is answered and goes nowhere. Raises NotFound, Forbidden."""
        await self._target(by, user_id, "Only local users can be shadow-banned")

        async def write(tx: Tx) -> None:
            await self._shadow_bans.write(tx, user_id, banned)

        await self._set(user_id, by, ("user.shadow_ban", "shadow_banned"), banned, reason, write)
        self._shadow_bans.changed(user_id, banned)

    async def limit_of(self, user_id: UserId) -> tuple[int, int] | None:
        """(messages a second, burst) where the user has limits of their own. Raises NotFound."""
        await self._tools.account(user_id, "Can only look up local users")
        return await rate_limit_overrides.of_user(self._tools.db, user_id)

    async def set_limit(self, user_id: UserId, limit: tuple[int, int] | None, *, by: Operator) -> None:
        """Limits of their own; None takes them away. 0 messages a second: no limit at all."""
        by.check(Permission.CHANGE_USERS)
        await self._tools.target(by, user_id, "Only local users can be ratelimited")
        if limit is not None and (min(limit) < 0 or max(limit) > 2**31 - 1):
            raise InvalidParam("messages_per_second and burst_count must be 0 or more")
        async with self._tools.db.transaction() as tx:
            before = await rate_limit_overrides.of_user(tx, user_id)
            if limit is None:
                await rate_limit_overrides.delete(tx, user_id)
            else:
                await rate_limit_overrides.set_override(tx, user_id, *limit)
            entry = entry_of(by, "user.rate_limit", user_id, before=_said(before), after=_said(limit))
            await self._tools.audit.record(tx, entry)
        if limit is None:
            self._limiter.overrides.pop(user_id, None)
        else:
            self._limiter.overrides[user_id] = _limit(*limit)

    async def _target(self, by: Operator, user_id: UserId, otherwise: str = _LOCAL) -> AccountRow:
        by.check(Permission.MODERATE_USERS)
        if user_id == by.user_id:
            raise Forbidden("nobody does this to their own account")
        row = await self._tools.target(by, user_id, otherwise)
        if row.is_deactivated:
            raise MatrixError("this account was deactivated", errcode="M_NOT_FOUND", status=404)
        return row

    async def _set(
        self,
        user_id: UserId,
        by: Operator,
        names: tuple[Action, str],
        after: bool,
        reason: str | None,
        write: Callable[[Tx], Awaitable[None]],
    ) -> None:
        action, field = names
        async with self._tools.db.transaction() as tx:
            # As it is in this transaction: of two who act at once, the second one's row tells what the first one did.
            before = (await accounts.marks(tx, user_id)).get(field, False)
            await write(tx)
            entry = entry_of(by, action, user_id, reason=reason, before={field: before}, after={field: after})
            await self._tools.audit.record(tx, entry)
        self._tools.sessions.account_changed(user_id)


def _limit(messages_per_second: int, burst_count: int) -> RateLimit | None:
    if messages_per_second == 0:
        return None
    return RateLimit(messages_per_second, max(burst_count, 1))


def _said(limit: tuple[int, int] | None) -> dict[str, int] | None:
    return {"messages_per_second": limit[0], "burst_count": limit[1]} if limit is not None else None
