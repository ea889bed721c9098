"""spec: client-server-api/#room-upgrades"""

from __future__ import annotations

import msgspec

from homeserver.core.identifiers import RoomId
from homeserver.rooms.commands.upgrade import RoomUpgrade
from homeserver.web.endpoint import Access, Caller, Json, endpoint


class UpgradeBody(msgspec.Struct, frozen=True):
    new_version: str
    additional_creators: list[str] | None = None


class RoomUpgrades:
    """POST /rooms/{roomId}/upgrade."""

    def __init__(self, upgrade: RoomUpgrade) -> None:
        self._upgrade = upgrade

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/upgrade",
        "/_matrix/client/r0/rooms/{room_id}/upgrade",
        access=Access.USER,
        limit="create_room",
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3roomsroomidupgrade",
    )
    async def upgrade_room(self, caller: Caller, room_id: RoomId, body: UpgradeBody) -> Json:
        replacement = await self._upgrade.upgrade(
            room_id, caller.user_id, body.new_version, body.additional_creators or []
        )
        return {"replacement_room": replacement}
