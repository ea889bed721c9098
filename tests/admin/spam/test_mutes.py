"""Mutes with an end: who was muted is heard again, with the power that they had, restarts or not."""

from __future__ import annotations

from typing import Any

from tests.admin.people import Crew, crew_of
from tests.admin.spam.test_actions import POWER, ZEBRA, attempt, room_with
from tests.admin.spam.test_rules_over_http import SPAM, latest, put, rule
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until


async def levels(client: Client, room_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(POWER, room_id)).ok()["users"]
    return found


async def test_a_mute_ends_across_a_restart(database_dsn: str) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        crew = await crew_of(server)
        mallory = await server.user("mallory")
        room_id = await room_with(crew.user, mallory)
        before = (await crew.user.get(POWER, room_id)).ok()
        (await crew.user.put(POWER, room_id, body={**before, "users": {**before["users"], mallory.user_id: 20}})).ok()
        await put(crew, "mute", rule(ZEBRA, {"kind": "mute", "minutes": 10}))
        await mallory.send(room_id, "zebra")

        async def is_muted() -> bool:
            return bool((await levels(crew.user, room_id))[mallory.user_id] == -1)

        await until(is_muted)
        assert (await attempt(mallory, room_id)).status == 403
    async with running_server(database_dsn, clock=clock) as server:
        user, mallory = await server.login("user"), await server.login("mallory")
        clock.advance(590)
        assert (await attempt(mallory, room_id)).status == 403

        async def is_heard() -> bool:
            clock.advance(1)
            return bool((await levels(user, room_id)).get(mallory.user_id) == 20)

        await until(is_heard)
        await mallory.send(room_id, "horse")
        owner = await server.login("owner")
        entries: list[dict[str, str]] = []

        async def is_noted() -> bool:
            entries[:] = (await owner.get("/_hansa/admin/v1/audit", target=mallory.user_id)).ok()["entries"]
            return len(entries) >= 2

        await until(is_noted)
        assert [(one["actor"], one["action"]) for one in entries] == [("hansa", "user.unmute"), ("hansa", "user.mute")]
        assert entries[0]["reason"] == "its time is over"


async def test_who_got_power_meanwhile_keeps_it(server: RunningServer, crew: Crew) -> None:
    mallory = await server.user("mallory")
    room_id = await room_with(crew.user, mallory)
    await put(crew, "mute", rule(ZEBRA, {"kind": "mute", "minutes": 10}))
    await mallory.send(room_id, "zebra")

    async def is_muted() -> bool:
        return bool((await levels(crew.user, room_id)).get(mallory.user_id) == -1)

    await until(is_muted)
    now = (await crew.user.get(POWER, room_id)).ok()
    (await crew.user.put(POWER, room_id, body={**now, "users": {**now["users"], mallory.user_id: 50}})).ok()
    [decision] = await latest(crew, sender=mallory.user_id)
    undo = (SPAM + "/decisions/{}/undo", str(decision["decision_id"]))
    assert (await crew.moderator.post(*undo, body={})).ok()["undone"] == []
    assert (await levels(crew.user, room_id))[mallory.user_id] == 50


async def test_many_are_muted_at_once(server: RunningServer, crew: Crew) -> None:
    """Each mute writes all levels anew; none is lost to another."""
    wave = [await server.user(f"wave{number}") for number in range(6)]
    room_id = await room_with(crew.user, *wave)
    await put(crew, "mute", rule(ZEBRA, {"kind": "mute", "minutes": 10}))
    for one in wave:
        await one.send(room_id, "zebra")

    async def all_muted() -> bool:
        found = await levels(crew.user, room_id)
        return all(found.get(one.user_id) == -1 for one in wave)

    await until(all_muted)


async def test_a_quiet_room_opens_though_somebody_was_muted(server: RunningServer, crew: Crew) -> None:
    mallory = await server.user("mallory")
    room_id = await room_with(crew.user, mallory)
    before = (await crew.user.get(POWER, room_id)).ok()
    await put(crew, "mute", rule(ZEBRA, {"kind": "mute"}))
    await mallory.send(room_id, "zebra")

    async def is_muted() -> bool:
        return bool((await levels(crew.user, room_id)).get(mallory.user_id) == -1)

    locked = SPAM + "/locked_rooms/{}"
    (await crew.moderator.put(locked, room_id, body={"how": "quiet", "seconds": 3_600})).ok()
    await until(is_muted)
    assert (await crew.moderator.delete(locked, room_id)).ok() == {"restored": True}
    after = (await crew.user.get(POWER, room_id)).ok()
    assert after == {**before, "users": {**before["users"], mallory.user_id: -1}}
