"""What other servers may know of our public rooms and spaces.

spec: server-server-api/#published-room-directory, #spaces
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from federation.room_access import RoomAccess
from homeserver.core.errors import Forbidden, InvalidParam, NotFound
from homeserver.core.identifiers import RoomId, ServerName
from homeserver.rooms.public_rooms import PublicRooms, Wanted, parse_room_types, parse_term
from homeserver.rooms.residents import Room, Rooms, is_in
from homeserver.rooms.space_tree import SpaceTree, is_open, is_suggested, rooms_let_in, summary
from homeserver.runtime.tasks import others_turn
from homeserver.web.endpoint import Access, Json, endpoint

LIMIT_MAX = 500
CHILDREN_MAX = 100
# So many rooms are looked at whose members a child lets in, and so many for all children.
LET_IN_BY_MAX, FOLLOWED_MAX = 20, 200


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
        if not await self._known_to([room], origin):
            raise NotFound("there is no such room, or your server may not know of it")
        entry = await self._tree.entry_for_servers(room)
        if query.suggested_only == "true":
            # Servers that ask so walk on along these events as they come.
            entry = {**entry, "children_state": [one for one in entry["children_state"] if is_suggested(one)]}
        wanted = [RoomId(child["state_key"]) for child in entry["children_state"]][:CHILDREN_MAX]
        opened, shut = await self._access.open_rooms(wanted, origin)
        known = await self._known_to(opened, origin)
        children = {child.room_id: summary(child) for child in opened if child.room_id in known}
        inaccessible = {*shut, *(child.room_id for child in opened)} - known
        return {
            "room": entry,
            "children": [children[name] for name in wanted if name in children],
            "inaccessible_children": [name for name in wanted if name in inaccessible],
        }

    async def _known_to(self, rooms: Sequence[Room], origin: ServerName) -> set[RoomId]:
        """Those of some rooms that a user of a server is in, could peek into, or come into. Five queries at most."""
        known: set[RoomId] = set()
        named: dict[RoomId, None] = {}
        for room in rooms:
            if _is_open_to(room, origin):
                known.add(room.room_id)
            else:
                named.update((RoomId(name), None) for name in sorted(rooms_let_in(room))[:LET_IN_BY_MAX])
            await others_turn()
        followed: set[str] = set()
        for other in (await self._rooms.get_many(list(named)[:FOLLOWED_MAX])).values():
            # Of a room that we have left we know only who was in it then.
            if is_in(other, self._access.server_name) and is_in(other, origin):
                followed.add(other.room_id)
            await others_turn()
        return known | {room.room_id for room in rooms if not rooms_let_in(room).isdisjoint(followed)}


def _is_open_to(room: Room, origin: ServerName) -> bool:
    visibility = room.known_text("m.room.history_visibility", "history_visibility")
    return visibility == "world_readable" or is_open(room) or is_in(room, origin, ("join", "invite"))


def _limit(limit: int) -> int:
    if limit < 0:
        raise InvalidParam("limit must not be negative")
    return min(limit, LIMIT_MAX)
