"""The devices of a user: /_synapse/admin/v2/users/{user_id}/devices."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from admin.actions.access import AccountAccess
from admin.actions.targets import AccountTools
from admin.storage import accounts
from homeserver.core.errors import NotFound
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Access, Answer, Json, Operator, Reach, endpoint

_DEVICES = "/_synapse/admin/v2/users/{user_id}/devices"
_DEVICE = _DEVICES + "/{device_id}"


class NewDeviceBody(msgspec.Struct, frozen=True):
    device_id: str


class RenameBody(msgspec.Struct, frozen=True):
    display_name: str | None = None


class DeleteBody(msgspec.Struct, frozen=True):
    devices: Annotated[list[str], msgspec.Meta(max_length=1000)]


class UserDeviceEndpoints:
    """Listed, looked at, made, renamed, deleted."""

    def __init__(self, tools: AccountTools, access: AccountAccess) -> None:
        self._tools = tools
        self._access = access

    @endpoint("GET", _DEVICES, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_USERS)
    async def all_of_them(self, user_id: UserId) -> Json:
        found = await self._of(user_id)
        return {"devices": found, "total": len(found)}

    @endpoint("POST", _DEVICES, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_USERS)
    async def add(self, operator: Operator, user_id: UserId, body: NewDeviceBody) -> Answer:
        await self._access.add_device(user_id, body.device_id, by=operator)
        return Answer(b"{}", status=201)

    @endpoint("GET", _DEVICE, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_USERS)
    async def one(self, user_id: UserId, device_id: DeviceId) -> Json:
        for found in await self._of(user_id):
            if found["device_id"] == device_id:
                return found
        raise NotFound("No device found")

    @endpoint("PUT", _DEVICE, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_USERS)
    async def rename(self, operator: Operator, user_id: UserId, device_id: DeviceId, body: RenameBody) -> Json:
        await self._access.rename_device(user_id, device_id, body.display_name, by=operator)
        return {}

    @endpoint("DELETE", _DEVICE, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_USERS)
    async def delete(self, operator: Operator, user_id: UserId, device_id: DeviceId) -> Json:
        await self._access.delete_devices(user_id, [device_id], by=operator)
        return {}

    @endpoint(
        "POST",
        "/_synapse/admin/v2/users/{user_id}/delete_devices",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_USERS,
    )
    async def delete_many(self, operator: Operator, user_id: UserId, body: DeleteBody) -> Json:
        await self._access.delete_devices(user_id, [DeviceId(one) for one in body.devices], by=operator)
        return {}

    async def _of(self, user_id: UserId) -> list[dict[str, Any]]:
        await self._tools.account(user_id, "Can only lookup local users")
        await self._tools.sessions.flush_sightings()
        found = await accounts.devices_of(self._tools.db, user_id)
        return [{**one, "user_id": user_id, "dehydrated": False} for one in found]
