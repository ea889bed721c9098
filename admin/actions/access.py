"""How an account is got into: its password, its devices, and an operator's log-in as its user."""

from __future__ import annotations

from collections.abc import Sequence

from admin.actions.targets import AccountTools
from admin.audit import entry_of
from homeserver.accounts.devices import Devices
from homeserver.accounts.oauth.browser import RESET_ALLOWED_S, CrossSigningResets
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.core.operators import Permission
from homeserver.storage import cross_signing, devices
from homeserver.web.endpoint import Operator

DEVICES_AT_ONCE_MAX = 1_000


class AccountAccess:
    """Each act is written with its audit row."""

    def __init__(self, tools: AccountTools, own_devices: Devices, resets: CrossSigningResets) -> None:
        self._tools = tools
        self._devices = own_devices
        self._resets = resets

    async def reset_password(
        self, user_id: UserId, password: str, *, logs_out: bool, by: Operator, reason: str | None = None
    ) -> None:
        """Raises NotFound, Forbidden, WeakPassword."""
        by.check(Permission.IMPERSONATE)
        tools = self._tools
        row = await tools.target(by, user_id, "Only local users can have their password reset")
        if row.is_deactivated:
            raise NotFound("User not found")
        tools.users.check_new_password(password)
        await tools.four_eyes.check("impersonate", user_id, Permission.IMPERSONATE, by=by)
        entry = entry_of(by, "user.password", user_id, reason=reason, after={"logout_devices": logs_out})
        await tools.users.set_password(user_id, password, also=tools.audit.noting(entry))
        if logs_out:
            await tools.sessions.end_all(user_id)

    async def log_in_as(self, user_id: UserId, valid_until_ms: int | None, *, by: Operator) -> str:
        """An access token of this user's, without a device. Raises NotFound, Forbidden, MatrixError for oneself."""
        by.check(Permission.IMPERSONATE)
        tools = self._tools
        if user_id == by.user_id:
            raise MatrixError("Cannot use admin API to login as self")
        row = await tools.target(by, user_id, "Only local users can be logged in as")
        if row.is_deactivated:
            raise NotFound("User not found")
        if valid_until_ms is not None and valid_until_ms <= tools.clock.now_ms():
            raise InvalidParam("valid_until_ms lies in the past")
        await tools.four_eyes.check("impersonate", user_id, Permission.IMPERSONATE, by=by)
        async with tools.db.transaction() as tx:
            token = await tools.sessions.open_without_device(tx, user_id, valid_until_ms)
            entry = entry_of(by, "user.log_in_as", user_id, after={"valid_until_ms": valid_until_ms})
            await tools.audit.record(tx, entry)
        return token

    async def add_device(self, user_id: UserId, device_id: str, *, by: Operator) -> None:
        """Raises NotFound, Forbidden, InvalidParam."""
        by.check(Permission.CHANGE_USERS)
        tools = self._tools
        await tools.target(by, user_id, "Can only lookup local users")
        if not 0 < len(device_id) <= 512 or "\x00" in device_id:
            raise InvalidParam("device_id must have 1 to 512 characters")
        async with tools.db.transaction() as tx:
            if await devices.one(tx, user_id, DeviceId(device_id)) is not None:
                return
            await devices.upsert(tx, user_id, DeviceId(device_id), None)
            await tools.audit.record(tx, entry_of(by, "device.add", user_id, after={"device_id": device_id}))

    async def rename_device(self, user_id: UserId, device_id: DeviceId, name: str | None, *, by: Operator) -> None:
        """Raises NotFound, Forbidden, InvalidParam."""
        by.check(Permission.CHANGE_USERS)
        await self._tools.target(by, user_id, "Can only lookup local users")
        entry = entry_of(by, "device.rename", user_id, after={"device_id": device_id, "display_name": name})
        await self._devices.rename(user_id, device_id, name, also=self._tools.audit.noting(entry))

    async def delete_devices(self, user_id: UserId, device_ids: Sequence[DeviceId], *, by: Operator) -> None:
        """Ends their sessions. Nothing happens to those that aren't there. Raises NotFound, Forbidden."""
        by.check(Permission.CHANGE_USERS)
        await self._tools.target(by, user_id, "Can only lookup local users")
        if len(device_ids) > DEVICES_AT_ONCE_MAX:
            raise InvalidParam(f"at most {DEVICES_AT_ONCE_MAX} devices at once")
        entry = entry_of(by, "device.delete", user_id, before={"devices": list(device_ids)})
        await self._tools.sessions.end_devices(user_id, device_ids, also=self._tools.audit.noting(entry))

    async def allow_new_cross_signing(self, user_id: UserId, *, by: Operator) -> int:
        """Lets the user replace their cross-signing keys without proving who they are; until when, in milliseconds.

        Raises NotFound where there are none to replace, Forbidden.
        """
        by.check(Permission.IMPERSONATE)
        tools = self._tools
        await tools.target(by, user_id, "Only local users can do this")
        if "master" not in (await cross_signing.of_users(tools.db, [user_id])).get(user_id, {}):
            raise NotFound("User has no master cross-signing key")
        until_ms = tools.clock.now_ms() + int(RESET_ALLOWED_S * 1000)
        async with tools.db.transaction() as tx:
            entry = entry_of(by, "user.cross_signing_replacement", user_id, after={"until_ms": until_ms})
            await tools.audit.record(tx, entry)
        self._resets.allow(user_id)
        return until_ms
