"""Webhooks from inside a room: commands to the account that speaks for them, and reactions that acknowledge an alert.

Only users of this server command, and only where they may manage webhooks; secrets are told to them alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from homeserver.core.errors import InvalidParam, MatrixError
from homeserver.core.identifiers import RoomId, UserId
from homeserver.journal.journal import Entry
from homeserver.ports import Limits
from homeserver.rooms.building import Written
from homeserver.rooms.commands.membership import Membership
from homeserver.rooms.commands.submission import Submission
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from homeserver.webhooks.hearing import Hearing
from homeserver.webhooks.registry import NAME_CHARS_MAX, Webhooks, Wish, path_of
from homeserver.webhooks.sources import Source

COMMAND = "!hook"
_ACKNOWLEDGING = frozenset({"👀", "✅", "👍", "ack"})
_HELP = f"""{COMMAND} list
{COMMAND} add SOURCE NAME: lets {", ".join(one.value for one in Source)} speak here; you are told the address
{COMMAND} out URL [TYPE …]: tells that address what happens here; you are told the secret it is signed with
{COMMAND} resume ID: goes on telling an address that was given up
{COMMAND} remove ID
React with 👀 to an alert to say that you look after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomTools:
    """`tell` says something to one user in a room of their own; `base_url` is the server's public address."""

    submission: Submission
    membership: Membership
    limits: Limits
    tell: Callable[[UserId, str], Awaitable[None]]
    base_url: str


class InRooms:
    """`hear` is a journal listener."""

    def __init__(self, registry: Webhooks, hearing: Hearing, tools: RoomTools, tasks: Tasks, clock: Clock) -> None:
        self._registry = registry
        self._hearing = hearing
        self._tools = tools
        self._tasks = tasks
        self._clock = clock
        self._me = registry.speaker.user_id

    def hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            written = entry.payload
            if entry.kind == "event" and isinstance(written, Written) and written.event.sender != self._me:
                self._look(written)

    def _look(self, written: Written) -> None:
        event, room = written.event, written.room
        if event.type == "m.room.message" and room.membership(self._me) == "join":
            body = event.content.get("body")
            if isinstance(body, str) and body.split(" ")[0] == COMMAND and self._is_local(event.sender):
                self._tasks.start(self._obey(room.room_id, event.sender, body), name="webhook_command")
        elif event.type == "m.reaction" and room.membership(self._me) == "join":
            relation = event.content.get("m.relates_to")
            about = relation.get("event_id") if isinstance(relation, dict) else None
            key = relation.get("key") if isinstance(relation, dict) else None
            if isinstance(about, str) and isinstance(key, str) and key.removesuffix("\ufe0f") in _ACKNOWLEDGING:
                self._tasks.start(self._acknowledge(room.room_id, about, event.sender), name="webhook_alert")
        elif event.type == "m.room.member" and event.state_key == self._me and event.membership == "invite":
            # Whoever may manage webhooks here can invite it; strangers of other servers can't fetch it.
            self._enter_if_called(room.room_id, event.sender)

    def _enter_if_called(self, room_id: RoomId, by: UserId) -> None:
        if self._is_local(by):
            self._tasks.start(self._enter(room_id), name="webhook_invite")

    def _is_local(self, user_id: UserId) -> bool:
        return self._tools.submission.is_local(user_id)

    async def _acknowledge(self, room_id: RoomId, event_id: str, user_id: UserId) -> None:
        await self._hearing.acknowledge(room_id, event_id, user_id, self._clock.now_ms())

    async def _enter(self, room_id: RoomId) -> None:
        await self._tools.membership.join(room_id, self._me)

    async def _obey(self, room_id: RoomId, sender: UserId, body: str) -> None:
        try:
            self._tools.limits.check("webhook", sender)
            answer = await self._answer(room_id, sender, body.split())
        except MatrixError as error:
            answer = str(error)
        content = {"msgtype": "m.notice", "body": answer, "m.mentions": {}}
        submission = self._tools.submission
        await submission.send(room_id, submission.draft("m.room.message", self._me, content))

    async def _answer(self, room_id: RoomId, sender: UserId, words: list[str]) -> str:
        match words[1:]:
            case ["list"]:
                return await self._list(room_id, sender)
            case ["add", source, *name] if name:
                if source not in {one.value for one in Source}:
                    raise InvalidParam(f"there is no source {source[:50]!r}: see {COMMAND} help")
                wish = Wish(source=Source(source), name=" ".join(name))
                row, token = await self._registry.make(room_id, wish, by=sender)
                url = self._tools.base_url + path_of(row.webhook_id, token)
                await self._tools.tell(sender, f"Webhook “{row.name}” for {room_id}. Whoever knows this speaks: {url}")
                return f"{row.webhook_id} is made; its address was told to {sender}."
            case ["out", url, *types]:
                host = (url.partition("://")[2].partition("/")[0] or url)[:NAME_CHARS_MAX]
                made = await self._registry.make_outbound(room_id, host, url, types, by=sender)
                await self._tools.tell(sender, f"What {room_id} tells {url} is signed with {made.signing_secret}")
                return f"{made.webhook_id} is made; the secret that it signs with was told to {sender}."
            case ["resume", webhook_id]:
                await self._registry.resume(room_id, webhook_id, by=sender)
                return f"{webhook_id} is on again."
            case ["remove", webhook_id]:
                await self._registry.remove(room_id, webhook_id, by=sender)
                return f"{webhook_id} is removed."
            case _:
                return _HELP

    async def _list(self, room_id: RoomId, sender: UserId) -> str:
        told, tells = await self._registry.of_room(room_id, by=sender)
        lines = [f"{one.webhook_id}: {one.source} “{one.name}”, of {one.owner}" for one in told]
        for one in tells:
            state = "" if one.is_enabled else ", switched off"
            lines.append(f"{one.webhook_id}: tells “{one.name}” of {', '.join(one.types) or 'everything'}{state}")
        return "\n".join(lines) or "This room has no webhooks."
