"""Profiles: fields that users set, carried into the rooms that they are in. spec: client-server-api/#profiles"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from homeserver.core import canonical_json
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.core.identifiers import RoomId, UserId, is_mxc
from homeserver.journal.journal import Journal, JournalWrite
from homeserver.ports import AbuseCheck, RemoteProfiles
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.residents import Rooms
from homeserver.runtime.tasks import Tasks
from homeserver.storage import profiles, users
from homeserver.storage.database import Also, Database

PROFILE_BYTES_MAX = 65_536
KEY_BYTES_MAX = 255
NAME_CHARS_MAX = 256
AVATAR_CHARS_MAX = 1_000
# A change is carried into so many rooms before it is answered; into the rest afterwards.
ROOMS_BEFORE_ANSWER = 50
_AT_ONCE = 20

SHOWN_IN_ROOMS = ("displayname", "avatar_url")
_KEY = re.compile(r"[a-z][a-z0-9_.-]*", re.ASCII)


class Profiles:
    """Reads and writes profiles."""

    abuse: AbuseCheck | None = None

    # Where other servers' users are asked for; nobody's, on a server that talks with none.
    elsewhere: RemoteProfiles | None = None

    def __init__(self, db: Database, journal: Journal, rooms: Rooms, submission: Submission, tasks: Tasks) -> None:
        self._db = db
        self._journal = journal
        self._rooms = rooms
        self._submission = submission
        self._tasks = tasks

    async def get(self, user_id: UserId) -> dict[str, Any]:
        """All fields. Raises NotFound for somebody without an account here."""
        if not self._submission.is_local(user_id) and self.elsewhere is not None:
            return await self.elsewhere.profile(user_id)
        found = await profiles.of_user(self._db, user_id)
        if not found and await users.by_id(self._db, user_id) is None:
            raise NotFound("there is no such user")
        return {field: canonical_json.decode(value) for field, value in found.items()}

    async def field(self, user_id: UserId, field: str) -> Any:
        """One field's value. Raises NotFound where it isn't set."""
        found = await self.get(user_id)
        if field not in found:
            raise NotFound("this field isn't set")
        return found[field]

    async def member_fields(self, user_ids: Collection[UserId]) -> dict[UserId, dict[str, str]]:
        """What goes into these users' member events: displayname and avatar_url where set. One query."""
        found = await profiles.fields_of(self._db, user_ids, SHOWN_IN_ROOMS)
        return {
            user_id: {field: canonical_json.decode(value) for field, value in found.get(user_id, {}).items()}
            for user_id in user_ids
        }

    async def set(self, user_id: UserId, field: str, value: Any, also: Also | None = None) -> None:
        """Sets a field, and carries a name or picture into the user's rooms. Raises MatrixError."""
        _check_field(field, value)
        if self.abuse is not None:
            await self.abuse.check("profile", user_id, content={field: value})
        data = orjson.dumps(value)
        async with self._journal.write() as write:
            # One change after the other: two at once would pass the limit together.
            await profiles.lock(write.tx, user_id)
            known = await profiles.of_user(write.tx, user_id)
            size = sum(len(key) + len(kept) for key, kept in {**known, field: data}.items())
            if size > PROFILE_BYTES_MAX:
                raise MatrixError(f"a profile may have {PROFILE_BYTES_MAX} bytes", errcode="M_PROFILE_TOO_LARGE")
            await profiles.upsert(write.tx, user_id, field, data)
            await self._tell(write, user_id, field)
            if also is not None:
                await also(write.tx)
        if field in SHOWN_IN_ROOMS and known.get(field) != data:
            await self._carry(user_id, {field: value})

    async def delete(self, user_id: UserId, field: str, also: Also | None = None) -> None:
        async with self._journal.write() as write:
            await profiles.delete(write.tx, user_id, field)
            await self._tell(write, user_id, field)
            if also is not None:
                await also(write.tx)
        if field in SHOWN_IN_ROOMS:
            await self._carry(user_id, {field: None})

    async def _tell(self, write: JournalWrite, user_id: UserId, field: str) -> None:
        """Lets those who keep copies of names and pictures hear of a change."""
        if field in SHOWN_IN_ROOMS:
            await profiles.mark_changed(write.tx, user_id, write.position)
            write.publish("profile", payload=user_id)

    async def _carry(self, user_id: UserId, change: Mapping[str, str | None]) -> None:
        """Brings the change into every room that the user is joined to, a few rooms at once."""
        room_ids = sorted(await self._rooms.joined_rooms(user_id))
        await self._carry_into(room_ids[:ROOMS_BEFORE_ANSWER], user_id, change)
        if room_ids[ROOMS_BEFORE_ANSWER:]:
            rest = self._carry_into(room_ids[ROOMS_BEFORE_ANSWER:], user_id, change)
            self._tasks.start(rest, name="profile_change")

    async def _carry_into(self, room_ids: list[RoomId], user_id: UserId, change: Mapping[str, str | None]) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(room_id: RoomId) -> None:
            async with gate:
                member = await self._rooms.state_event(room_id, "m.room.member", user_id)
                if member is None or member.membership != "join":
                    return
                content = {key: value for key, value in {**member.content, **change}.items() if value is not None}
                content.pop("join_authorised_via_users_server", None)
                try:
                    draft = self._submission.draft("m.room.member", user_id, content, user_id)
                    await self._submission.send(room_id, draft)
                except MatrixError:
                    return  # the room refuses it (a restricted one, say): the profile changes all the same

        await asyncio.gather(*(one(room_id) for room_id in room_ids))


def _check_field(field: str, value: Any) -> None:
    if len(field.encode()) > KEY_BYTES_MAX:
        raise MatrixError(f"a field's name may have {KEY_BYTES_MAX} bytes", errcode="M_KEY_TOO_LARGE")
    if _KEY.fullmatch(field) is None:
        raise InvalidParam("a field's name consists of a-z, 0-9, _ - and dots")
    canonical_json.check_values(value)
    if field in ("displayname", "avatar_url") and isinstance(value, str) and "\x00" in value:
        raise InvalidParam(f"{field} must not hold NUL")
    if field == "displayname" and not (isinstance(value, str) and len(value) <= NAME_CHARS_MAX):
        raise InvalidParam(f"displayname must be a string of at most {NAME_CHARS_MAX} characters")
    if field == "avatar_url":
        if not isinstance(value, str) or len(value) > AVATAR_CHARS_MAX:
            raise InvalidParam("avatar_url must be a string")
        if value and not is_mxc(value):
            raise InvalidParam("avatar_url must look like mxc://server/media-id")
