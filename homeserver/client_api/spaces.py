"""Spaces and summaries of rooms. spec: client-server-api/#spaces"""

from __future__ import annotations

import msgspec

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomId
from homeserver.rooms.commands.finding import RoomFinder, servers_to_ask
from homeserver.rooms.space_tree import DEPTH_MAX, PAGE_MAX, SpaceTree, TreeWish, start_of
from homeserver.web.endpoint import Access, Caller, Json, Request, endpoint


class HierarchyQuery(msgspec.Struct, frozen=True):
    suggested_only: bool = False
    limit: int = PAGE_MAX
    max_depth: int = DEPTH_MAX
    from_: str | None = msgspec.field(default=None, name="from")


class Spaces:
    """GET /hierarchy and /room_summary."""

    def __init__(self, tree: SpaceTree, finder: RoomFinder) -> None:
        self._tree = tree
        self._finder = finder

    @endpoint(
        "GET",
        "/_matrix/client/v1/rooms/{room_id}/hierarchy",
        "/_matrix/client/unstable/org.matrix.msc2946/rooms/{room_id}/hierarchy",
        access=Access.GUEST,
        limit="hierarchy",
        spec="client-server-api/#get_matrixclientv1roomsroomidhierarchy",
    )
    async def hierarchy(self, caller: Caller, room_id: RoomId, query: HierarchyQuery) -> Json:
        if query.limit < 1:
            raise InvalidParam("limit must be greater than 0")
        if query.max_depth < 0:
            raise InvalidParam("max_depth must not be negative")
        max_depth = min(query.max_depth, DEPTH_MAX)
        wish = TreeWish(
            suggested_only=query.suggested_only,
            limit=min(query.limit, PAGE_MAX),
            max_depth=max_depth,
            start=start_of(query.from_, query.suggested_only, max_depth) if query.from_ else 0,
        )
        rooms, following = await self._tree.page(caller.user_id, room_id, wish)
        answer: Json = {"rooms": rooms}
        if following is not None:
            answer["next_batch"] = wish.token(following)
        return answer

    @endpoint(
        "GET",
        "/_matrix/client/v1/room_summary/{room_id_or_alias}",
        "/_matrix/client/unstable/im.nheko.summary/summary/{room_id_or_alias}",
        "/_matrix/client/unstable/im.nheko.summary/rooms/{room_id_or_alias}/summary",
        access=Access.OPTIONAL,
        limit="hierarchy",
        spec="client-server-api/#get_matrixclientv1room_summaryroomidoralias",
    )
    async def summary(self, caller: Caller | None, room_id_or_alias: str, request: Request) -> Json:
        room_id, via = await self._finder.find(room_id_or_alias, servers_to_ask(request.raw_query))
        return await self._tree.summarise(caller.user_id if caller is not None else None, room_id, via)
