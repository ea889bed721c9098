"""From what a user typed to a room: its id, or one of its aliases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import (
    RoomId,
    ServerName,
    is_room_alias,
    is_room_id,
    is_server_name,
    parse_room_alias,
)
from homeserver.rooms.commands.directory import Aliases

SERVERS_MAX = 20


class RoomFinder:
    """Finds rooms by id or alias."""

    def __init__(self, aliases: Aliases) -> None:
        self._aliases = aliases

    async def find(self, name: str, via: Sequence[ServerName]) -> tuple[RoomId, Sequence[ServerName]]:
        """The room and the servers to reach it through. Raises InvalidParam, NotFound."""
        if is_room_id(name):
            return RoomId(name), via
        if not is_room_alias(name):
            raise InvalidParam("a room id looks like !opaque:server.name, an alias like #name:server.name")
        room_id, servers = await self._aliases.resolve(parse_room_alias(name))
        return room_id, list(dict.fromkeys([*via, *servers]))[:SERVERS_MAX]


def servers_to_ask(query: Mapping[str, str]) -> list[ServerName]:
    """The servers that `via`, or `server_name` of older clients, names. What is no server name is left out."""
    named = [value for key, value in query.items() if key in ("via", "server_name")]
    return [ServerName(value) for value in dict.fromkeys(named) if is_server_name(value)][:SERVERS_MAX]
