"""Appeals from a room: a chat with the account that server notices come from, and `!appeal CODE WORDS` in it.

Only users of this server are heard, and the account comes only when one of them invites it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from admin.spam.reviewing import Reviewing
from homeserver.core.errors import InvalidParam, MatrixError
from homeserver.core.identifiers import RoomId, UserId
from homeserver.journal.journal import Entry
from homeserver.ports import Limits
from homeserver.rooms.building import Written
from homeserver.rooms.commands.membership import Membership
from homeserver.rooms.commands.submission import Submission
from homeserver.runtime.tasks import Tasks

log = structlog.get_logger()

COMMAND = "!appeal"
CODE_CHARS_MAX = 64
TEXT_CHARS_MAX = 2_000
HELP = f"""Was something that you did refused or taken back, and wrongly? Write
{COMMAND} CODE WORDS
CODE is the one that you were told with the refusal; in your words say why it was wrong. Somebody looks at it."""
UNREADABLE = "This room is encrypted, and I can't read what you write here. Invite me to a room that isn't."
THANKS = "Your appeal {code} is noted. Somebody looks at it; if it is granted, you are told."


@dataclass(frozen=True, slots=True, kw_only=True)
class AppealTools:
    """`me` is the account that answers, `make` sees to it that it exists."""

    me: UserId
    make: Callable[[], Awaitable[None]]
    submission: Submission
    membership: Membership
    limits: Limits


class AppealsInRooms:
    """`hear` is a journal listener."""

    def __init__(self, reviewing: Reviewing, tools: AppealTools, tasks: Tasks) -> None:
        self._reviewing = reviewing
        self._tools = tools
        self._tasks = tasks

    def hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            written = entry.payload
            if entry.kind == "event" and isinstance(written, Written):
                self._look(written)

    def _look(self, written: Written) -> None:
        event, room, me = written.event, written.room, self._tools.me
        if event.type == "m.room.message" and event.sender != me and room.membership(me) == "join":
            body = event.content.get("body")
            if isinstance(body, str) and body.split(maxsplit=1)[:1] == [COMMAND] and self._is_local(event.sender):
                self._tasks.start(self._obey(room.room_id, event.sender, body), name="appeal")
        elif event.type == "m.room.member" and event.state_key == me and event.membership == "invite":
            is_encrypted = room.known_state("m.room.encryption") is not None
            self._enter_if_called(room.room_id, event.sender, is_encrypted)

    def _enter_if_called(self, room_id: RoomId, by: UserId, is_encrypted: bool) -> None:
        if self._is_local(by):
            self._tasks.start(self._enter(room_id, by, is_encrypted), name="appeal_invite")

    def _is_local(self, user_id: UserId) -> bool:
        return self._tools.submission.is_local(user_id)

    async def _enter(self, room_id: RoomId, by: UserId, is_encrypted: bool) -> None:
        try:
            self._tools.limits.check("report", by)
            await self._tools.make()
            await self._tools.membership.join(room_id, self._tools.me)
            await self._say(room_id, UNREADABLE if is_encrypted else HELP)
        except MatrixError as error:
            log.info("appeal_room_not_entered", error=error.code)

    async def _obey(self, room_id: RoomId, sender: UserId, body: str) -> None:
        try:
            self._tools.limits.check("report", sender)
            answer = await self._answer(sender, body)
        except MatrixError as error:
            answer = str(error)
        try:
            await self._say(room_id, answer)
        except MatrixError as error:  # they put us out, or let us say nothing
            log.info("appeal_not_answered", error=error.code)

    async def _answer(self, sender: UserId, body: str) -> str:
        _, *words = body.split(maxsplit=2)
        if len(words) < 2:
            return HELP
        code, text = words
        if len(code) > CODE_CHARS_MAX or len(text) > TEXT_CHARS_MAX:
            raise InvalidParam(f"an appeal may have {TEXT_CHARS_MAX:,} characters")
        await self._reviewing.appeal(code, text, by=sender)
        return THANKS.format(code=code)

    async def _say(self, room_id: RoomId, words: str) -> None:
        content = {"msgtype": "m.notice", "body": words, "m.mentions": {}}
        submission = self._tools.submission
        await submission.send(room_id, submission.draft("m.room.message", self._tools.me, content))
