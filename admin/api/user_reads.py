"""What is known of a user: connections, rooms, pushers, account data, counts."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import orjson

from admin.actions.targets import AccountTools
from admin.storage import accounts
from homeserver.accounts.moderation import AccountModeration
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import UserId
from homeserver.core.operators import Permission
from homeserver.storage import account_data, memberships, pushers
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_V1 = "/_synapse/admin/v1"
_USER = _V1 + "/users/{user_id}"
_LOCAL = "Can only look up local users"
# Every change that a user's account data ever had stands below this.
_EVER = 2**63 - 1


class SinceQuery(msgspec.Struct, frozen=True):
    from_ts: Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class UserReadEndpoints:
    """Nothing here changes anything."""

    def __init__(self, tools: AccountTools, moderation: AccountModeration) -> None:
        self._tools = tools
        self._moderation = moderation

    @endpoint(
        "GET", _V1 + "/whois/{user_id}", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_USERS
    )
    async def whois(self, user_id: UserId) -> Json:
        self._tools.check_local(user_id, "Can only whois a local user")
        return {"user_id": user_id, "devices": await self._moderation.whois(user_id)}

    @endpoint(
        "GET", _USER + "/joined_rooms", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_USERS
    )
    async def joined_rooms(self, operator: Operator, user_id: UserId) -> Json:
        """Also of another server's user, as far as rooms are known here."""
        rooms = await memberships.of_user(self._tools.db, user_id)
        found = sorted(room.room_id for room in rooms if room.membership == "join" and operator.has_room(room.room_id))
        return {"joined_rooms": found, "total": len(found)}

    @endpoint(
        "GET", _USER + "/memberships", access=Access.ADMIN, reach=Reach.WITHIN, spec="", needs=Permission.READ_USERS
    )
    async def memberships(self, operator: Operator, user_id: UserId) -> Json:
        self._tools.check_local(user_id, _LOCAL)
        rooms = await memberships.of_user(self._tools.db, user_id)
        return {"memberships": {room.room_id: room.membership for room in rooms if operator.has_room(room.room_id)}}

    @endpoint("GET", _USER + "/pushers", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_USERS)
    async def pushers(self, user_id: UserId) -> Json:
        await self._tools.account(user_id, _LOCAL)
        found = [
            {**orjson.loads(row.description), "app_id": row.app_id, "pushkey": row.pushkey}
            for row in await pushers.of_user(self._tools.db, user_id)
        ]
        return {"pushers": found, "total": len(found)}

    @endpoint(
        "GET", _USER + "/accountdata", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_CONTENT
    )
    async def account_data(self, user_id: UserId) -> Json:
        await self._tools.account(user_id, _LOCAL)
        found: dict[str, Any] = {"global": {}, "rooms": {}}
        for row in await account_data.changes(self._tools.db, user_id, -1, _EVER):
            into = found["rooms"].setdefault(row.room_id, {}) if row.room_id else found["global"]
            into[row.type] = orjson.loads(row.content)
        return {"account_data": found}

    @endpoint(
        "GET",
        _USER + "/sent_invite_count",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_USERS,
    )
    async def invites_sent(self, user_id: UserId, query: SinceQuery) -> Json:
        return {"invite_count": await accounts.invites_sent(self._tools.db, user_id, query.from_ts)}

    @endpoint(
        "GET",
        _USER + "/cumulative_joined_room_count",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_USERS,
    )
    async def rooms_joined(self, user_id: UserId, query: SinceQuery) -> Json:
        count = await accounts.rooms_joined(self._tools.db, user_id, query.from_ts)
        return {"cumulative_joined_room_count": count}

    @endpoint(
        "POST",
        _V1 + "/account_validity/validity",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.CHANGE_USERS,
    )
    async def validity(self, body: Json) -> Json:
        """Accounts here have no end date, so none can be put off."""
        raise MatrixError("accounts of this server don't expire")
