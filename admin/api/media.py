"""Media, as `/_synapse/admin/v1/media` and its neighbours have it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from admin.actions.media import MediaActions
from admin.actions.room_tools import check_room_id
from admin.api.media_shapes import as_json, deleted
from homeserver.core.errors import InvalidParam, MatrixError
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_V1 = "/_synapse/admin/v1"
# Timestamps below were meant to be milliseconds and are seconds.
_EARLY = 30_000_000_000
_PAGE_MAX = 1_000

Time = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class OldQuery(msgspec.Struct, frozen=True):
    before_ts: Time
    size_gt: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    keep_profiles: bool = True


class CacheQuery(msgspec.Struct, frozen=True):
    before_ts: Time


class ChangesQuery(msgspec.Struct, frozen=True):
    from_: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = msgspec.field(default=0, name="from")
    limit: Annotated[int, msgspec.Meta(ge=1, le=_PAGE_MAX)] = 100


class MediaEndpoints:
    """One file at a time, and files by age."""

    def __init__(self, media: MediaActions) -> None:
        self._media = media

    @endpoint(
        "GET",
        _V1 + "/media/{server_name}/{media_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_MEDIA,
    )
    async def info(self, server_name: str, media_id: str) -> Json:
        return {"media_info": as_json(await self._media.info(server_name, media_id))}

    @endpoint(
        "DELETE",
        _V1 + "/media/{server_name}/{media_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.DELETE_MEDIA,
    )
    async def delete(self, operator: Operator, server_name: str, media_id: str) -> Json:
        return deleted(await self._media.delete(server_name, media_id, by=operator))

    @endpoint(
        "POST", _V1 + "/media/delete", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.DELETE_MEDIA
    )
    async def delete_old(self, operator: Operator, query: OldQuery) -> Json:
        _check_time(query.before_ts)
        found = await self._media.delete_old(
            query.before_ts, query.size_gt, keep_profiles=query.keep_profiles, by=operator
        )
        return deleted(found)

    @endpoint(
        "POST",
        _V1 + "/media/{server_name}/delete",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.DELETE_MEDIA,
    )
    async def delete_old_of(self, operator: Operator, server_name: str, query: OldQuery) -> Json:
        """An older spelling of the same."""
        if server_name != self._media.server_name:
            raise MatrixError("Can only delete local media")
        return await self.delete_old(operator, query)

    @endpoint(
        "POST",
        _V1 + "/purge_media_cache",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.DELETE_MEDIA,
    )
    async def purge_cache(self, operator: Operator, query: CacheQuery) -> Json:
        _check_time(query.before_ts)
        return {"deleted": await self._media.purge_remote(query.before_ts, by=operator)}


class QuarantineEndpoints:
    """What is barred, by file, by room."""

    def __init__(self, media: MediaActions) -> None:
        self._media = media

    @endpoint(
        "POST",
        _V1 + "/media/quarantine/{server_name}/{media_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.MODERATE_MEDIA,
    )
    async def quarantine(self, operator: Operator, server_name: str, media_id: str) -> Json:
        target = f"mxc://{server_name}/{media_id}"
        await self._media.quarantine([(server_name, media_id)], by=operator, target=target)
        return {}

    @endpoint(
        "POST",
        _V1 + "/media/unquarantine/{server_name}/{media_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.MODERATE_MEDIA,
    )
    async def unquarantine(self, operator: Operator, server_name: str, media_id: str) -> Json:
        target = f"mxc://{server_name}/{media_id}"
        await self._media.release([(server_name, media_id)], by=operator, target=target)
        return {}

    @endpoint(
        "POST",
        _V1 + "/media/protect/{media_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.MODERATE_MEDIA,
    )
    async def protect(self, operator: Operator, media_id: str) -> Json:
        await self._media.set_protected(media_id, True, by=operator)
        return {}

    @endpoint(
        "POST",
        _V1 + "/media/unprotect/{media_id}",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.MODERATE_MEDIA,
    )
    async def unprotect(self, operator: Operator, media_id: str) -> Json:
        await self._media.set_protected(media_id, False, by=operator)
        return {}

    @endpoint(
        "GET",
        _V1 + "/media/quarantine_changes",
        access=Access.ADMIN,
        reach=Reach.SERVER,
        spec="",
        needs=Permission.READ_MEDIA,
    )
    async def changes(self, query: ChangesQuery) -> Json:
        found = await self._media.changes(query.from_, query.limit)
        return {
            "changes": [
                {"origin": one.origin, "media_id": one.media_id, "quarantined": one.is_quarantined} for one in found
            ],
            # Always there: who follows the changes asks from it again.
            "next_batch": found[-1].change_nid if found else query.from_,
        }

    @endpoint(
        "GET",
        _V1 + "/room/{room_id}/media",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.READ_MEDIA,
    )
    async def of_room(self, room_id: str) -> Json:
        answer: Json = {"local": [], "remote": []}
        for origin, media_id in await self._media.of_room(check_room_id(room_id)):
            kind = "local" if origin == self._media.server_name else "remote"
            answer[kind].append(f"mxc://{origin}/{media_id}")
        return answer

    @endpoint(
        "POST",
        _V1 + "/room/{room_id}/media/quarantine",
        _V1 + "/quarantine_media/{room_id}",
        access=Access.ADMIN,
        reach=Reach.ROOM,
        spec="",
        needs=Permission.MODERATE_MEDIA,
    )
    async def quarantine_room(self, operator: Operator, room_id: str) -> Json:
        return {"num_quarantined": await self._media.quarantine_room(check_room_id(room_id), by=operator)}


def _check_time(before_ts: int) -> None:
    if before_ts < _EARLY:
        raise InvalidParam(
            "Query parameter before_ts you provided is from the year 1970. Double check that you are providing a "
            "timestamp in milliseconds."
        )
