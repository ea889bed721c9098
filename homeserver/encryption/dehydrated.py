"""Dehydrated devices: one that receives messages while its owner has no other. Source: MSC3814."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from homeserver.core import canonical_json
from homeserver.core.errors import InvalidParam, NotFound, TooLarge
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.encryption.keys import Keys
from homeserver.encryption.to_device import ToDevice
from homeserver.journal.journal import Journal
from homeserver.storage import dehydrated_devices, devices
from homeserver.storage.database import Database, Tx

DEVICE_DATA_BYTES_MAX = 1024 * 1024
DEVICE_ID_CHARS_MAX = 255
EVENTS_PER_PAGE = 100


class DeviceEnder(Protocol):
    """Deletes devices with all that hangs on them. Implemented by accounts."""

    async def end_devices(self, user_id: UserId, device_ids: Sequence[DeviceId]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDehydrated:
    """What a client uploads."""

    device_id: str
    device_data: Mapping[str, Any]
    display_name: str | None
    device_keys: Mapping[str, Any] | None
    one_time_keys: Mapping[str, Any]
    fallback_keys: Mapping[str, Any]


class DehydratedDevices:
    """Keeps a user's dehydrated device and hands out what was sent to it."""

    def __init__(self, db: Database, journal: Journal, keys: Keys, to_device: ToDevice, ender: DeviceEnder) -> None:
        self._db = db
        self._journal = journal
        self._keys = keys
        self._to_device = to_device
        self._ender = ender

    async def put(self, user_id: UserId, new: NewDehydrated) -> DeviceId:
        """Replaces the user's dehydrated device. Raises InvalidParam, TooLarge, and what uploading keys raises."""
        if not 0 < len(new.device_id) <= DEVICE_ID_CHARS_MAX or "\x00" in new.device_id:
            raise InvalidParam(f"device_id must have 1 to {DEVICE_ID_CHARS_MAX} characters")
        device_id = DeviceId(new.device_id)
        data = canonical_json.encode(new.device_data)
        if len(data) > DEVICE_DATA_BYTES_MAX:
            raise TooLarge(f"device_data may have {DEVICE_DATA_BYTES_MAX} bytes")
        old = await dehydrated_devices.one(self._db, user_id)
        if (old is None or old[0] != device_id) and await devices.one(self._db, user_id, device_id) is not None:
            raise InvalidParam("this device exists, and is in use")
        if old is not None:
            await self._ender.end_devices(user_id, [old[0]])
        name = new.display_name[:256].replace("\x00", "") if new.display_name else None
        async with self._db.transaction() as tx:
            await devices.upsert(tx, user_id, device_id, name)
            await dehydrated_devices.upsert(tx, user_id, device_id, data)
        await self._keys.upload(
            user_id, device_id, device=new.device_keys, one_time=new.one_time_keys, fallback=new.fallback_keys
        )
        return device_id

    async def get(self, user_id: UserId) -> tuple[DeviceId, dict[str, Any]]:
        """Raises NotFound."""
        found = await dehydrated_devices.one(self._db, user_id)
        if found is None:
            raise NotFound("there is no dehydrated device")
        return found[0], canonical_json.decode(found[1])

    async def delete(self, user_id: UserId) -> DeviceId:
        """Raises NotFound."""
        device_id, _ = await self.get(user_id)
        await self._ender.end_devices(user_id, [device_id])
        return device_id

    async def events(self, user_id: UserId, device_id: DeviceId, after: str | None) -> tuple[list[dict[str, Any]], str]:
        """A page of the messages sent to it, and where the next one begins. Raises NotFound, InvalidParam."""
        known, _ = await self.get(user_id)
        if known != device_id:
            raise NotFound("this is not the dehydrated device")
        since = 0
        if after:
            if not after.startswith("d") or not after[1:].isdigit() or len(after) > 19:
                raise InvalidParam("next_batch is no token of ours")
            since = int(after[1:])
        upto = self._journal.visible
        messages, last = await self._to_device.pending(user_id, device_id, since, upto, EVENTS_PER_PAGE)
        return messages, f"d{last}"

    async def devices_deleted(self, tx: Tx, user_id: UserId, device_ids: Sequence[DeviceId]) -> None:
        """An observer of sessions."""
        await dehydrated_devices.delete(tx, user_id, list(device_ids))
