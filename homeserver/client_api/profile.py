"""Profiles. spec: client-server-api/#profiles"""

from __future__ import annotations

from homeserver.accounts.profile_access import ProfileAccess
from homeserver.accounts.profiles import Profiles
from homeserver.core.errors import BadJson, Forbidden, MissingParam, NotFound
from homeserver.core.identifiers import UserId
from homeserver.ports import Bridges
from homeserver.web.endpoint import Access, Caller, Json, check_own, endpoint

_NOT_YOURS = "this is not your profile"

_V3 = "/_matrix/client/v3/profile/{user_id}"
_R0 = "/_matrix/client/r0/profile/{user_id}"
_FIELD = "/{field}"
_UNSTABLE = "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}"


class ProfileEndpoints:
    """GET a profile or a field of it; PUT and DELETE one's own fields."""

    def __init__(self, profiles: Profiles, bridges: Bridges, access: ProfileAccess) -> None:
        self._profiles = profiles
        self._bridges = bridges
        self._access = access

    @endpoint(
        "GET",
        _V3,
        _R0,
        access=Access.OPTIONAL,
        spec="client-server-api/#get_matrixclientv3profileuserid",
        limit="directory",
    )
    async def get(self, caller: Caller | None, user_id: UserId) -> Json:
        return await self._of(caller, user_id)

    @endpoint(
        "GET",
        _V3 + _FIELD,
        _R0 + _FIELD,
        _UNSTABLE + _FIELD,
        access=Access.OPTIONAL,
        spec="client-server-api/#get_matrixclientv3profileuseridkeyname",
        limit="directory",
    )
    async def get_field(self, caller: Caller | None, user_id: UserId, field: str) -> Json:
        found = await self._of(caller, user_id)
        if field not in found:
            raise NotFound("this field isn't set")
        return {field: found[field]}

    async def _of(self, caller: Caller | None, user_id: UserId) -> Json:
        await self._access.check(caller, user_id)
        try:
            return await self._profiles.get(user_id)
        except NotFound:
            if not await self._bridges.find_user(user_id):
                raise
        return await self._profiles.get(user_id)

    @endpoint(
        "PUT",
        _V3 + _FIELD,
        _R0 + _FIELD,
        _UNSTABLE + _FIELD,
        access=Access.GUEST,
        spec="client-server-api/#put_matrixclientv3profileuseridkeyname",
        limit="profile",
        while_suspended=False,
    )
    async def put_field(self, caller: Caller, user_id: UserId, field: str, body: Json) -> Json:
        _check_may_change(caller, user_id, field)
        if field not in body:
            raise MissingParam(f"the field {field} is missing")
        if body[field] is None:
            if field not in ("displayname", "avatar_url"):
                raise BadJson(f"{field} must not be null: delete it instead")
            await self._profiles.delete(user_id, field)
        else:
            await self._profiles.set(user_id, field, body[field])
        return {}

    @endpoint(
        "DELETE",
        _V3 + _FIELD,
        _UNSTABLE + _FIELD,
        access=Access.GUEST,
        spec="client-server-api/#delete_matrixclientv3profileuseridkeyname",
        limit="profile",
        while_suspended=False,
    )
    async def delete_field(self, caller: Caller, user_id: UserId, field: str) -> Json:
        _check_may_change(caller, user_id, field)
        await self._profiles.delete(user_id, field)
        return {}


def _check_may_change(caller: Caller, user_id: UserId, field: str) -> None:
    check_own(caller, user_id, _NOT_YOURS)
    if caller.is_guest and field != "displayname":
        raise Forbidden("guests may only change their display name", errcode="M_GUEST_ACCESS_FORBIDDEN")
