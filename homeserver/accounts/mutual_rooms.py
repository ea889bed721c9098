"""The rooms that two users share. spec: client-server-api/#mutual-rooms"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import RoomId, UserId
from homeserver.storage import memberships
from homeserver.storage.database import Database

PAGE_MAX = 500
_TOKEN_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the shared rooms, how many there are in all, and where the next page begins."""

    room_ids: Sequence[RoomId]
    count: int
    next_token: str | None


class MutualRooms:
    """Answers which rooms a user shares with another."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, user_id: UserId, other: UserId, token: str | None) -> Page:
        """In the order in which this server came to know the rooms. Raises InvalidParam for oneself, a bad token."""
        if user_id == other:
            raise InvalidParam("user_id must be somebody else")
        after = 0
        if token is not None:
            if not (token.isascii() and token.isdecimal() and len(token) <= _TOKEN_DIGITS_MAX):
                raise InvalidParam("from is no token of this server")
            after = int(token)
        rooms, count = await memberships.mutual(self._db, user_id, other, after, PAGE_MAX + 1)
        shown = rooms[:PAGE_MAX]
        more = len(rooms) > PAGE_MAX
        return Page([room_id for _, room_id in shown], count, str(shown[-1][0]) if more else None)
