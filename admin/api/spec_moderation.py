"""Suspension and locks as the specification has them. spec: client-server-api/#server-administration"""

from __future__ import annotations

import msgspec

from admin.actions.sanctions import Sanctions
from homeserver.accounts.moderation import AccountModeration
from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import UserId
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_SUSPEND = (
    "/_matrix/client/v1/admin/suspend/{user_id}",
    "/_matrix/client/unstable/uk.timedout.msc4323/admin/suspend/{user_id}",
)
_LOCK = (
    "/_matrix/client/v1/admin/lock/{user_id}",
    "/_matrix/client/unstable/uk.timedout.msc4323/admin/lock/{user_id}",
)


class SuspendBody(msgspec.Struct, frozen=True):
    suspended: bool


class LockBody(msgspec.Struct, frozen=True):
    locked: bool


class SpecModeration:
    """/admin/suspend, /admin/lock. Other administrators' accounts are out of their reach."""

    def __init__(self, moderation: AccountModeration, sanctions: Sanctions) -> None:
        self._moderation = moderation
        self._sanctions = sanctions

    @endpoint(
        "GET",
        *_SUSPEND,
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="client-server-api/#get_matrixclientv1adminsuspenduserid",
        needs=Permission.MODERATE_USERS,
    )
    async def is_suspended(self, user_id: UserId) -> Json:
        return {"suspended": (await self._moderation.target(user_id)).is_suspended}

    @endpoint(
        "PUT",
        *_SUSPEND,
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="client-server-api/#put_matrixclientv1adminsuspenduserid",
        needs=Permission.MODERATE_USERS,
    )
    async def suspend(self, operator: Operator, user_id: UserId, body: SuspendBody) -> Json:
        await self._check(operator, user_id)
        await self._sanctions.set_suspended(user_id, body.suspended, by=operator)
        return {"suspended": body.suspended}

    @endpoint(
        "GET",
        *_LOCK,
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="client-server-api/#get_matrixclientv1adminlockuserid",
        needs=Permission.MODERATE_USERS,
    )
    async def is_locked(self, user_id: UserId) -> Json:
        return {"locked": (await self._moderation.target(user_id)).is_locked}

    @endpoint(
        "PUT",
        *_LOCK,
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="client-server-api/#put_matrixclientv1adminlockuserid",
        needs=Permission.MODERATE_USERS,
    )
    async def lock(self, operator: Operator, user_id: UserId, body: LockBody) -> Json:
        await self._check(operator, user_id)
        await self._sanctions.set_locked(user_id, body.locked, by=operator)
        return {"locked": body.locked}

    async def _check(self, operator: Operator, user_id: UserId) -> None:
        if user_id == operator.user_id:
            raise Forbidden("nobody does this to their own account")
        await self._moderation.target(user_id)
