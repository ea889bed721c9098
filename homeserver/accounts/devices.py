"""The devices of a user, as their owner sees them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from homeserver.accounts.sessions import DEVICE_ID_CHARS_MAX, DISPLAY_NAME_CHARS_MAX, Sessions
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.journal.journal import Journal
from homeserver.storage import devices
from homeserver.storage.database import Also, Database
from homeserver.storage.devices import DeviceRow


class Devices:
    """Reads and renames devices. They end with their sessions: `Sessions.end_devices`."""

    def __init__(self, db: Database, journal: Journal, sessions: Sessions) -> None:
        self._db = db
        self._journal = journal
        self._sessions = sessions

    async def all(self, user_id: UserId) -> list[dict[str, Any]]:
        return [_shown(row) for row in await devices.of_user(self._db, user_id)]

    async def one(self, user_id: UserId, device_id: DeviceId) -> dict[str, Any]:
        """Raises NotFound."""
        row = await devices.one(self._db, user_id, device_id)
        if row is None:
            raise NotFound("there is no such device")
        return _shown(row)

    async def put(self, user_id: UserId, device_id: str, display_name: str | None) -> bool:
        """Makes the device, or finds it and gives it this name; whether it was made. Raises InvalidParam."""
        _check(device_id, display_name)
        async with self._journal.write() as write:
            known = await devices.one(write.tx, user_id, DeviceId(device_id))
            await devices.upsert(write.tx, user_id, DeviceId(device_id), display_name)
            if known is not None and display_name is not None:
                await devices.rename(write.tx, user_id, DeviceId(device_id), display_name)
            await self._sessions.devices_changed(write, user_id)
        return known is None

    async def reconcile(self, user_id: UserId, device_ids: Collection[str]) -> tuple[int, int]:
        """Has the user own these devices and no others; how many were made, and ended. Raises InvalidParam."""
        for device_id in device_ids:
            _check(device_id, None)
        async with self._journal.write() as write:
            have = {row.device_id for row in await devices.of_user(write.tx, user_id)}
            wanted = {DeviceId(device_id) for device_id in device_ids}
            missing, surplus = sorted(wanted - have), sorted(have - wanted)
            if missing:
                await devices.make_many(write.tx, user_id, missing)
                await self._sessions.devices_changed(write, user_id)
            await self._sessions.end_devices_in(write, user_id, surplus)
        if surplus:
            self._sessions.account_changed(user_id)
        return len(missing), len(surplus)

    async def rename(
        self, user_id: UserId, device_id: DeviceId, display_name: str | None, also: Also | None = None
    ) -> None:
        """Renames, and tells those who see the name beside the device's keys. Raises NotFound, InvalidParam."""
        _check_name(display_name)
        async with self._journal.write() as write:
            if not await devices.rename(write.tx, user_id, device_id, display_name):
                raise NotFound("there is no such device")
            await self._sessions.devices_changed(write, user_id)
            if also is not None:
                await also(write.tx)


def _check(device_id: str, display_name: str | None) -> None:
    if not 0 < len(device_id) <= DEVICE_ID_CHARS_MAX or "\x00" in device_id:
        raise InvalidParam(f"device_id must have 1 to {DEVICE_ID_CHARS_MAX} characters")
    _check_name(display_name)


def _check_name(display_name: str | None) -> None:
    if display_name is not None and (len(display_name) > DISPLAY_NAME_CHARS_MAX or "\x00" in display_name):
        raise InvalidParam(f"display_name may have {DISPLAY_NAME_CHARS_MAX} characters")


def _shown(row: DeviceRow) -> dict[str, Any]:
    fields = {
        "device_id": row.device_id,
        "display_name": row.display_name,
        "last_seen_ts": row.last_seen_ts,
        "last_seen_ip": row.last_seen_ip,
    }
    return {key: value for key, value in fields.items() if value is not None}
