"""Events that are sent later (MSC4140): after their delay, at once, never, and not twice after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from homeserver.rooms.commands.delaying import DelayedEvents
from homeserver.storage.database import Database
from tests.api.test_account_moderation import administrator
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import SOON_S

PATH = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
LEFT = "org.matrix.msc3401.call.member"


async def later(client: Client, room_id: str, text: str = "moin", *, delay_ms: Any = 10_000, txn: str = "t") -> Any:
    return await client.request(
        "PUT", "/rooms/{}/send/m.room.message/{}", room_id, txn,
        body={"msgtype": "m.text", "body": text}, query={"org.matrix.msc4140.delay": delay_ms},
    )  # fmt: skip


async def state_later(client: Client, room_id: str, content: dict[str, Any], delay_ms: int = 10_000) -> str:
    answer = await client.request(
        "PUT", "/rooms/{}/state/{}/{}", room_id, LEFT, "_k",
        body=content, query={"org.matrix.msc4140.delay": delay_ms},
    )  # fmt: skip
    delay_id: str = answer.ok()["delay_id"]
    return delay_id


async def said(client: Client, room_id: str) -> list[str]:
    chunk = (await client.get("/rooms/{}/messages", room_id, dir="b", limit=20)).ok()["chunk"]
    return [event["content"]["body"] for event in chunk if event["type"] == "m.room.message"]


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON_S):
        while not await look():
            pass


async def passes(server: RunningServer, clock: FakeClock, seconds: float) -> None:
    """Lets time pass in steps, with requests between, so that sleepers wake in order."""
    for _ in range(int(seconds * 2)):
        clock.advance(0.5)
        await server.anonymous().get("/_matrix/client/versions")


async def test_an_event_is_sent_when_its_time_has_come(database_dsn: str) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        alice = await server.user("alice")
        room_id = await alice.create_room()
        first = (await later(alice, room_id)).ok()["delay_id"]
        assert (await later(alice, room_id)).ok()["delay_id"] == first, "a repeated request is one event"
        (waiting,) = (await alice.get(PATH)).ok()["delayed_events"]
        assert waiting["delay_id"] == first and waiting["content"]["body"] == "moin" and waiting["delay_ms"] == 10_000
        assert (await alice.get(PATH + "/{}", first)).ok() == waiting
        assert waiting["scheduled_at"] == waiting["running_since"] <= clock.now_ms()
        await passes(server, clock, 6)
        (await server.anonymous().post(PATH + "/{}/restart", first)).ok()
        await passes(server, clock, 6)
        assert await said(alice, room_id) == []
        await passes(server, clock, 6)

        async def is_said() -> bool:
            clock.advance(0.5)
            return await said(alice, room_id) == ["moin"]

        await until(is_said)
        (await alice.post(PATH + "/{}/restart", first)).refused(404, "M_NOT_FOUND")
        assert (await alice.get(PATH)).ok() == {"delayed_events": []}


async def test_what_was_sent_waits_no_more(server: RunningServer, database: Database) -> None:
    """Its place in the table is cleared a moment later than it is said."""
    alice = await server.user("alice")
    room_id = await alice.create_room()
    delay_id = (await later(alice, room_id)).ok()["delay_id"]
    async with database.transaction() as tx:
        await tx.execute("LOCK TABLE delayed_events IN EXCLUSIVE MODE")  # it can be read
        sending = asyncio.create_task(server.anonymous().post(PATH + "/{}/send", delay_id))

        async def is_said() -> bool:
            return await said(alice, room_id) == ["moin"]

        await until(is_said)
        assert (await alice.get(PATH)).ok() == {"delayed_events": []}
        (await alice.get(PATH + "/{}", delay_id)).refused(404, "M_NOT_FOUND")
    (await sending).ok()


async def test_sending_at_once_and_cancelling(server: RunningServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    now, never, old = [(await later(alice, room_id, txn=name, text=name)).ok()["delay_id"] for name in "abc"]
    (await server.anonymous().post(PATH + "/{}/send", now)).ok()
    (await server.anonymous().post(PATH + "/{}", never, body={"action": "cancel"})).ok()
    (await alice.post(PATH + "/{}", old, body={"action": "send"})).ok()
    assert await said(alice, room_id) == ["c", "a"]
    for action in ("send", "cancel", "restart"):
        (await alice.post(PATH + "/{}/" + action, now)).refused(404, "M_NOT_FOUND")
        (await alice.post(PATH + "/{}", never, body={"action": action})).refused(404, "M_NOT_FOUND")
    (await alice.post(PATH + "/{}", old, body={"action": "frobnicate"})).refused(400, "M_BAD_JSON")
    (await alice.post(PATH + "/{}", old)).refused(400, "M_MISSING_PARAM")


async def test_who_set_the_state_meanwhile_overtakes(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat", power_level_content_override={"events": {LEFT: 0}})
    await bob.join(room_id)
    await state_later(alice, room_id, {})
    (await alice.put("/rooms/{}/state/{}/{}", room_id, LEFT, "_k", body={"own": True})).ok()
    assert len((await alice.get(PATH)).ok()["delayed_events"]) == 1
    (await bob.put("/rooms/{}/state/{}/{}", room_id, LEFT, "_k", body={"theirs": True})).ok()

    async def is_gone() -> bool:
        return not (await alice.get(PATH)).ok()["delayed_events"]

    await until(is_gone)


async def test_what_was_called_off_takes_no_memory(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-H9: a call's client delays state and cancels it as long as the call lasts."""
    made: list[DelayedEvents] = []
    start = DelayedEvents.start

    async def started(delayed: DelayedEvents) -> None:
        made.append(delayed)
        await start(delayed)

    monkeypatch.setattr(DelayedEvents, "start", started)
    async with running_server(database_dsn) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat", power_level_content_override={"events": {LEFT: 0}})
        await bob.join(room_id)
        for _ in range(3):
            (await alice.post(PATH + "/{}/cancel", await state_later(alice, room_id, {}))).ok()
        await state_later(alice, room_id, {})
        (await bob.put("/rooms/{}/state/{}/{}", room_id, LEFT, "_k", body={"theirs": True})).ok()

        async def is_gone() -> bool:
            return not (await alice.get(PATH)).ok()["delayed_events"]

        await until(is_gone)
        assert [delayed.places for delayed in made] == [0]


