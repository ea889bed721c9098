"""The policy chain: every event that a user of ours sends passes it on the way to the room writer."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from homeserver.core import canonical_json
from homeserver.core.errors import Forbidden
from homeserver.core.events import Draft
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of
from homeserver.core.invite_permission import KINDS, InvitePermissions, InviteVerdict
from homeserver.core.known_content import check_content, check_picture
from homeserver.ports import AbuseCheck, PolicyCheck
from homeserver.storage import account_data, blocked_rooms, server_notice_rooms
from homeserver.storage.database import Database, Reader


class Shadowed(Forbidden):
    """The sender is to believe that it was sent; where that can't be done, it is refused."""


class CaptchaNeeded(Forbidden):
    """Whoever registers has to solve a captcha first; where none can be shown, they are refused."""


class PolicyChain:
    """Asks each check in turn; the first that refuses decides."""

    abuse: AbuseCheck | None = None

    def __init__(self, checks: Sequence[PolicyCheck] = ()) -> None:
        self._checks = tuple(checks)

    async def check(
        self,
        hook: str,
        sender: str,
        *,
        content: Mapping[str, Any] | None = None,
        address: str = "",
        size: int = 0,
        hash: str = "",
    ) -> None:
        """Of what accounts do outside of rooms, too. Implements ports.AbuseCheck: raises MatrixError for a refusal."""
        if self.abuse is not None:
            await self.abuse.check(hook, sender, content=content, address=address, size=size, hash=hash)

    def add(self, check: PolicyCheck) -> None:
        """Asked after those that are there."""
        self._checks = (*self._checks, check)

    async def judge(self, room_id: RoomId | None, draft: Draft) -> Draft:
        """The draft as it may go on. Raises MatrixError with the reason for a refusal.

        A check may alter what an event says, never who says it or what kind it is.
        """
        for check in self._checks:
            altered = await check.judge(room_id, draft)
            if altered is not draft:
                draft = replace(draft, content=altered.content)
        return draft

    async def judge_all(self, room_id: RoomId | None, drafts: Sequence[Draft]) -> list[Draft]:
        return [await self.judge(room_id, draft) for draft in drafts]


class InvitePermission:
    """Refuses invites to users of ours who don't want them. spec: client-server-api/#invite-permission"""

    def __init__(self, db: Database, server_name: ServerName, *, exempt: frozenset[UserId] = frozenset()) -> None:
        self._db = db
        self._server_name = server_name
        self._exempt = exempt

    async def judge(self, room_id: RoomId | None, draft: Draft) -> Draft:
        invited = draft.state_key
        if draft.type != "m.room.member" or draft.content.get("membership") != "invite" or invited is None:
            return draft
        if draft.sender in self._exempt:
            return draft
        if domain_of(invited) == self._server_name:
            permissions = await invite_permissions(self._db, UserId(invited))
            # One that is ignored goes in as any other: whoever sends it must not learn of it.
            if permissions.verdict(draft.sender) is InviteVerdict.BLOCK:
                raise Forbidden("this user takes no invites of yours", errcode="M_INVITE_BLOCKED")
        return draft


async def invite_permissions(db: Reader, user_id: UserId) -> InvitePermissions:
    """A user's wishes, as the account data says now. What of it can't be read counts as not there."""
    contents = {}
    for kind, kept in (await account_data.some(db, user_id, KINDS)).items():
        with contextlib.suppress(ValueError):
            content = canonical_json.decode(kept)
            if isinstance(content, dict):
                contents[kind] = content
    return InvitePermissions(contents)


class RoomsBlocked:
    """Refuses to bring anybody into a room that an operator has blocked, from here or from elsewhere.

    In memory: every join, invite and knock asks.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._blocked: set[RoomId] = set()

    async def load(self) -> None:
        self._blocked = await blocked_rooms.all_of_them(self._db)

    def changed(self, room_id: RoomId, is_blocked: bool) -> None:
        """From now on. Whoever writes the table calls it, once that is durable."""
        if is_blocked:
            self._blocked.add(room_id)
        else:
            self._blocked.discard(room_id)

    async def judge(self, room_id: RoomId | None, draft: Draft) -> Draft:
        if draft.type != "m.room.member" or room_id is None:
            return draft
        if draft.content.get("membership") not in ("join", "invite", "knock"):
            return draft
        if room_id in self._blocked:
            raise Forbidden("This room has been blocked on this server")
        return draft


class PicturesAreFiles:
    """Refuses pictures of rooms and members whose URIs make clients ask for something else than a file."""

    async def judge(self, room_id: RoomId | None, draft: Draft) -> Draft:
        check_picture(draft.type, draft.content)
        return draft


class KnownContent:
    """Refuses content that events of known types can't have, and that some clients break on."""

    async def judge(self, room_id: RoomId | None, draft: Draft) -> Draft:
        check_content(draft.type, draft.content)
        return draft


class NoticeRoomsStay:
    """Refuses to decline the server's own invite. spec: client-server-api/#server-notices"""

    def __init__(self, db: Database, rooms: Memberships) -> None:
        self._db = db
        self._rooms = rooms

    async def judge(self, room_id: RoomId | None, draft: Draft) -> Draft:
        if draft.type != "m.room.member" or draft.content.get("membership") != "leave" or room_id is None:
            return draft
        user_id = UserId(draft.sender)
        if draft.state_key != user_id or await self._rooms.membership(room_id, user_id) != "invite":
            return draft
        if await server_notice_rooms.is_of(self._db, room_id, user_id):
            raise Forbidden("this room is where the server talks to you", errcode="M_CANNOT_LEAVE_SERVER_NOTICE_ROOM")
        return draft


class Memberships(Protocol):
    """Implemented by rooms.residents."""

    async def membership(self, room_id: RoomId, user_id: UserId) -> str | None: ...
