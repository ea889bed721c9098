"""Histories of rooms as people make them, many at once, and what each of these people may read of them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from homeserver.core.errors import MatrixError, RuleBroken
from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.rooms.arrivals import Arrival, Fate
from homeserver.storage.events import StoredEvent
from homeserver.storage.relations import EDITS_MAX
from tests.kit.server import Client, RunningServer

VISIBILITIES = ("world_readable", "shared", "invited", "joined")
PASSWORD = "correct horse battery"
WORDS = ("alpha", "beta", "港口", "gamma")


def text_of(chance: random.Random) -> str:
    """Two words of few, and one that all have."""
    return " ".join(("common", *chance.choices(WORDS, k=2)))


@dataclass(frozen=True, slots=True)
class Said:
    """One message as it is said now; `source` is the event that says it: itself, or its latest edit.

    `edits` are those that weren't redacted, as (time, event, text), from the newest on; `first` is what it said itself.
    """

    sender: UserId
    text: str
    room_id: RoomId
    source: EventId
    first: tuple[EventId, str]
    edits: tuple[tuple[int, EventId, str], ...] = ()

    def edited(self, edits: Iterable[tuple[int, EventId, str]]) -> Said:
        """With these edits and no others."""
        newest = tuple(sorted(edits, reverse=True))
        source, text = newest[0][1:] if newest else self.first
        return replace(self, text=text, source=source, edits=newest)

    def seen(self, visible: Container[EventId]) -> Said | None:
        """As it is for somebody who sees these events; None where its own isn't one of them.

        Of its edits the newest EDITS_MAX are looked at.
        """
        if self.first[0] not in visible:
            return None
        return self.edited(one for one in self.edits[:EDITS_MAX] if one[1] in visible)


@dataclass(slots=True)
class History:
    """One conversation, in one room or in those that it was upgraded to, and what wasn't redacted of it."""

    rooms: list[RoomId]
    said: dict[EventId, Said] = field(default_factory=dict)

    @property
    def room(self) -> RoomId:
        return self.rooms[-1]

    @property
    def newest(self) -> list[EventId]:
        """What was said in the room that it is in now."""
        return [event_id for event_id, said in self.said.items() if said.room_id == self.room]


