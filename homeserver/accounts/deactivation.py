"""The end of an account: sessions, rooms, profile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from homeserver.accounts.sessions import Sessions
from homeserver.accounts.users import Users
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import RoomId, UserId
from homeserver.journal.journal import JournalWrite
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.residents import Rooms
from homeserver.storage import memberships
from homeserver.storage.database import Also, Database

_AT_ONCE = 20
_HELD = ("join", "invite", "knock")


class Deactivation:
    """Deactivates accounts, for good."""

    def __init__(self, db: Database, users: Users, sessions: Sessions, rooms: Rooms, submission: Submission) -> None:
        self._db = db
        self._users = users
        self._sessions = sessions
        self._rooms = rooms
        self._submission = submission
        # What else ends with an account. Each says whether all of it could be ended everywhere.
        self.endings: list[Callable[[UserId], Awaitable[bool]]] = []

    async def deactivate(self, user_id: UserId, *, erase: bool, also: Also | None = None) -> bool:
        """Ends log-in first, then leaves every room and declines every invite. Raises NotFound.

        Whether everything that other servers keep of it was ended there too.
        """
        await self._users.get(user_id)

        async def end(write: JournalWrite, user_id: UserId) -> None:
            await self._sessions.end_account_in(write, user_id)
            if also is not None:
                await also(write.tx)

        await self._users.deactivate(user_id, erase=erase, also=end)
        self._sessions.account_changed(user_id)
        ended = [await ending(user_id) for ending in self.endings]
        await self._leave_all(user_id)
        return all(ended)

    async def resume(self) -> None:
        """Finishes what a crash, or a database that was away, has left: goes at every start."""
        for user_id in await memberships.of_deactivated(self._db):
            await self._leave_all(user_id)

    async def _leave_all(self, user_id: UserId) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)
        held = [room.room_id for room in await self._rooms.rooms_of(user_id) if room.membership in _HELD]
        await asyncio.gather(*(self._leave(room_id, user_id, gate) for room_id in held))

    async def _leave(self, room_id: RoomId, user_id: UserId, gate: asyncio.Semaphore) -> None:
        async with gate:
            draft = self._submission.draft("m.room.member", user_id, {"membership": "leave"}, user_id)
            try:
                await self._submission.send(room_id, draft)
            except MatrixError:
                return  # already out, by a ban for example
