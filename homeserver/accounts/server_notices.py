"""What the server itself has to say to a user, in a room of their own. spec: client-server-api/#server-notices"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeserver.accounts.account_data import TAGS, AccountData
from homeserver.accounts.users import NewUser, Users
from homeserver.config.sign_in import ServerNotices as NoticesConfig
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, UserId, domain_of
from homeserver.rooms.commands.create import RoomCreation, RoomRequest
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.residents import Rooms
from homeserver.rooms.writer import Transaction
from homeserver.storage import server_notice_rooms
from homeserver.storage.database import Database

NOTICE_TAG = "m.server_notice"


@dataclass(frozen=True, slots=True)
class NoticeTools:
    """What notices are made with beside the accounts."""

    config: NoticesConfig
    rooms: Rooms
    creation: RoomCreation
    submission: Submission


class ServerNotices:
    """Finds or makes the user's room, invites them if they aren't there, and says it."""

    def __init__(self, db: Database, users: Users, account_data: AccountData, tools: NoticeTools) -> None:
        self._db = db
        self._users = users
        self._account_data = account_data
        self._tools = tools
        self.sender = users.user_id_of(tools.config.localpart)
        self._making = asyncio.Lock()

    async def send(
        self,
        user_id: UserId,
        content: Mapping[str, Any],
        *,
        type: str = "m.room.message",
        state_key: str | None = None,
        transaction: Transaction | None = None,
    ) -> Event:
        """Says it to a user of this server. The same transaction gives the same event.

        Raises NotFound, InvalidParam (not of this server), BadJson for content that no event may hold.
        """
        if domain_of(user_id) != self._users.server_name:
            raise InvalidParam("server notices go to users of this server")
        if (await self._users.get(user_id)).is_deactivated:
            raise NotFound("this account was deactivated")
        submission = self._tools.submission
        draft = submission.draft(type, self.sender, dict(content), state_key)
        async with self._making:
            room_id = await self._room(user_id)
        return await submission.send(room_id, draft, transaction)

    async def _room(self, user_id: UserId) -> RoomId:
        known = await server_notice_rooms.of_user(self._db, user_id)
        room = await self._tools.rooms.get(known) if known is not None else None
        if room is None or room.membership(self.sender) != "join":
            return await self._make(user_id)
        if room.membership(user_id) not in ("join", "invite"):
            invite = {"membership": "invite"}
            submission = self._tools.submission
            await submission.send(room.room_id, submission.draft("m.room.member", self.sender, invite, user_id))
            await self._tag(user_id, room.room_id)
        return room.room_id

    async def _make(self, user_id: UserId) -> RoomId:
        config = self._tools.config
        await self.make_account()
        request = RoomRequest(
            name=config.room_name,
            preset="private_chat",
            invite=[user_id],
            creation_content={"m.federate": False},
            power_level_content_override={"users_default": -10, "invite": 100},
        )
        room_id = await self._tools.creation.create(self.sender, request)
        async with self._db.transaction() as tx:
            await server_notice_rooms.set_room(tx, user_id, room_id)
        await self._tag(user_id, room_id)
        return room_id

    async def make_account(self) -> None:
        """The account that notices come from: nobody logs in as it."""
        if await self._users.existing([self.sender]):
            return
        new = NewUser(user_id=self.sender, display_name=self._tools.config.display_name, user_type="server_notices")
        async with self._db.transaction() as tx:
            await self._users.insert(tx, new)

    async def _tag(self, user_id: UserId, room_id: RoomId) -> None:
        def edit(content: dict[str, Any]) -> dict[str, Any]:
            tags = content.get("tags")
            return {**content, "tags": {**(tags if isinstance(tags, dict) else {}), NOTICE_TAG: {}}}

        await self._account_data.change(user_id, room_id, TAGS, edit)
