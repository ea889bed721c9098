"""spec: client-server-api/#server-administration"""

from __future__ import annotations

import msgspec

from homeserver.accounts.moderation import AccountModeration
from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import UserId
from homeserver.web.endpoint import Access, Caller, Json, endpoint

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


class AdminEndpoints:
    """/admin/whois, /admin/suspend, /admin/lock."""

    def __init__(self, moderation: AccountModeration) -> None:
        self._moderation = moderation

    @endpoint(
        "GET",
        "/_matrix/client/v3/admin/whois/{user_id}",
        "/_matrix/client/r0/admin/whois/{user_id}",
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3adminwhoisuserid",
    )
    async def whois(self, caller: Caller, user_id: UserId) -> Json:
        if caller.user_id != user_id and not caller.is_admin:
            raise Forbidden("only server administrators may look at others")
        return {"user_id": user_id, "devices": await self._moderation.whois(user_id)}

    @endpoint("GET", *_SUSPEND, access=Access.ADMIN, spec="client-server-api/#get_matrixclientv1adminsuspenduserid")
    async def is_suspended(self, caller: Caller, user_id: UserId) -> Json:
        return {"suspended": (await self._moderation.target(user_id)).is_suspended}

    @endpoint("PUT", *_SUSPEND, access=Access.ADMIN, spec="client-server-api/#put_matrixclientv1adminsuspenduserid")
    async def suspend(self, caller: Caller, user_id: UserId, body: SuspendBody) -> Json:
        await self._moderation.set_suspended(user_id, body.suspended, by=caller.user_id)
        return {"suspended": body.suspended}

    @endpoint("GET", *_LOCK, access=Access.ADMIN, spec="client-server-api/#get_matrixclientv1adminlockuserid")
    async def is_locked(self, caller: Caller, user_id: UserId) -> Json:
        return {"locked": (await self._moderation.target(user_id)).is_locked}

    @endpoint("PUT", *_LOCK, access=Access.ADMIN, spec="client-server-api/#put_matrixclientv1adminlockuserid")
    async def lock(self, caller: Caller, user_id: UserId, body: LockBody) -> Json:
        await self._moderation.set_locked(user_id, body.locked, by=caller.user_id)
        return {"locked": body.locked}
