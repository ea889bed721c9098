"""Telling others that our users' devices or keys have changed. spec: server-server-api/#device-management

Each update refers to one that nobody has, so that whoever gets it asks for the whole list: what was missed, in whatever
order, can't make a list wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from federation.storage import remote_devices
from homeserver.core import canonical_json
from homeserver.core.identifiers import ServerName, UserId
from homeserver.storage import cross_signing, device_keys
from homeserver.storage.database import Database

Edu = dict[str, Any]
MISSED_MAX = 5_000


def stream_id(position: int) -> int:
    """The number of a user's device list as others see it; odd ones are never given."""
    return 2 * position


class DeviceUpdates:
    """Reads, in three queries for all users of a transaction."""

    def __init__(self, db: Database, server_name: ServerName) -> None:
        self._db = db
        self._server_name = server_name

    async def edus(self, changed: Mapping[UserId, int]) -> list[Edu]:
        """What is told about these users of ours, changed at these positions; nothing of who never had keys."""
        devices: dict[UserId, str] = {}
        for row in await device_keys.of_users(self._db, list(changed)):
            devices.setdefault(row.user_id, row.device_id)
        found: list[Edu] = []
        # Who has come into a room, and never had a device to speak of, is told of by that alone.
        bare = [user_id for user_id in changed if user_id not in devices]
        had = await remote_devices.own_positions(self._db, bare) if bare else {}
        for user_id, position in changed.items():
            if user_id not in devices and user_id not in had:
                continue
            number = stream_id(position)
            content: Edu = {"user_id": user_id, "stream_id": number, "prev_id": [number - 1]}
            content |= {"device_id": devices[user_id]} if user_id in devices else {"device_id": "", "deleted": True}
            found.append({"edu_type": "m.device_list_update", "content": content})
        for user_id, keys in (await cross_signing.of_users(self._db, list(changed))).items():
            content = {
                name: canonical_json.decode(keys[usage])
                for name, usage in (("master_key", "master"), ("self_signing_key", "self_signing"))
                if usage in keys
            }
            if content:
                found.append({"edu_type": "m.signing_key_update", "content": {"user_id": user_id, **content}})
        return found

    async def missed(self, server: ServerName, after: int, upto: int) -> dict[UserId, int]:
        """Whose lists changed in (after, upto] of those that a server sees."""
        return await remote_devices.own_changed(self._db, server, self._server_name, after, upto, MISSED_MAX)
