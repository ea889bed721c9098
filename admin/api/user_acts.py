"""What operators do to an account: end it, hold it back, get into it."""

from __future__ import annotations

import msgspec

from admin.actions.access import AccountAccess
from admin.actions.accounts import Accounts
from admin.actions.operators import OperatorRoles
from admin.actions.sanctions import Sanctions
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import UserId, domain_of
from homeserver.core.operators import Permission, Role
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_V1 = "/_synapse/admin/v1"
_USER = _V1 + "/users/{user_id}"


class DeactivateBody(msgspec.Struct, frozen=True):
    erase: bool = False


class SuspendBody(msgspec.Struct, frozen=True):
    suspend: bool
    reason: str | None = None


class PasswordBody(msgspec.Struct, frozen=True):
    new_password: str
    logout_devices: bool = True


class AdminBody(msgspec.Struct, frozen=True):
    admin: bool


class LoginBody(msgspec.Struct, frozen=True):
    valid_until_ms: int | None = None


class LimitBody(msgspec.Struct, frozen=True):
    messages_per_second: int = 0
    burst_count: int = 0


class AccountActEndpoints:
    """Ending, and getting in."""

    def __init__(self, accounts: Accounts, access: AccountAccess, roles: OperatorRoles) -> None:
        self._accounts = accounts
        self._access = access
        self._roles = roles

    @endpoint(
        "POST",
        _V1 + "/deactivate/{user_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.END_USERS,
    )
    async def deactivate(self, operator: Operator, user_id: UserId, body: DeactivateBody) -> Json:
        ended = await self._accounts.deactivate(user_id, erase=body.erase, by=operator)
        return {"id_server_unbind_result": "success" if ended else "no-support"}

    @endpoint(
        "POST",
        _V1 + "/reset_password/{user_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.IMPERSONATE,
    )
    async def reset_password(self, operator: Operator, user_id: UserId, body: PasswordBody) -> Json:
        await self._access.reset_password(user_id, body.new_password, logs_out=body.logout_devices, by=operator)
        return {}

    @endpoint("POST", _USER + "/login", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.IMPERSONATE)
    async def log_in_as(self, operator: Operator, user_id: UserId, body: LoginBody) -> Json:
        return {"access_token": await self._access.log_in_as(user_id, body.valid_until_ms, by=operator)}

    @endpoint(
        "POST",
        _USER + "/_allow_cross_signing_replacement_without_uia",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.IMPERSONATE,
    )
    async def allow_new_cross_signing(self, operator: Operator, user_id: UserId) -> Json:
        until_ms = await self._access.allow_new_cross_signing(user_id, by=operator)
        return {"updatable_without_uia_before_ms": until_ms}

    @endpoint("GET", _USER + "/admin", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_USERS)
    async def is_admin(self, operator: Operator, user_id: UserId) -> Json:
        _check_local(operator, user_id)
        return {"admin": await self._roles.of(user_id) is Role.OWNER}

    @endpoint(
        "PUT", _USER + "/admin", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_OPERATORS
    )
    async def set_admin(self, operator: Operator, user_id: UserId, body: AdminBody) -> Json:
        _check_local(operator, user_id)
        await self._roles.set_admin_flag(user_id, body.admin, by=operator)
        return {}


def _check_local(operator: Operator, user_id: UserId) -> None:
    if domain_of(user_id) != domain_of(operator.user_id):
        raise MatrixError("Only local users can be admins of this homeserver")


class SanctionEndpoints:
    """Suspension, shadow-ban, limits."""

    def __init__(self, sanctions: Sanctions) -> None:
        self._sanctions = sanctions

    @endpoint(
        "PUT",
        _V1 + "/suspend/{user_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.MODERATE_USERS,
    )
    async def suspend(self, operator: Operator, user_id: UserId, body: SuspendBody) -> Json:
        await self._sanctions.set_suspended(user_id, body.suspend, by=operator, reason=body.reason)
        return {f"user_{user_id}_suspended": body.suspend}

    @endpoint(
        "POST", _USER + "/shadow_ban", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.MODERATE_USERS
    )
    async def shadow_ban(self, operator: Operator, user_id: UserId) -> Json:
        await self._sanctions.set_shadow_banned(user_id, True, by=operator)
        return {}

    @endpoint(
        "DELETE",
        _USER + "/shadow_ban",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.MODERATE_USERS,
    )
    async def end_shadow_ban(self, operator: Operator, user_id: UserId) -> Json:
        await self._sanctions.set_shadow_banned(user_id, False, by=operator)
        return {}

    @endpoint(
        "GET",
        _USER + "/override_ratelimit",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_USERS,
    )
    async def limit(self, user_id: UserId) -> Json:
        found = await self._sanctions.limit_of(user_id)
        return {"messages_per_second": found[0], "burst_count": found[1]} if found is not None else {}

    @endpoint(
        "POST",
        _USER + "/override_ratelimit",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_USERS,
    )
    async def set_limit(self, operator: Operator, user_id: UserId, body: LimitBody) -> Json:
        await self._sanctions.set_limit(user_id, (body.messages_per_second, body.burst_count), by=operator)
        return {"messages_per_second": body.messages_per_second, "burst_count": body.burst_count}

    @endpoint(
        "DELETE",
        _USER + "/override_ratelimit",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_USERS,
    )
    async def end_limit(self, operator: Operator, user_id: UserId) -> Json:
        await self._sanctions.set_limit(user_id, None, by=operator)
        return {}
