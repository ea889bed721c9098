"""Who runs the server: roles given and taken. There is always an owner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from admin.actions.named_rooms import rooms_named
from admin.audit import AuditLog, entry_of
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError, NotFound
from homeserver.core.identifiers import UserId
from homeserver.core.operators import BINDABLE, UNBOUND, Bounds, Permission, Role
from homeserver.runtime.clock import Clock
from homeserver.storage import operator_roles, users
from homeserver.storage.database import Database, Tx
from homeserver.web.endpoint import Operator

_Held = tuple[Role, Bounds] | None


class OperatorRoles:
    """Gives and takes roles; `changed` is told whose."""

    def __init__(self, db: Database, audit: AuditLog, changed: Callable[[UserId], None], clock: Clock) -> None:
        self._db = db
        self._audit = audit
        self._changed = changed
        self._clock = clock

    async def all_of_them(self) -> list[tuple[UserId, Role, Bounds]]:
        """Every operator with their role, and what it is bound to."""
        return await operator_roles.all_of_them(self._db)

    async def of(self, user_id: UserId) -> Role | None:
        """The role of an account in use, if it has one."""
        return await operator_roles.of(self._db, user_id)

    async def check_may_act_on(self, operator: Operator, user_id: UserId) -> None:
        """Raises Forbidden for an account whose role isn't below the operator's."""
        operator.check_may_act_on(await self.of(user_id))

    async def give(
        self, user_id: UserId, role: Role, bounds: Bounds = UNBOUND, *, by: Operator, reason: str | None = None
    ) -> None:
        """Makes the account an operator of this role; a moderator's may be bound to rooms and actions.

        The rooms may be named by aliases of this server, each of which stands for the room that has it now.
        Raises NotFound, InvalidParam, Forbidden (the last owner).
        """
        by.check(Permission.CHANGE_OPERATORS)
        check_bounds(role, bounds)
        if bounds.rooms is not None:
            bounds = replace(bounds, rooms=await rooms_named(self._db, bounds.rooms))
        async with self._db.transaction() as tx:
            await operator_roles.lock(tx)
            user = await users.by_id(tx, user_id)
            if user is None or user.is_deactivated:
                raise NotFound("there is no such user")
            if user.is_guest:
                raise InvalidParam("a guest can't be an operator")
            before = await operator_roles.with_bounds(tx, user_id)
            if role is not Role.OWNER:
                await self._check_owner_stays(tx, user_id, before[0] if before else None)
            # The account's flag makes an owner, and nothing else does.
            await operator_roles.set_admin_flag(tx, user_id, role is Role.OWNER)
            await operator_roles.set_role(tx, user_id, role, by.user_id, self._clock.now_ms(), bounds)
            await operator_roles.note_beside(tx, user_id)
            await self._record(tx, by, user_id, before, (role, bounds), reason)
        self._changed(user_id)

    async def take(self, user_id: UserId, *, by: Operator, reason: str | None = None) -> None:
        """Makes the account a plain user. Raises NotFound where it is one, Forbidden for the last owner."""
        by.check(Permission.CHANGE_OPERATORS)
        async with self._db.transaction() as tx:
            await operator_roles.lock(tx)
            before = await operator_roles.with_bounds(tx, user_id)
            if before is None:
                raise NotFound("this user is no operator")
            await self._check_owner_stays(tx, user_id, before[0])
            await operator_roles.set_admin_flag(tx, user_id, False)
            await operator_roles.delete(tx, user_id)
            await operator_roles.note_beside(tx, user_id)
            await self._record(tx, by, user_id, before, None, reason)
        self._changed(user_id)

    async def set_admin_flag(self, user_id: UserId, is_admin: bool, *, by: Operator) -> None:
        """As tools know it: an administrator is an owner, and one who isn't any more has no role at all."""
        if user_id == by.user_id and not is_admin:
            raise MatrixError("You may not demote yourself.")
        before = await self.of(user_id)
        if is_admin == (before is Role.OWNER):
            by.check(Permission.CHANGE_OPERATORS)
            if await users.by_id(self._db, user_id) is None:
                raise NotFound("User not found")
            return
        if is_admin:
            await self.give(user_id, Role.OWNER, by=by)
        else:
            await self.take(user_id, by=by)

    async def _check_owner_stays(self, tx: Tx, user_id: UserId, before: Role | None) -> None:
        if before is Role.OWNER and not await operator_roles.has_other_owner(tx, user_id):
            raise Forbidden("this is the last owner: make somebody else one first")

    async def _record(
        self, tx: Tx, by: Operator, user_id: UserId, before: _Held, after: _Held, reason: str | None
    ) -> None:
        entry = entry_of(by, "operator.role", user_id, reason=reason, before=_said(before), after=_said(after))
        await self._audit.record(tx, entry)


def check_bounds(role: Role, bounds: Bounds) -> None:
    """Raises InvalidParam for what a role can't be bound to. The rooms are looked at where they are looked up."""
    if bounds == UNBOUND:
        return
    if role is not Role.MODERATOR:
        raise InvalidParam("only a moderator's role is bound to rooms or actions")
    if bounds.actions is not None and (not bounds.actions or bounds.actions - BINDABLE):
        raise InvalidParam(f"actions must be some of {', '.join(sorted(BINDABLE))}")


def _said(held: _Held) -> dict[str, Any]:
    if held is None:
        return {"role": None}
    role, bounds = held
    said: dict[str, Any] = {"role": role.value}
    if bounds.rooms is not None:
        said["rooms"] = sorted(bounds.rooms)
    if bounds.actions is not None:
        said["actions"] = sorted(bounds.actions)
    return said
