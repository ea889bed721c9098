"""What other servers may know of our public rooms and spaces.

spec: server-server-api/#published-room-directory, #spaces
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from federation.room_access import RoomAccess
from homeserver.core.errors import Forbidden, InvalidParam, NotFound
from homeserver.core.identifiers import RoomId, ServerName, domain_of
from homeserver.rooms.commands.restricted_joins import allowed_rooms
from homeserver.rooms.public_rooms import PublicRooms, Wanted, parse_room_types, parse_term
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.space_tree import SpaceTree
from homeserver.web.endpoint import Access, Json, endpoint

LIMIT_MAX = 500
CHILDREN_MAX = 100


class RoomsQuery(msgspec.Struct, frozen=True):
    limit: int = 100
    since: str | None = None


class RoomsFilter(msgspec.Struct, frozen=True):
    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class RoomsBody(msgspec.Struct, frozen=True):
    limit: int | None = None
    since: str | None = None
    filter: RoomsFilter | None = None


class TreeQuery(msgspec.Struct, frozen=True):
    suggested_only: str = "false"


class FederatedDirectory:
    """The room directory, where the operator shows it, and single levels of spaces."""

    def __init__(
        self, access: RoomAccess, rooms: Rooms, public_rooms: PublicRooms, tree: SpaceTree, *, shows_list: bool
    ) -> None:
        self._access = access
        self._rooms = rooms
        self._public_rooms = public_rooms
        self._tree = tree
        self._shows_list = shows_list

    @endpoint(
        "GET",
        "/_matrix/federation/v1/publicRooms",
        access=Access.SERVER,
        limit="directory",
        spec="server-server-api/#get_matrixfederationv1publicrooms",
    )
    async def public_rooms(self, query: RoomsQuery) -> Json:
        return await self._page(Wanted(limit=_limit(query.limit), since=query.since))

    @endpoint(
        "POST",
        "/_matrix/federation/v1/publicRooms",
        access=Access.SERVER,
        limit="directory",
        spec="server-server-api/#post_matrixfederationv1publicrooms",
        needs_disk=False,
    )
    async def query_public_rooms(self, body: RoomsBody) -> Json:
        chosen = body.filter or RoomsFilter()
        wanted = Wanted(
            limit=_limit(body.limit if body.limit is not None else 100),
            since=body.since,
            term=parse_term(chosen.generic_search_term),
            room_types=parse_room_types(chosen.room_types),
        )
        return await self._page(wanted)

    async def _page(self, wanted: Wanted) -> Json:
        if not self._shows_list:
            raise Forbidden("this server doesn't show its directory to others")
        return await self._public_rooms.page(wanted)

    @endpoint(
        "GET",
        "/_matrix/federation/v1/hierarchy/{room_id}",
        access=Access.SERVER,
        limit="directory",
        spec="server-server-api/#get_matrixfederationv1hierarchyroomid",
    )
    async def hierarchy(self, origin: ServerName, room_id: RoomId, query: TreeQuery) -> Json:
        room = await self._access.open_room(room_id, origin)
        if not await self._may_know(room, origin):
            raise NotFound("there is no such room, or your server may not know of it")
        entry = await self._tree.entry_for_servers(room)
        wanted = [
            RoomId(child["state_key"])
            for child in entry["children_state"]
            if query.suggested_only != "true" or child["content"].get("suggested") is True
        ][:CHILDREN_MAX]
        known = await self._rooms.get_many(wanted)
        children: list[dict[str, Any]] = []
        inaccessible: list[RoomId] = []
        for child_id in wanted:
            child = known.get(child_id)
            if child is None:
                continue
            if await self._may_know(child, origin):
                children.append({k: v for k, v in (await self._tree.entry_for_servers(child)).items() if k != _NESTED})
            else:
                inaccessible.append(child_id)
        return {"room": entry, "children": children, "inaccessible_children": inaccessible}

    async def _may_know(self, room: Room, origin: ServerName) -> bool:
        """Whether some user of a server could peek into a room, or come in."""
        if any(domain_of(name) == origin and value in ("join", "invite") for name, value in room.members.items()):
            return True
        if room.known_text("m.room.history_visibility", "history_visibility") == "world_readable":
            return True
        rule = room.known_text("m.room.join_rules", "join_rule") or "invite"
        if rule in ("public", "knock", "knock_restricted"):
            return True
        return rule == "restricted" and await self._is_in_any(allowed_rooms(room), origin)

    async def _is_in_any(self, room_ids: Collection[str], origin: ServerName) -> bool:
        found = await self._rooms.get_many([RoomId(room_id) for room_id in list(room_ids)[:CHILDREN_MAX]])
        return any(
            value == "join" and domain_of(name) == origin
            for room in found.values()
            for name, value in room.members.items()
        )


_NESTED = "children_state"


def _limit(limit: int) -> int:
    if limit < 0:
        raise InvalidParam("limit must not be negative")
    return min(limit, LIMIT_MAX)
