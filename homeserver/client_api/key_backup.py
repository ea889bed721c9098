"""Backups of room keys. spec: client-server-api/#server-side-key-backups"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from homeserver.core.errors import BadJson, NotFound
from homeserver.encryption.key_backups import KeyBackups, parse_session
from homeserver.storage.key_backups import SessionRow
from homeserver.web.endpoint import Access, Caller, Json, endpoint

_BASES = ("/_matrix/client/v3/room_keys", "/_matrix/client/r0/room_keys", "/_matrix/client/unstable/room_keys")
_SPEC = "client-server-api/#server-side-key-backups"
# A device uploads its keys by the hundred.
BODY_BYTES_MAX = 16 * 1024 * 1024


def _paths(tail: str) -> tuple[str, ...]:
    return tuple(base + tail for base in _BASES)


class CreateBody(msgspec.Struct, frozen=True):
    algorithm: str
    auth_data: dict[str, Any]


class VersionQuery(msgspec.Struct, frozen=True):
    version: str


class KeyBackupEndpoints:
    """/room_keys."""

    def __init__(self, backups: KeyBackups) -> None:
        self._backups = backups

    @endpoint("POST", *_paths("/version"), access=Access.USER, spec=_SPEC, limit="key_backup")
    async def create(self, caller: Caller, body: CreateBody) -> Json:
        return {"version": await self._backups.create(caller.user_id, body.algorithm, body.auth_data)}

    @endpoint("GET", *_paths("/version"), access=Access.USER, spec=_SPEC)
    async def newest(self, caller: Caller) -> Json:
        return await self._backups.info(caller.user_id, None)

    @endpoint("GET", *_paths("/version/{version}"), access=Access.USER, spec=_SPEC)
    async def info(self, caller: Caller, version: str) -> Json:
        return await self._backups.info(caller.user_id, version)

    @endpoint("PUT", *_paths("/version/{version}"), access=Access.USER, spec=_SPEC, limit="key_backup")
    async def update(self, caller: Caller, version: str, body: Json) -> Json:
        await self._backups.update(caller.user_id, version, body)
        return {}

    @endpoint("DELETE", *_paths("/version/{version}"), access=Access.USER, spec=_SPEC, limit="key_backup")
    async def delete(self, caller: Caller, version: str) -> Json:
        await self._backups.delete(caller.user_id, version)
        return {}

    @endpoint(
        "PUT", *_paths("/keys"), access=Access.USER, spec=_SPEC, limit="key_backup", body_bytes_max=BODY_BYTES_MAX
    )
    async def put_all(self, caller: Caller, query: VersionQuery, body: Json) -> Json:
        rows = await asyncio.to_thread(_of_rooms, body)
        return await self._backups.put(caller.user_id, query.version, rows)

    @endpoint(
        "PUT",
        *_paths("/keys/{room_id}"),
        access=Access.USER,
        spec=_SPEC,
        limit="key_backup",
        body_bytes_max=BODY_BYTES_MAX,
    )
    async def put_room(self, caller: Caller, room_id: str, query: VersionQuery, body: Json) -> Json:
        rows = await asyncio.to_thread(_sessions, room_id, body)
        return await self._backups.put(caller.user_id, query.version, rows)

    @endpoint("PUT", *_paths("/keys/{room_id}/{session_id}"), access=Access.USER, spec=_SPEC, limit="key_backup")
    async def put_one(self, caller: Caller, room_id: str, session_id: str, query: VersionQuery, body: Json) -> Json:
        return await self._backups.put(caller.user_id, query.version, [parse_session(room_id, session_id, body)])

    @endpoint("GET", *_paths("/keys"), access=Access.USER, spec=_SPEC)
    async def get_all(self, caller: Caller, query: VersionQuery) -> Json:
        found = await self._backups.keys(caller.user_id, query.version)
        return {"rooms": {room_id: {"sessions": sessions} for room_id, sessions in found.items()}}

    @endpoint("GET", *_paths("/keys/{room_id}"), access=Access.USER, spec=_SPEC)
    async def get_room(self, caller: Caller, room_id: str, query: VersionQuery) -> Json:
        found = await self._backups.keys(caller.user_id, query.version, room_id)
        return {"sessions": found.get(room_id, {})}

    @endpoint("GET", *_paths("/keys/{room_id}/{session_id}"), access=Access.USER, spec=_SPEC)
    async def get_one(self, caller: Caller, room_id: str, session_id: str, query: VersionQuery) -> Json:
        found = await self._backups.keys(caller.user_id, query.version, room_id, session_id)
        if session_id not in found.get(room_id, {}):
            raise NotFound("there is no such key")
        key: Json = found[room_id][session_id]
        return key

    @endpoint("DELETE", *_paths("/keys"), access=Access.USER, spec=_SPEC, limit="key_backup")
    async def delete_all(self, caller: Caller, query: VersionQuery) -> Json:
        return await self._backups.delete_keys(caller.user_id, query.version)

    @endpoint("DELETE", *_paths("/keys/{room_id}"), access=Access.USER, spec=_SPEC, limit="key_backup")
    async def delete_room(self, caller: Caller, room_id: str, query: VersionQuery) -> Json:
        return await self._backups.delete_keys(caller.user_id, query.version, room_id)

    @endpoint("DELETE", *_paths("/keys/{room_id}/{session_id}"), access=Access.USER, spec=_SPEC, limit="key_backup")
    async def delete_one(self, caller: Caller, room_id: str, session_id: str, query: VersionQuery) -> Json:
        return await self._backups.delete_keys(caller.user_id, query.version, room_id, session_id)


def _objects(body: Json, name: str) -> Json:
    value = body.get(name)
    if not isinstance(value, dict):
        raise BadJson(f"{name} must be an object")
    return value


def _of_rooms(body: Json) -> list[SessionRow]:
    rows: list[SessionRow] = []
    for room_id, room in _objects(body, "rooms").items():
        if not isinstance(room, dict):
            raise BadJson("rooms must hold objects")
        rows += _sessions(room_id, room)
    return rows


def _sessions(room_id: str, room: Json) -> list[SessionRow]:
    sessions = _objects(room, "sessions")
    return [parse_session(room_id, session_id, value) for session_id, value in sessions.items()]
