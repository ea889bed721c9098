"""Other servers, for a server that talks with none: each question fails as an unreachable server does."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.events import Draft, Event
from homeserver.core.identifiers import RoomAlias, RoomId, ServerName, UserId, domain_of


def unreachable(server: str) -> MatrixError:
    return MatrixError(f"{server} can't be reached", status=502)


class NoRemoteRooms:
    """Implements `ports.RemoteRooms`."""

    async def join(
        self, user_id: UserId, room_id: RoomId, via: Sequence[ServerName], content: Mapping[str, Any]
    ) -> None:
        raise _unknown_room()

    async def knock(
        self, user_id: UserId, room_id: RoomId, via: Sequence[ServerName], content: Mapping[str, Any]
    ) -> None:
        raise _unknown_room()

    async def leave(self, user_id: UserId, room_id: RoomId, content: Mapping[str, Any]) -> None:
        raise _unknown_room()

    async def check_reachable(self, servers: Collection[str]) -> None:
        for server in servers:
            raise unreachable(server)

    async def invite(self, room_id: RoomId, draft: Draft) -> Event:
        raise unreachable(domain_of(draft.state_key or ""))

    async def resolve_alias(self, alias: RoomAlias) -> tuple[RoomId, Sequence[ServerName]]:
        raise NotFound(f"nobody knows the alias {alias}")

    async def hierarchy(self, room_id: RoomId, via: Sequence[ServerName]) -> Mapping[str, Any]:
        raise _unknown_room()

    async def public_rooms(self, server: ServerName, query: Mapping[str, Any]) -> Mapping[str, Any]:
        raise unreachable(server)


def _unknown_room() -> MatrixError:
    return NotFound("no server that is in this room can be reached")
