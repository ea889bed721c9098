"""Messages that rules let expire: after a time, or once somebody has read them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.admin.people import Crew, crew_of
from tests.admin.spam.test_actions import ZEBRA, room_with
from tests.admin.spam.test_rules_over_http import RULE, SPAM, latest, put, rule
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until

EVENT = "/rooms/{}/event/{}"
HOUR_S = 3_600


async def content(client: Client, room_id: str, event_id: str) -> Any:
    return (await client.get(EVENT, room_id, event_id)).ok()["content"]


async def waiting(server: RunningServer) -> list[tuple[str, int | None]]:
    """What is to go, and when; None: once it is read."""
    rows = await server.db.fetch("SELECT event_id, expires_ts FROM event_expiries JOIN events USING (event_nid)")
    return [(row["event_id"], row["expires_ts"]) for row in rows]


async def test_a_message_goes_after_its_time_across_a_restart(database_dsn: str) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        crew = await crew_of(server)
        mallory = await server.user("mallory")
        room_id = await room_with(crew.user, mallory)
        await put(crew, "short", rule(ZEBRA, {"kind": "expire", "seconds": HOUR_S}))
        event_id, other = await mallory.send(room_id, "zebra"), await mallory.send(room_id, "horse")

        async def is_waiting() -> bool:
            return [one for one, _ in await waiting(server)] == [event_id]

        await until(is_waiting)
        assert (await content(crew.user, room_id, event_id))["body"] == "zebra"
    clock.advance(HOUR_S)
    async with running_server(database_dsn, clock=clock) as server:
        user = await server.login("user")

        async def is_gone() -> bool:
            clock.advance(1)
            return bool(await content(user, room_id, event_id) == {})

        await until(is_gone)
        assert (await content(user, room_id, other))["body"] == "horse"

        async def is_crossed_off() -> bool:
            return await waiting(server) == []

        await until(is_crossed_off)


async def test_a_message_goes_once_it_was_read(database_dsn: str) -> None:
    """By somebody else: its sender's own receipt doesn't count, nor does a private one."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        crew = await crew_of(server)
        mallory = await server.user("mallory")
        room_id = await room_with(crew.user, mallory)
        await put(crew, "burn", rule(ZEBRA, {"kind": "burn", "seconds": 30}))
        event_id = await mallory.send(room_id, "zebra")

        async def is_waiting() -> bool:
            return await waiting(server) == [(event_id, None)]

        await until(is_waiting)
        receipt = "/rooms/{}/receipt/{}/{}"
        (await mallory.post(receipt, room_id, "m.read", event_id, body={})).ok()
        (await crew.user.post(receipt, room_id, "m.read.private", event_id, body={})).ok()
        clock.advance(HOUR_S)
        assert await waiting(server) == [(event_id, None)]
        (await crew.user.post(receipt, room_id, "m.read", event_id, body={})).ok()
        assert (await content(crew.user, room_id, event_id))["body"] == "zebra"

        async def is_gone() -> bool:
            clock.advance(1)
            return bool(await content(crew.user, room_id, event_id) == {})

        await until(is_gone)


async def test_undoing_lets_it_stay(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room()
    await put(crew, "short", rule(ZEBRA, {"kind": "expire", "seconds": HOUR_S}))
    event_id = await crew.user.send(room_id, "zebra")

    async def is_waiting() -> bool:
        return bool(await waiting(server))

    await until(is_waiting)
    [decision] = await latest(crew)
    assert decision["event_id"] == event_id
    undo = (SPAM + "/decisions/{}/undo", str(decision["decision_id"]))
    assert (await crew.moderator.post(*undo, body={})).ok()["undone"] == ["expire"]
    assert await waiting(server) == []


async def test_each_message_has_its_own_time(server: RunningServer, crew: Crew) -> None:
    """Two of one sender, written at the same moment: what a rule said of one isn't done to the other."""
    room_id = await crew.user.create_room()
    await put(crew, "short", rule(ZEBRA, {"kind": "expire", "seconds": HOUR_S}))
    await put(crew, "noted", rule('event.text.contains("refused")', {"kind": "tag"}))
    too_large = {"msgtype": "m.text", "body": "zebra", "x": "y" * 65_000}
    (await crew.user.put("/rooms/{}/send/m.room.message/large", room_id, body=too_large)).refused(413, "M_TOO_LARGE")
    innocent = await crew.user.send(room_id, "horse")
    event_id = await crew.user.send(room_id, "zebra")

    async def is_waiting() -> bool:
        return event_id in {one for one, _ in await waiting(server)}

    await until(is_waiting)
    assert innocent not in {one for one, _ in await waiting(server)}


@pytest.mark.parametrize(
    "wrong",
    [
        rule(ZEBRA, {"kind": "expire"}, when=("join",)),
        rule(ZEBRA, {"kind": "expire", "seconds": 0}),
        rule(ZEBRA, {"kind": "burn"}, when=("event", "invite")),
    ],
)
async def test_what_can_not_expire(server: RunningServer, crew: Crew, wrong: dict[str, Any]) -> None:
    (await crew.moderator.put(RULE, "wrong", body={"rule": wrong})).refused(400, "M_INVALID_PARAM")
