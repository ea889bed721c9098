"""Dehydrated devices: they take messages while no device of their user is logged in. MSC3814."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeserver.core import canonical_json
from homeserver.core.errors import BadJson, Forbidden, InvalidParam, NotFound, TooLarge
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.encryption.keys import Keys, check_device_keys, named_keys
from homeserver.encryption.to_device import ToDevice
from homeserver.journal.journal import Journal
from homeserver.storage import dehydrated_devices
from homeserver.storage.database import Database

DEVICE_DATA_BYTES_MAX = 65_536
DEVICE_ID_BYTES_MAX = 255
EVENTS_PER_PAGE = 100
_PAGE = re.compile(r"d([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a device's messages, and where to go on."""

    events: list[dict[str, Any]]
    next_batch: str
    is_last: bool


class DehydratedDevices:
    """Keeps at most one dehydrated device for each user; it is seen by others like any device."""

    def __init__(self, db: Database, journal: Journal, keys: Keys, to_device: ToDevice) -> None:
        self._db = db
        self._journal = journal
        self._keys = keys
        self._to_device = to_device

    async def put(
        self,
        user_id: UserId,
        device_id: DeviceId,
        device_data: Mapping[str, Any],
        device: Mapping[str, Any],
        *,
        one_time: Mapping[str, Any],
        fallback: Mapping[str, Any],
    ) -> None:
        """Replaces the user's dehydrated device, and all that waits for the old one.

        Raises what Keys.upload raises; InvalidParam for the id of a device that is in use; TooLarge.
        """
        if not 0 < len(device_id.encode()) <= DEVICE_ID_BYTES_MAX or "\x00" in device_id:
            raise InvalidParam(f"device_id must have 1 to {DEVICE_ID_BYTES_MAX} bytes")
        if not isinstance(device_data.get("algorithm"), str):
            raise BadJson("device_data.algorithm must be a string")
        check_device_keys(device, user_id, device_id)
        new, fallbacks = named_keys(one_time), named_keys(fallback)
        data = canonical_json.encode(device_data)
        if len(data) > DEVICE_DATA_BYTES_MAX:
            raise TooLarge(f"device_data may have {DEVICE_DATA_BYTES_MAX} bytes")
        async with self._journal.write() as write:
            await dehydrated_devices.lock(write.tx, user_id)
            if await dehydrated_devices.is_real(write.tx, user_id, device_id):
                raise InvalidParam("a device is logged in under this id")
            old = await dehydrated_devices.delete(write.tx, user_id)
            if old is not None:
                await self._keys.devices_deleted(write.tx, user_id, [old])
            await dehydrated_devices.insert(write.tx, user_id, device_id, data)
            await self._keys.store(write, user_id, device_id, device, new, fallbacks)
        self._keys.forget_counts(user_id, device_id)

    async def get(self, user_id: UserId) -> dict[str, Any]:
        """Raises NotFound."""
        found = await dehydrated_devices.get(self._db, user_id)
        if found is None:
            raise NotFound("there is no dehydrated device")
        return {"device_id": found[0], "device_data": canonical_json.decode(found[1])}

    async def delete(self, user_id: UserId) -> DeviceId:
        """Raises NotFound."""
        async with self._journal.write() as write:
            await dehydrated_devices.lock(write.tx, user_id)
            device_id = await dehydrated_devices.delete(write.tx, user_id)
            if device_id is None:
                raise NotFound("there is no dehydrated device")
            await self._keys.devices_deleted(write.tx, user_id, [device_id])
            await self._keys.record_change(write, user_id)
        return device_id

    async def events(self, user_id: UserId, device_id: DeviceId, page: str | None) -> Page:
        """The next messages for the device, oldest first. `page` is where the page before said to go on.

        They stay until the device is replaced or deleted, so that a client that stops half way can begin again.
        Raises Forbidden for any other device, InvalidParam.
        """
        found = await dehydrated_devices.get(self._db, user_id)
        if found is None or found[0] != device_id:
            raise Forbidden("this is not your dehydrated device")
        match = _PAGE.fullmatch(page) if page is not None else None
        if page is not None and match is None:
            raise InvalidParam("this is not where a page before said to go on")
        since = int(match[1]) if match else 0
        upto = self._journal.visible
        if since >= upto:
            return Page([], f"d{since}", is_last=True)
        messages, last = await self._to_device.pending(user_id, device_id, since, upto, EVENTS_PER_PAGE)
        return Page(messages, f"d{last}", is_last=last >= upto)