class Players:
    """Some users of a server, who all do what users do. The first makes the rooms; everybody may do everything."""

    def __init__(self, server: RunningServer, users: Sequence[Client], seed: int) -> None:
        self.server = server
        self.users = list(users)
        self._chance = random.Random(seed)
        self.ids = [UserId(user.user_id) for user in users]
        self.ignored: dict[UserId, set[UserId]] = {user_id: set() for user_id in self.ids}

    async def play(self, count: int, steps: int) -> list[History]:
        """So many histories beside each other; of every other time one is erased halfway. Then some may be ignored."""
        chances = [random.Random(self._chance.randrange(2**32)) for _ in range(count)]
        histories = await asyncio.gather(*(self._begin(chance) for chance in chances))
        half = steps // 2
        for some in (half, steps - half):
            both = zip(chances, histories, strict=True)
            await asyncio.gather(*(self._play(chance, history, some) for chance, history in both))
            if some == half and self._chance.random() < 0.5:
                await self._erase_one()
        for user in self.users[1:]:
            if self._chance.random() < 0.5:
                other = self._chance.choice([one for one in self.ids if one != user.user_id])
                self.ignored[UserId(user.user_id)].add(other)
                path = "/user/{}/account_data/m.ignored_user_list"
                body: dict[str, Any] = {"ignored_users": {other: {}}}
                (await user.put(path, user.user_id, body=body)).ok()
        return histories

    async def _erase_one(self) -> None:
        """The last one, who leaves all rooms: those who weren't members with them read their words no more."""
        gone = self.users.pop()
        self.ids.pop()
        auth = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": gone.user_id},
            "password": PASSWORD,
        }
        (await gone.post("/account/deactivate", body={"auth": auth, "erase": True})).ok()

    async def _begin(self, chance: random.Random) -> History:
        visibility = {"type": "m.room.history_visibility", "state_key": "", "content": self._visibility(chance)}
        room = await self.users[0].create_room(
            preset="public_chat",
            room_version=chance.choice(("10", "11", "12")),
            initial_state=[visibility],
            power_level_content_override={"users_default": 90},
        )
        return History([RoomId(room)])

    async def _play(self, chance: random.Random, history: History, steps: int) -> None:
        for _ in range(steps):
            with contextlib.suppress(MatrixError, RuleBroken):
                await self._step(chance, history)

    def _visibility(self, chance: random.Random) -> dict[str, str]:
        return {"history_visibility": chance.choice(VISIBILITIES)}

    async def _step(self, chance: random.Random, history: History) -> None:
        user, other = chance.sample(self.ids, 2)
        match chance.randrange(20):
            case 0 | 1 | 2:
                await self._send(history, "m.room.member", user, {"membership": "join"}, user)
            case 3:
                await self._send(history, "m.room.member", user, {"membership": "leave"}, user)
            case 4:
                await self._send(history, "m.room.member", user, {"membership": "invite"}, other)
            case 5:
                await self._send(history, "m.room.member", user, {"membership": "leave"}, other)
            case 6:
                await self._send(history, "m.room.member", user, {"membership": "ban"}, other)
            case 7 | 8:
                await self._send(history, "m.room.history_visibility", user, self._visibility(chance), "")
            case 9 if history.newest:
                await self._redact(history, user, chance.choice(history.newest))
            case 14 if edited := [one for one in history.newest if history.said[one].edits]:
                await self._redact_edit(history, user, chance.choice(edited))
            case 10 | 11 if history.newest:
                await self._edit(history, chance.choice(history.newest), text_of(chance))
            case 12 if chance.random() < 0.3:
                await self._upgrade(history)
            case 13 if chance.random() < 0.3:
                client = self.users[self.ids.index(user)]
                await client.post("/rooms/{}/forget", history.room)
            case 15 if chance.random() < 0.5:
                await self._soft_fail(chance, history, user)
            case _:
                text = text_of(chance)
                event = await self._send(history, "m.room.message", user, {"msgtype": "m.text", "body": text})
                first = event.event_id, text
                history.said[event.event_id] = Said(user, text, history.room, event.event_id, first)

    async def _send(
        self, history: History, kind: str, sender: UserId, content: dict[str, Any], state_key: str | None = None
    ) -> Event:
        submission = self.server.hansa.rooms.submission
        return await submission.send(history.room, submission.draft(kind, sender, content, state_key))

    async def _soft_fail(self, chance: random.Random, history: History, user: UserId) -> None:
        """A message, an edit or a redaction comes that the room doesn't want: nobody may notice."""
        submission, target = self.server.hansa.rooms.submission, chance.choice([None, *history.newest])
        text: dict[str, Any] = {"msgtype": "m.text", "body": text_of(chance)}
        if target is not None and chance.random() < 0.5:
            draft = submission.draft("m.room.redaction", user, {}, redacts=target)
        elif target is not None:
            content = {**text, "m.new_content": text, "m.relates_to": {"rel_type": "m.replace", "event_id": target}}
            draft = submission.draft("m.room.message", history.said[target].sender, content)
        else:
            draft = submission.draft("m.room.message", user, text)
        event = await self.server.hansa.rooms.writer.propose(history.room, draft)
        (fate,) = await self.server.hansa.rooms.incoming.take(
            history.room, [Arrival(event=event, unwelcome="unwanted")]
        )
        assert fate is Fate.SOFT_FAILED

    async def _redact(self, history: History, user: UserId, event_id: EventId) -> None:
        submission = self.server.hansa.rooms.submission
        draft = submission.draft("m.room.redaction", user, {}, redacts=event_id)
        await submission.send(history.room, draft)
        history.said.pop(event_id)

    async def _redact_edit(self, history: History, user: UserId, event_id: EventId) -> None:
        """Its newest, so that what it said before counts again."""
        said = history.said[event_id]
        submission = self.server.hansa.rooms.submission
        draft = submission.draft("m.room.redaction", user, {}, redacts=said.source)
        await submission.send(history.room, draft)
        history.said[event_id] = said.edited(said.edits[1:])

    async def _edit(self, history: History, event_id: EventId, text: str) -> None:
        said = history.said[event_id]
        content = {
            "msgtype": "m.text",
            "body": f"* {text}",
            "m.new_content": {"msgtype": "m.text", "body": text},
            "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
        }
        event = await self._send(history, "m.room.message", said.sender, content)
        history.said[event_id] = said.edited([*said.edits, (event.origin_server_ts, event.event_id, text)])

    async def _upgrade(self, history: History) -> None:
        """What was said before is edited and redacted no more."""
        path, body = "/rooms/{}/upgrade", {"new_version": "11"}
        answer = await self.users[0].post(path, history.room, body=body)
        if answer.status == 200:
            history.rooms.append(RoomId(answer.json["replacement_room"]))

    async def shown(self, user: UserId, room_id: RoomId) -> list[StoredEvent]:
        """All that /messages shows the user of a room, in order; nothing where it refuses.

        What a stranger may read of a room is not searched in.
        """
        history = self.server.hansa.rooms.history
        try:
            room = await history.room_for(user, room_id)
        except MatrixError:
            return []
        if room.membership(user) is None:
            return []
        page = await history.page(user, room, start=None, backwards=False, limit=1_000)
        assert page.end is None
        return page.events


def expected(
    players: Players, user: UserId, histories: Sequence[History], seen: Mapping[RoomId, Sequence[StoredEvent]]
) -> dict[EventId, Said]:
    """What the user must find, and nothing else: what they see, by the newest text that they see of it."""
    # What is shown without its content (its sender was erased) says nothing.
    visible = {one.event.event_id for shown in seen.values() for one in shown if one.event.content}
    return {
        event_id: shown
        for history in histories
        for event_id, said in history.said.items()
        if (shown := said.seen(visible)) is not None and said.sender not in players.ignored[user]
    }
