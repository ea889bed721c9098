"""The rooms that every new account finds itself in."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import UserId
from homeserver.rooms.commands.finding import RoomFinder
from homeserver.rooms.commands.membership import Membership
from homeserver.runtime.tasks import Tasks

log = structlog.get_logger()


class AutoJoin:
    """Lets new users join the rooms of `registration.auto_join_rooms`, once they have their answer."""

    def __init__(self, membership: Membership, finder: RoomFinder, tasks: Tasks, rooms: Sequence[str]) -> None:
        self._membership = membership
        self._finder = finder
        self._tasks = tasks
        self._rooms = tuple(rooms)

    def welcome(self, user_id: UserId) -> None:
        if self._rooms:
            self._tasks.start(self._join_all(user_id), name="auto_join")

    async def _join_all(self, user_id: UserId) -> None:
        for name in self._rooms:
            try:
                room_id, via = await self._finder.find(name, ())
                await self._membership.join(room_id, user_id, via=via)
            except MatrixError as error:
                # The account is made all the same; the operator sees which room doesn't take newcomers.
                log.warning("auto_join_failed", room=name, user_id=user_id, error=error.message)
