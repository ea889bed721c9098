"""What the Matrix Authentication Service (MAS) calls, under the paths and with the answers that it knows.

There is no specification: the shapes are those that the service sends and reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from admin.actions.mas import MasAccounts, ProvisionWish
from homeserver.accounts.devices import Devices
from homeserver.accounts.sessions import Sessions
from homeserver.core.errors import InvalidParam, MatrixError
from homeserver.core.identifiers import DeviceId
from homeserver.web.endpoint import Access, Answer, Json, endpoint

PATH = "/_synapse/mas"
DEVICES_MAX = 10_000


class LocalpartBody(msgspec.Struct, frozen=True):
    localpart: str


class LocalpartQuery(msgspec.Struct, frozen=True):
    localpart: str


class WantedQuery(msgspec.Struct, frozen=True):
    localpart: str | None = None


class ProvisionBody(msgspec.Struct, frozen=True):
    localpart: str
    unset_displayname: bool | msgspec.UnsetType = msgspec.UNSET
    set_displayname: str | msgspec.UnsetType | None = msgspec.UNSET
    unset_avatar_url: bool | msgspec.UnsetType = msgspec.UNSET
    set_avatar_url: str | msgspec.UnsetType | None = msgspec.UNSET
    unset_emails: bool | msgspec.UnsetType = msgspec.UNSET
    set_emails: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    locked: bool | None = None

    def wish(self) -> ProvisionWish:
        """Raises InvalidParam where a thing is to be set and taken away."""
        return ProvisionWish(
            displayname=_wanted("displayname", self.unset_displayname, self.set_displayname, ""),
            avatar_url=_wanted("avatar_url", self.unset_avatar_url, self.set_avatar_url, ""),
            emails=_wanted("emails", self.unset_emails, self.set_emails, ()),
            locked=self.locked,
        )


class DeleteUserBody(msgspec.Struct, frozen=True):
    localpart: str
    erase: bool


class DisplayNameBody(msgspec.Struct, frozen=True):
    localpart: str
    displayname: str


class DeviceBody(msgspec.Struct, frozen=True):
    localpart: str
    device_id: str


class UpsertDeviceBody(msgspec.Struct, frozen=True):
    localpart: str
    device_id: str
    display_name: str | None = None


class RenameDeviceBody(msgspec.Struct, frozen=True):
    localpart: str
    device_id: str
    display_name: str


class SyncDevicesBody(msgspec.Struct, frozen=True):
    localpart: str
    devices: Annotated[list[str], msgspec.Meta(max_length=DEVICES_MAX)]


class MasUserEndpoints:
    """Accounts and their profiles."""

    def __init__(self, accounts: MasAccounts, reserved: Sequence[str]) -> None:
        self._accounts = accounts
        self._reserved = reserved

    @endpoint("GET", PATH + "/query_user", access=Access.SERVICE, spec="")
    async def query(self, query: LocalpartQuery) -> Json:
        row = await self._accounts.account(query.localpart)
        return {
            "user_id": row.user_id,
            "display_name": row.displayname,
            "avatar_url": row.avatar_url,
            "is_suspended": row.is_suspended,
            "is_deactivated": row.is_deactivated,
        }

    @endpoint("POST", PATH + "/provision_user", access=Access.SERVICE, spec="")
    async def provision(self, body: ProvisionBody) -> Answer:
        is_new = await self._accounts.provision(body.localpart, body.wish())
        return Answer(status=201 if is_new else 200)

    @endpoint("GET", PATH + "/is_localpart_available", access=Access.SERVICE, spec="")
    async def is_available(self, query: WantedQuery) -> Json:
        if query.localpart is None:
            raise MatrixError("Missing localpart")
        await self._accounts.check_free(query.localpart, self._reserved)
        return {}

    @endpoint("POST", PATH + "/delete_user", access=Access.SERVICE, spec="")
    async def delete(self, body: DeleteUserBody) -> Json:
        await self._accounts.delete(body.localpart, erase=body.erase)
        return {}

    @endpoint("POST", PATH + "/reactivate_user", access=Access.SERVICE, spec="")
    async def reactivate(self, body: LocalpartBody) -> Json:
        await self._accounts.reactivate(body.localpart)
        return {}

    @endpoint("POST", PATH + "/set_displayname", access=Access.SERVICE, spec="")
    async def set_displayname(self, body: DisplayNameBody) -> Json:
        row = await self._accounts.account(body.localpart)
        await self._accounts.set_field(row, "displayname", body.displayname)
        return {}

    @endpoint("POST", PATH + "/unset_displayname", access=Access.SERVICE, spec="")
    async def unset_displayname(self, body: LocalpartBody) -> Json:
        row = await self._accounts.account(body.localpart)
        await self._accounts.set_field(row, "displayname", "")
        return {}

    @endpoint("POST", PATH + "/allow_cross_signing_reset", access=Access.SERVICE, spec="")
    async def allow_cross_signing_reset(self, body: LocalpartBody) -> Json:
        await self._accounts.allow_new_cross_signing(body.localpart)
        return {}


class MasDeviceEndpoints:
    """Where users are logged in."""

    def __init__(self, accounts: MasAccounts, devices: Devices, sessions: Sessions) -> None:
        self._accounts = accounts
        self._devices = devices
        self._sessions = sessions

    @endpoint("POST", PATH + "/upsert_device", access=Access.SERVICE, spec="")
    async def upsert(self, body: UpsertDeviceBody) -> Answer:
        user_id = (await self._accounts.account(body.localpart)).user_id
        is_new = await self._devices.put(user_id, body.device_id, body.display_name)
        return Answer(status=201 if is_new else 200)

    @endpoint("POST", PATH + "/update_device_display_name", access=Access.SERVICE, spec="")
    async def rename(self, body: RenameDeviceBody) -> Json:
        user_id = (await self._accounts.account(body.localpart)).user_id
        await self._devices.rename(user_id, _device(body.device_id), body.display_name)
        return {}

    @endpoint("POST", PATH + "/delete_device", access=Access.SERVICE, spec="", needs_disk=False)
    async def delete(self, body: DeviceBody) -> Answer:
        user_id = (await self._accounts.account(body.localpart)).user_id
        await self._sessions.end_devices(user_id, [_device(body.device_id)])
        return Answer(b"", 204)

    @endpoint("POST", PATH + "/sync_devices", access=Access.SERVICE, spec="")
    async def reconcile(self, body: SyncDevicesBody) -> Json:
        user_id = (await self._accounts.account(body.localpart)).user_id
        await self._devices.reconcile(user_id, body.devices)
        return {}


def _device(device_id: str) -> DeviceId:
    if "\x00" in device_id:
        raise InvalidParam("device_id must not hold NUL")
    return DeviceId(device_id)


def _wanted(name: str, unset: Any, given: Any, empty: Any) -> Any:
    """None: leave it. Whoever names both says two things, whatever they say."""
    if unset is not msgspec.UNSET and given is not msgspec.UNSET:
        raise InvalidParam(f"Cannot specify both unset_{name} and set_{name}")
    if unset is True:
        return empty
    return None if given is msgspec.UNSET else given
