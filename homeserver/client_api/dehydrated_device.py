"""The dehydrated device of a user. MSC3814."""

from __future__ import annotations

from typing import Any

import msgspec

from homeserver.core.identifiers import DeviceId
from homeserver.encryption.dehydrated_devices import DehydratedDevices
from homeserver.web.endpoint import Access, Caller, Json, endpoint

_PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
_EVENTS = _PATH + "/{device_id}/events"
_SPEC = "client-server-api/#end-to-end-encryption"


class DehydratedBody(msgspec.Struct, frozen=True):
    device_id: str
    device_data: dict[str, Any]
    device_keys: dict[str, Any]
    one_time_keys: dict[str, Any] | None = None
    fallback_keys: dict[str, Any] | None = None


class EventsQuery(msgspec.Struct, frozen=True):
    page: str | None = msgspec.field(default=None, name="from")


class EventsBody(msgspec.Struct, frozen=True):
    next_batch: str | None = None


class DehydratedDeviceEndpoints:
    """/dehydrated_device."""

    def __init__(self, devices: DehydratedDevices) -> None:
        self._devices = devices

    @endpoint("PUT", _PATH, access=Access.USER, spec=_SPEC, limit="keys_upload")
    async def put(self, caller: Caller, body: DehydratedBody) -> Json:
        await self._devices.put(
            caller.user_id,
            DeviceId(body.device_id),
            body.device_data,
            body.device_keys,
            one_time=body.one_time_keys or {},
            fallback=body.fallback_keys or {},
        )
        return {"device_id": body.device_id}

    @endpoint("GET", _PATH, access=Access.USER, spec=_SPEC)
    async def get(self, caller: Caller) -> Json:
        return await self._devices.get(caller.user_id)

    @endpoint("DELETE", _PATH, access=Access.USER, spec=_SPEC, limit="keys_upload")
    async def delete(self, caller: Caller) -> Json:
        return {"device_id": await self._devices.delete(caller.user_id)}

    @endpoint("GET", _EVENTS, access=Access.USER, spec=_SPEC, limit="keys_query")
    async def events(self, caller: Caller, device_id: DeviceId, query: EventsQuery) -> Json:
        page = await self._devices.events(caller.user_id, device_id, query.page)
        return {"events": page.events} | ({} if page.is_last else {"next_batch": page.next_batch})

    @endpoint("POST", _EVENTS, access=Access.USER, spec=_SPEC, limit="keys_query")
    async def older_events(self, caller: Caller, device_id: DeviceId, body: EventsBody) -> Json:
        """As clients ask that go on until a page is empty."""
        page = await self._devices.events(caller.user_id, device_id, body.next_batch)
        return {"events": page.events, "next_batch": page.next_batch}
