"""Messages to devices of users elsewhere: read from where they wait, deleted once they have arrived."""

from __future__ import annotations

from typing import Any

from homeserver.core import canonical_json
from homeserver.core.identifiers import ServerName
from homeserver.storage import outgoing_to_device
from homeserver.storage.database import Database

Place = tuple[int, int]


class DeviceMessages:
    """Each message keeps its id however often it is sent, so that the other side takes it once."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def servers(self) -> list[ServerName]:
        """Whom messages wait for."""
        return await outgoing_to_device.servers(self._db)

    async def pending(self, server: ServerName, limit: int) -> tuple[list[dict[str, Any]], Place | None]:
        """The oldest EDUs, and the place up to which they go; None where there are none."""
        rows = await outgoing_to_device.pending(self._db, server, limit)
        if not rows:
            return [], None
        edus = [{"edu_type": "m.direct_to_device", "content": canonical_json.decode(row[2])} for row in rows]
        return edus, (rows[-1][0], rows[-1][1])

    async def delivered(self, server: ServerName, upto: Place) -> None:
        await outgoing_to_device.delete_upto(self._db, server, *upto)
