"""Counts kept up to date equal counts worked out anew."""

from __future__ import annotations

import random

import pytest

from homeserver.core.identifiers import EventId, RoomId
from tests.api.live import ALICE, BOB, CAROL, Live, running_live

USERS = (ALICE, BOB, CAROL)


class Chatter:
    """Users who do everything that touches counts, as a seed says."""

    def __init__(self, live: Live, seed: int, room: RoomId) -> None:
        self.live = live
        self.room = room
        self.chance = random.Random(seed)
        self.said: list[tuple[EventId, EventId | None]] = []

    async def step(self) -> None:
        actions = [self.say] * 6 + [self.read] * 3 + [self.redact, self.come_and_go, self.rules, self.flush]
        await self.chance.choice(actions)()

    async def say(self) -> None:
        roots = [event for event, thread in self.said if thread is None][:3]
        thread = self.chance.choice([None, None, *roots])
        mention = self.chance.choice([None, None, [BOB], [CAROL, ALICE]])
        event = await self.live.say(self.chance.choice((ALICE, BOB)), self.room, thread=thread, mention=mention)
        self.said.append((event, thread))

    async def read(self) -> None:
        if not self.said:
            return
        event, thread = self.chance.choice(self.said)
        kind = self.chance.choice(("m.read", "m.read.private"))
        body = self.chance.choice([{}, {"thread_id": thread or "main"}])
        user = self.chance.choice((ALICE, BOB))
        await self.live.call(user, "POST", f"/rooms/{self.room}/receipt/{kind}/{event}", body)

    async def redact(self) -> None:
        if self.said:
            event, _ = self.said.pop(self.chance.randrange(len(self.said)))
            await self.live.send(ALICE, self.room, "m.room.redaction", {"redacts": event})

    async def come_and_go(self) -> None:
        if await self.live.rooms.membership(self.room, CAROL) == "join":
            await self.live.leave(CAROL, self.room)
        else:
            await self.live.join(CAROL, self.room)

    async def rules(self) -> None:
        path = f"/pushrules/global/room/{self.room}"
        actions = self.chance.choice([[], ["notify", {"set_tweak": "highlight"}]])
        await self.live.ok(self.chance.choice((BOB, CAROL)), "PUT", path, {"actions": actions})

    async def flush(self) -> None:
        await self.live.unread.flush()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_kept_counts_equal_fresh_counts(database_dsn: str, seed: int) -> None:
    async with running_live(database_dsn) as live:
        room = await live.room(ALICE, BOB, CAROL, power={"users": {ALICE: 100, BOB: 100}})
        chatter = Chatter(live, seed, room)
        for _ in range(60):
            await chatter.step()
            await live.unread.counts(chatter.chance.choice(USERS), [room])
        users = [user for user in USERS if await live.rooms.membership(room, user) == "join"]
        kept = {user: await live.unread_of(user, room) for user in users}
    async with running_live(database_dsn) as live:
        fresh = {user: await live.unread_of(user, room) for user in users}
    assert kept == fresh, f"seed {seed}"
    assert any(counts.notifications for counts in kept.values()) or seed