async def test_what_is_delayed_survives_a_restart(database_dsn: str) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        alice = await server.user("alice")
        room_id = await alice.create_room()
        delay_id = await state_later(alice, room_id, {"left": True}, 5_000)
        await later(alice, room_id)
    clock = FakeClock(clock.now_ms() + 60_000)
    async with running_server(database_dsn, clock=clock) as server:
        again = server.anonymous()
        again.token = alice.token

        async def is_sent() -> bool:
            clock.advance(0.5)
            return await said(again, room_id) == ["moin"]

        await until(is_sent)
        assert (await again.get("/rooms/{}/state/{}/{}", room_id, LEFT, "_k")).ok() == {"left": True}
        (await again.post(PATH + "/{}/send", delay_id)).refused(404, "M_NOT_FOUND")


async def test_refusals(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room()
    for delay_ms in (0, -5):
        refused = (await later(alice, room_id, delay_ms=delay_ms)).refused(400, "M_INVALID_PARAM")
        assert "org.matrix.msc4140.errcode" not in refused
    for delay_ms in (86_400_001, 2**70):
        refused = (await later(alice, room_id, delay_ms=delay_ms)).refused(400, "M_UNKNOWN")
        assert refused["org.matrix.msc4140.errcode"] == "M_MAX_DELAY_EXCEEDED"
        assert refused["org.matrix.msc4140.max_delay"] == 86_400_000
    (await later(alice, room_id, delay_ms="x")).refused(400, "M_INVALID_PARAM")
    (await later(alice, room_id, text="x" * 70_000)).refused(413, "M_TOO_LARGE")
    (await later(bob, room_id)).refused(403, "M_FORBIDDEN")
    mine = (await later(alice, room_id)).ok()["delay_id"]
    (await bob.get(PATH + "/{}", mine)).refused(404, "M_NOT_FOUND")
    (await server.anonymous().get(PATH)).refused(401, "M_MISSING_TOKEN")
    (await server.anonymous().post(PATH + "/{}/send", "hsd_guess")).refused(404, "M_NOT_FOUND")


async def test_a_user_delays_so_many_events_at_most(server: RunningServer) -> None:
    """T-H9: and a repeated request isn't counted twice."""
    alice = await server.user("alice")
    room_id = await alice.create_room()
    for number in range(100):
        (await later(alice, room_id, txn=f"n{number}")).ok()
    (await later(alice, room_id, txn="more")).refused(429, "M_LIMIT_EXCEEDED")
    (await later(alice, room_id, txn="n5")).ok()


@pytest.mark.parametrize("end", ["leave", "deactivate"])
async def test_who_is_gone_sends_nothing(database_dsn: str, end: str) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        await bob.join(room_id)
        delay_id = (await later(bob, room_id)).ok()["delay_id"]
        if end == "leave":
            (await bob.post("/rooms/{}/leave", room_id)).ok()
        else:
            identifier = {"type": "m.id.user", "user": "bob"}
            auth = {"type": "m.login.password", "identifier": identifier, "password": "correct horse battery"}
            (await bob.post("/account/deactivate", body={"auth": auth})).ok()
        (await server.anonymous().post(PATH + "/{}/send", delay_id)).refused(403, "M_FORBIDDEN")
        assert await said(alice, room_id) == []


async def test_what_could_not_be_sent_at_once_is_tried_again_when_it_is_due(database_dsn: str) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        await bob.join(room_id)
        early, late = [(await later(bob, room_id, text, txn=text)).ok()["delay_id"] for text in ("early", "late")]
        levels = (await alice.get("/rooms/{}/state/m.room.power_levels", room_id)).ok()
        muted = {**levels, "events_default": 50}
        (await alice.put("/rooms/{}/state/m.room.power_levels", room_id, body=muted)).ok()
        (await bob.post(PATH + "/{}/send", early)).refused(403, "M_FORBIDDEN")
        assert [one["delay_id"] for one in (await bob.get(PATH)).ok()["delayed_events"]] == [early, late]
        (await alice.put("/rooms/{}/state/m.room.power_levels", room_id, body=levels)).ok()
        (await bob.post(PATH + "/{}/send", late)).ok()

        async def is_said() -> bool:
            clock.advance(0.5)
            return await said(alice, room_id) == ["early", "late"]

        await until(is_said)
        assert (await bob.get(PATH)).ok() == {"delayed_events": []}


async def test_what_cannot_be_sent_when_it_is_due_is_gone(database_dsn: str) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        await bob.join(room_id)
        (await later(bob, room_id)).ok()
        (await bob.post("/rooms/{}/leave", room_id)).ok()

        async def is_gone() -> bool:
            clock.advance(0.5)
            return not (await bob.get(PATH)).ok()["delayed_events"]

        await until(is_gone)
        assert await said(alice, room_id) == []


@pytest.mark.parametrize(("seconds", "told"), [(60, {"max_delay_ms": 60_000, "max_scheduled": 100}), (0, None)])
async def test_clients_learn_how_long_and_how_many(database_dsn: str, seconds: int, told: object) -> None:
    async with running_server(database_dsn, toml=f"[rooms]\nevent_delay_max_s = {seconds}\n") as server:
        alice = await server.user("alice")
        found = (await alice.get("/capabilities")).ok()["capabilities"]
        assert found.get("org.matrix.msc4140.delayed_events") == told


async def test_who_was_suspended_meanwhile_sends_nothing(server: RunningServer) -> None:
    """T-H9: neither in time nor by the id, which needs no token; not even the words from before."""
    boss, alice = await administrator(server), await server.user("alice")
    room_id = await alice.create_room()
    now, soon = [(await later(alice, room_id, text, txn=text)).ok()["delay_id"] for text in ("now", "soon")]
    suspend = "/_matrix/client/v1/admin/suspend/{}"
    (await boss.put(suspend, alice.user_id, body={"suspended": True})).ok()
    (await server.anonymous().post(PATH + "/{}/send", now)).refused(403, "M_FORBIDDEN")
    (await boss.put(suspend, alice.user_id, body={"suspended": False})).ok()
    (await server.anonymous().post(PATH + "/{}/send", soon)).ok()
    assert await said(alice, room_id) == ["soon"]
