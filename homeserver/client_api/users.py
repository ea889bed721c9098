"""Finding users. spec: client-server-api/#user-directory, client-server-api/#mutual-rooms"""

from __future__ import annotations

import msgspec

from homeserver.accounts.mutual_rooms import MutualRooms
from homeserver.accounts.user_directory import UserDirectory
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import parse_user_id
from homeserver.web.endpoint import Access, Caller, Json, endpoint

TERM_CHARS_MAX = 512


class SearchBody(msgspec.Struct, frozen=True):
    search_term: str
    limit: int = 10


class MutualQuery(msgspec.Struct, frozen=True, rename={"after": "from"}):
    user_id: str
    after: str | None = None


class UnstableMutualQuery(msgspec.Struct, frozen=True):
    user_id: str
    batch_token: str | None = None


class UserSearch:
    """POST /user_directory/search, GET /mutual_rooms."""

    def __init__(self, directory: UserDirectory, mutual_rooms: MutualRooms) -> None:
        self._directory = directory
        self._mutual_rooms = mutual_rooms

    @endpoint(
        "POST",
        "/_matrix/client/v3/user_directory/search",
        "/_matrix/client/r0/user_directory/search",
        access=Access.USER,
        limit="directory",
        spec="client-server-api/#post_matrixclientv3user_directorysearch",
    )
    async def search(self, caller: Caller, body: SearchBody) -> Json:
        if len(body.search_term) > TERM_CHARS_MAX:
            raise InvalidParam(f"search_term may have {TERM_CHARS_MAX} characters")
        found, limited = await self._directory.search(caller.user_id, body.search_term, body.limit)
        results = [
            {
                key: value
                for key, value in (
                    ("user_id", user.user_id),
                    ("display_name", user.display_name),
                    ("avatar_url", user.avatar_url),
                )
                if value is not None
            }
            for user in found
        ]
        return {"results": results, "limited": limited}

    @endpoint(
        "GET",
        "/_matrix/client/v1/mutual_rooms",
        "/_matrix/client/unstable/uk.half-shot.msc2666/mutual_rooms",
        access=Access.USER,
        limit="directory",
        spec="client-server-api/#get_matrixclientv1mutual_rooms",
    )
    async def mutual_rooms(self, caller: Caller, query: MutualQuery) -> Json:
        page = await self._mutual_rooms.page(caller.user_id, parse_user_id(query.user_id), query.after)
        answer: Json = {"joined": page.room_ids, "count": page.count}
        return answer | ({"next_batch": page.next_token} if page.next_token else {})

    @endpoint(
        "GET",
        "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms",
        access=Access.USER,
        limit="directory",
        spec="client-server-api/#get_matrixclientv1mutual_rooms",
    )
    async def unstable_mutual_rooms(self, caller: Caller, query: UnstableMutualQuery) -> Json:
        page = await self._mutual_rooms.page(caller.user_id, parse_user_id(query.user_id), query.batch_token)
        return {"joined": page.room_ids} | ({"next_batch_token": page.next_token} if page.next_token else {})
