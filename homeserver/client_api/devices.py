"""Devices. spec: client-server-api/#device-management"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from homeserver.accounts.devices import Devices
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.uia import Uia
from homeserver.core.errors import Unrecognized
from homeserver.core.identifiers import DeviceId
from homeserver.web.endpoint import Access, Answer, Caller, Json, endpoint

_V3, _R0 = "/_matrix/client/v3", "/_matrix/client/r0"
AT_ONCE_MAX = 1_000


class DeviceBody(msgspec.Struct, frozen=True):
    display_name: str | None = None


class DeleteBody(msgspec.Struct, frozen=True):
    auth: dict[str, Any] | None = None


class DeleteManyBody(msgspec.Struct, frozen=True):
    devices: Annotated[list[str], msgspec.Meta(max_length=AT_ONCE_MAX)]
    auth: dict[str, Any] | None = None


class DeviceEndpoints:
    """GET, PUT and DELETE of devices."""

    # Whether another service signs people in, and has the devices that it made ended. Set by the assembly.
    delegated = False

    def __init__(self, devices: Devices, sessions: Sessions, uia: Uia) -> None:
        self._devices = devices
        self._sessions = sessions
        self._uia = uia

    @endpoint(
        "GET",
        _V3 + "/devices",
        _R0 + "/devices",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3devices",
    )
    async def all(self, caller: Caller) -> Json:
        return {"devices": await self._devices.all(caller.user_id)}

    @endpoint(
        "GET",
        _V3 + "/devices/{device_id}",
        _R0 + "/devices/{device_id}",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3devicesdeviceid",
    )
    async def one(self, caller: Caller, device_id: DeviceId) -> Json:
        return await self._devices.one(caller.user_id, device_id)

    @endpoint(
        "PUT",
        _V3 + "/devices/{device_id}",
        _R0 + "/devices/{device_id}",
        access=Access.GUEST,
        spec="client-server-api/#put_matrixclientv3devicesdeviceid",
    )
    async def rename(self, caller: Caller, device_id: DeviceId, body: DeviceBody) -> Json | Answer:
        """Application services make devices so. spec: application-service-api/#creating-devices"""
        if caller.appservice_id is not None:
            is_new = await self._devices.put(caller.user_id, device_id, body.display_name)
            return Answer(status=201 if is_new else 200)
        await self._devices.rename(caller.user_id, device_id, body.display_name)
        return {}

    @endpoint(
        "DELETE",
        _V3 + "/devices/{device_id}",
        _R0 + "/devices/{device_id}",
        access=Access.USER,
        spec="client-server-api/#delete_matrixclientv3devicesdeviceid",
        needs_disk=False,
    )
    async def delete(self, caller: Caller, device_id: DeviceId, body: DeleteBody) -> Json:
        if caller.appservice_id is None:
            if self.delegated:
                raise Unrecognized("devices are deleted where people sign in")
            await self._uia.require_owner(f"delete {device_id}", body.auth, caller.user_id)
        await self._sessions.end_devices(caller.user_id, [device_id])
        return {}

    @endpoint(
        "POST",
        _V3 + "/delete_devices",
        _R0 + "/delete_devices",
        access=Access.USER,
        spec="client-server-api/#post_matrixclientv3delete_devices",
        needs_disk=False,
    )
    async def delete_many(self, caller: Caller, body: DeleteManyBody) -> Json:
        operation = "delete " + " ".join(sorted(body.devices))
        if caller.appservice_id is None:
            await self._uia.require_owner(operation, body.auth, caller.user_id)
        await self._sessions.end_devices(caller.user_id, [DeviceId(device_id) for device_id in body.devices])
        return {}
