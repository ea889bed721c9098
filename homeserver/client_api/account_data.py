"""Account data and tags. spec: client-server-api/#client-config, client-server-api/#room-tagging"""

from __future__ import annotations

from typing import Any

from homeserver.accounts.account_data import TAGS, AccountData
from homeserver.core.errors import BadJson, InvalidParam, LimitExceeded, NotFound
from homeserver.core.identifiers import RoomId, UserId
from homeserver.web.endpoint import Access, Caller, Json, check_own, endpoint

_NOT_YOURS = "this is somebody else's account data"

_USER = ("/_matrix/client/v3/user/{user_id}", "/_matrix/client/r0/user/{user_id}")
# Set by endpoints of their own.
_ELSEWHERE = frozenset({"m.fully_read", "m.push_rules"})
_MSC3391 = "/_matrix/client/unstable/org.matrix.msc3391/user/{user_id}"
TAGS_MAX = 200
TAG_BYTES_MAX = 255


class AccountDataEndpoints:
    """GET and PUT of account data, and the tags that live in it."""

    def __init__(self, account_data: AccountData) -> None:
        self._account_data = account_data

    @endpoint(
        "GET",
        _USER[0] + "/account_data/{kind}",
        _USER[1] + "/account_data/{kind}",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3useruseridaccount_datatype",
    )
    async def get(self, caller: Caller, user_id: UserId, kind: str) -> Json:
        check_own(caller, user_id, _NOT_YOURS)
        return await self._account_data.get(user_id, None, kind)

    @endpoint(
        "PUT",
        _USER[0] + "/account_data/{kind}",
        _USER[1] + "/account_data/{kind}",
        access=Access.GUEST,
        spec="client-server-api/#put_matrixclientv3useruseridaccount_datatype",
        limit="account_data",
    )
    async def put(self, caller: Caller, user_id: UserId, kind: str, body: Json) -> Json:
        check_own(caller, user_id, _NOT_YOURS)
        _check_settable(kind)
        await self._account_data.put(user_id, None, kind, body)
        return {}

    @endpoint(
        "DELETE",
        _MSC3391 + "/account_data/{kind}",
        access=Access.GUEST,
        spec="client-server-api/#client-config",
        limit="account_data",
    )
    async def delete(self, caller: Caller, user_id: UserId, kind: str) -> Json:
        """As setting it to {} (MSC3391): gone from first syncs, and told once more to those that go on."""
        return await self.put(caller, user_id, kind, {})

    @endpoint(
        "DELETE",
        _MSC3391 + "/rooms/{room_id}/account_data/{kind}",
        access=Access.GUEST,
        spec="client-server-api/#client-config",
        limit="account_data",
    )
    async def delete_of_room(self, caller: Caller, user_id: UserId, room_id: RoomId, kind: str) -> Json:
        return await self.put_of_room(caller, user_id, room_id, kind, {})

    @endpoint(
        "GET",
        _USER[0] + "/rooms/{room_id}/account_data/{kind}",
        _USER[1] + "/rooms/{room_id}/account_data/{kind}",
        access=Access.GUEST,
        spec="client-server-api/#get_matrixclientv3useruseridroomsroomidaccount_datatype",
    )
    async def get_of_room(self, caller: Caller, user_id: UserId, room_id: RoomId, kind: str) -> Json:
        check_own(caller, user_id, _NOT_YOURS)
        return await self._account_data.get(user_id, room_id, kind)

    @endpoint(
        "PUT",
        _USER[0] + "/rooms/{room_id}/account_data/{kind}",
        _USER[1] + "/rooms/{room_id}/account_data/{kind}",
        access=Access.GUEST,
        spec="client-server-api/#put_matrixclientv3useruseridroomsroomidaccount_datatype",
        limit="account_data",
    )
    async def put_of_room(self, caller: Caller, user_id: UserId, room_id: RoomId, kind: str, body: Json) -> Json:
        check_own(caller, user_id, _NOT_YOURS)
        _check_settable(kind)
        await self._account_data.put(user_id, room_id, kind, body)
        return {}

    @endpoint(
        "GET",
        _USER[0] + "/rooms/{room_id}/tags",
        _USER[1] + "/rooms/{room_id}/tags",
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3useruseridroomsroomidtags",
    )
    async def tags(self, caller: Caller, user_id: UserId, room_id: RoomId) -> Json:
        check_own(caller, user_id, _NOT_YOURS)
        try:
            content = await self._account_data.get(user_id, room_id, TAGS)
        except NotFound:
            content = {}
        return {"tags": _tags_of(content)}

    @endpoint(
        "PUT",
        _USER[0] + "/rooms/{room_id}/tags/{tag}",
        _USER[1] + "/rooms/{room_id}/tags/{tag}",
        access=Access.USER,
        spec="client-server-api/#put_matrixclientv3useruseridroomsroomidtagstag",
        limit="account_data",
    )
    async def put_tag(self, caller: Caller, user_id: UserId, room_id: RoomId, tag: str, body: Json) -> Json:
        check_own(caller, user_id, _NOT_YOURS)
        if not 0 < len(tag.encode()) <= TAG_BYTES_MAX:
            raise InvalidParam(f"a tag must have 1 to {TAG_BYTES_MAX} bytes")
        order = body.get("order")
        if order is not None and (isinstance(order, bool) or not isinstance(order, int | float)):
            raise BadJson("order must be a number")

        def edit(content: dict[str, Any]) -> dict[str, Any]:
            tags = _tags_of(content) | {tag: body}
            if len(tags) > TAGS_MAX:
                raise LimitExceeded(f"a room may have {TAGS_MAX} tags", retry_after_ms=60_000)
            return {**content, "tags": tags}

        await self._account_data.change(user_id, room_id, TAGS, edit)
        return {}

    @endpoint(
        "DELETE",
        _USER[0] + "/rooms/{room_id}/tags/{tag}",
        _USER[1] + "/rooms/{room_id}/tags/{tag}",
        access=Access.USER,
        spec="client-server-api/#delete_matrixclientv3useruseridroomsroomidtagstag",
        limit="account_data",
    )
    async def delete_tag(self, caller: Caller, user_id: UserId, room_id: RoomId, tag: str) -> Json:
        check_own(caller, user_id, _NOT_YOURS)

        def edit(content: dict[str, Any]) -> dict[str, Any]:
            return {**content, "tags": {key: value for key, value in _tags_of(content).items() if key != tag}}

        await self._account_data.change(user_id, room_id, TAGS, edit)
        return {}


def _check_settable(kind: str) -> None:
    if kind in _ELSEWHERE:
        raise BadJson(f"{kind} is set by an endpoint of its own", status=405)


def _tags_of(content: dict[str, Any]) -> dict[str, Any]:
    tags = content.get("tags")
    return tags if isinstance(tags, dict) else {}
