"""Backups of room keys, which only the user's devices can read. spec: client-server-api/#server-side-key-backups"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from homeserver.core import canonical_json
from homeserver.core.errors import BadJson, InvalidParam, LimitExceeded, MatrixError, NotFound, TooLarge
from homeserver.core.identifiers import UserId
from homeserver.storage import key_backups
from homeserver.storage.database import Database, Reader
from homeserver.storage.key_backups import BackupRow, SessionRow

AUTH_DATA_BYTES_MAX = 65_536
SESSION_BYTES_MAX = 65_536
SESSIONS_PER_REQUEST_MAX = 20_000
SESSIONS_MAX = 1_000_000
BACKUPS_MAX = 100
ID_BYTES_MAX = 255
ALGORITHM_BYTES_MAX = 255


class WrongVersion(MatrixError):
    errcode, status = "M_WRONG_ROOM_KEYS_VERSION", 403


class KeyBackups:
    """Keeps versions of backups; keys go into the newest one only."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, user_id: UserId, algorithm: str, auth_data: Mapping[str, Any]) -> str:
        if not 0 < len(algorithm.encode()) <= ALGORITHM_BYTES_MAX or "\x00" in algorithm:
            raise InvalidParam(f"algorithm must have 1 to {ALGORITHM_BYTES_MAX} bytes")
        data = _encode(auth_data, AUTH_DATA_BYTES_MAX)
        async with self._db.transaction() as tx:
            await key_backups.lock(tx, user_id)
            if await key_backups.live_versions(tx, user_id) >= BACKUPS_MAX:
                raise LimitExceeded(f"a user may have {BACKUPS_MAX} backups: delete old ones", retry_after_ms=60_000)
            return str(await key_backups.create(tx, user_id, algorithm, data))

    async def info(self, user_id: UserId, version: str | None) -> dict[str, Any]:
        """Raises NotFound."""
        row = await _backup(self._db, user_id, version)
        return {
            "algorithm": row.algorithm,
            "auth_data": canonical_json.decode(row.auth_data),
            "count": row.count,
            "etag": str(row.etag),
            "version": str(row.version),
        }

    async def update(self, user_id: UserId, version: str, body: Mapping[str, Any]) -> None:
        """Replaces `auth_data`; the algorithm stays. Raises NotFound, InvalidParam."""
        row = await _backup(self._db, user_id, version)
        if body.get("algorithm") != row.algorithm:
            raise InvalidParam("the algorithm of a backup can't be changed")
        if "version" in body and body["version"] != version:
            raise InvalidParam("version in the body must be that in the path")
        auth_data = body.get("auth_data")
        if not isinstance(auth_data, dict):
            raise BadJson("auth_data must be an object")
        async with self._db.transaction() as tx:
            await key_backups.set_auth_data(tx, user_id, row.version, _encode(auth_data, AUTH_DATA_BYTES_MAX))

    async def delete(self, user_id: UserId, version: str) -> None:
        row = await _backup(self._db, user_id, version)
        async with self._db.transaction() as tx:
            await key_backups.delete(tx, user_id, row.version)

    async def put(self, user_id: UserId, version: str, rows: Sequence[SessionRow]) -> dict[str, Any]:
        """Adds keys where they are better than what is there. Raises WrongVersion for any but the newest backup."""
        if len(rows) > SESSIONS_PER_REQUEST_MAX:
            raise InvalidParam(f"at most {SESSIONS_PER_REQUEST_MAX} keys can be uploaded at once")
        async with self._db.transaction() as tx:
            current = await key_backups.locked_version(tx, user_id)
            if current is None:
                raise NotFound("there is no backup")
            if str(current) != version:
                await _backup(tx, user_id, version)
                raise WrongVersion("only the newest backup takes keys", extra={"current_version": str(current)})
            if rows:
                await key_backups.put(tx, user_id, current, rows)
            row = await key_backups.get(tx, user_id, current)
            assert row is not None  # it is locked
            if rows and row.count > SESSIONS_MAX:
                raise LimitExceeded(f"a backup may hold {SESSIONS_MAX} keys", retry_after_ms=60_000)
        return {"count": row.count, "etag": str(row.etag)}

    async def keys(
        self, user_id: UserId, version: str, room_id: str | None = None, session_id: str | None = None
    ) -> dict[str, dict[str, Any]]:
        """room → session → key, to be written as JSON as it is. Put together in a thread."""
        row = await _backup(self._db, user_id, version)
        sessions = await key_backups.sessions(self._db, user_id, row.version, room_id, session_id)
        return await asyncio.to_thread(_by_room, sessions)

    async def delete_keys(
        self, user_id: UserId, version: str, room_id: str | None = None, session_id: str | None = None
    ) -> dict[str, Any]:
        row = await _backup(self._db, user_id, version)
        async with self._db.transaction() as tx:
            await key_backups.delete_sessions(tx, user_id, row.version, room_id, session_id)
        return await self._state(user_id, version)

    async def _state(self, user_id: UserId, version: str) -> dict[str, Any]:
        row = await _backup(self._db, user_id, version)
        return {"count": row.count, "etag": str(row.etag)}


def _by_room(sessions: Sequence[SessionRow]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for session in sessions:
        found.setdefault(session.room_id, {})[session.session_id] = {
            "first_message_index": session.first_message_index,
            "forwarded_count": session.forwarded_count,
            "is_verified": session.is_verified,
            "session_data": orjson.Fragment(session.data),
        }
    return found


async def _backup(db: Reader, user_id: UserId, version: str | None) -> BackupRow:
    row = None
    if version is None or (version.isascii() and version.isdigit() and len(version) < 18):
        row = await key_backups.get(db, user_id, int(version) if version is not None else None)
    if row is None:
        raise NotFound("there is no such backup")
    return row


def parse_session(room_id: str, session_id: str, value: Any) -> SessionRow:
    """A key as clients upload it. Raises BadJson, InvalidParam, TooLarge."""
    for name in (room_id, session_id):
        if not 0 < len(name.encode()) <= ID_BYTES_MAX or "\x00" in name:
            raise InvalidParam(f"room and session ids must have 1 to {ID_BYTES_MAX} bytes")
    if not isinstance(value, dict) or not isinstance(value.get("session_data"), dict):
        raise BadJson("a key must be an object with session_data")
    first, forwarded, verified = (value.get(key) for key in ("first_message_index", "forwarded_count", "is_verified"))
    if type(first) is not int or type(forwarded) is not int or type(verified) is not bool:
        raise BadJson("first_message_index and forwarded_count must be integers, is_verified a boolean")
    if not 0 <= first <= canonical_json.INT_MAX or not 0 <= forwarded <= canonical_json.INT_MAX:
        raise InvalidParam("first_message_index and forwarded_count must not be negative")
    data = _encode(value["session_data"], SESSION_BYTES_MAX)
    return SessionRow(room_id, session_id, first, forwarded, verified, data)


def _encode(value: Mapping[str, Any], most: int) -> bytes:
    data = canonical_json.encode(value)
    if len(data) > most:
        raise TooLarge(f"at most {most} bytes")
    return data
