"""The devices of a user, as their owner sees them."""

from __future__ import annotations

from typing import Any

from homeserver.accounts.sessions import DISPLAY_NAME_CHARS_MAX, Sessions
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

    async def rename(
        self, user_id: UserId, device_id: DeviceId, display_name: str | None, also: Also | None = None
    ) -> None:
        """Renames, and tells those who see the name beside the device's keys. Raises NotFound, InvalidParam."""
        if display_name is not None and (len(display_name) > DISPLAY_NAME_CHARS_MAX or "\x00" in display_name):
            raise InvalidParam(f"display_name may have {DISPLAY_NAME_CHARS_MAX} characters")
        async with self._journal.write() as write:
            if not await devices.rename(write.tx, user_id, device_id, display_name):
                raise NotFound("there is no such device")
            await self._sessions.devices_changed(write, user_id)
            if also is not None:
                await also(write.tx)


def _shown(row: DeviceRow) -> dict[str, Any]:
    fields = {
        "device_id": row.device_id,
        "display_name": row.display_name,
        "last_seen_ts": row.last_seen_ts,
        "last_seen_ip": row.last_seen_ip,
    }
    return {key: value for key, value in fields.items() if value is not None}
