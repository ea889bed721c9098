"""Raid mode: a room locks itself while a wave lasts, and opens again by itself, restarts or not."""

from __future__ import annotations

import pytest

from tests.admin.people import Crew, crew_of
from tests.admin.spam.test_rules_over_http import SPAM, latest, put, rule
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until

LOCKED = SPAM + "/locked_rooms/{}"
JOIN_RULES = "/rooms/{}/state/m.room.join_rules/"
POWER = "/rooms/{}/state/m.room.power_levels/"


async def join_rule(client: Client, room_id: str) -> str:
    found: str = (await client.get(JOIN_RULES, room_id)).ok()["join_rule"]
    return found


async def test_a_wave_locks_the_room_and_its_end_opens_it(database_dsn: str) -> None:
    """Across a restart in the middle."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        crew = await crew_of(server)
        room_id = await crew.user.create_room(preset="public_chat")
        lock = {"kind": "lock", "seconds": 600}
        await put(crew, "wave", rule("room.joins_1m > 3", {"kind": "deny"}, lock, when=("join",)))
        waves = [await server.user(f"wave{number}") for number in range(5)]
        for number, wave in enumerate(waves[:4]):
            assert (await wave.post("/join/{}", room_id)).status == (200 if number < 3 else 403)

        async def is_locked() -> bool:
            return await join_rule(crew.user, room_id) == "invite"

        await until(is_locked)
        [shown] = (await crew.auditor.get(SPAM + "/locked_rooms")).ok()["rooms"]
        assert (shown["room_id"], shown["because"]) == (room_id, "rule wave, version 1")
        await put(crew, "wave", rule("room.joins_1m > 3", stage="draft", when=("join",)))
        (await waves[4].post("/join/{}", room_id)).refused(403, "M_FORBIDDEN")
        (await crew.user.post("/rooms/{}/invite", room_id, body={"user_id": waves[4].user_id})).ok()
        await waves[4].join(room_id)
    async with running_server(database_dsn, clock=clock) as server:
        user, late = await server.login("user"), await server.user("late")
        assert await join_rule(user, room_id) == "invite"
        clock.advance(599)
        (await late.post("/join/{}", room_id)).refused(403, "M_FORBIDDEN")

        async def is_open() -> bool:
            clock.advance(1)
            return await join_rule(user, room_id) == "public"

        await until(is_open)
        await late.join(room_id)
        owner = await server.login("owner")
        entries: list[dict[str, str]] = []

        async def is_noted() -> bool:
            entries[:] = (await owner.get("/_hansa/admin/v1/audit", target=room_id)).ok()["entries"]
            return len(entries) >= 2

        await until(is_noted)
        assert [(one["actor"], one["action"]) for one in entries] == [("hansa", "room.unlock"), ("hansa", "room.lock")]


async def test_a_quiet_room_hears_those_with_power_alone(server: RunningServer, crew: Crew) -> None:
    guest = await server.user("guest")
    room_id = await crew.user.create_room(
        preset="public_chat", power_level_content_override={"events": {"m.room.message": 0, "m.room.topic": 20}}
    )
    await guest.join(room_id)
    before = (await crew.user.get(POWER, room_id)).ok()
    (await crew.moderator.put(LOCKED, room_id, body={"how": "quiet", "seconds": 3_600, "reason": "noise"})).ok()
    during = (await crew.user.get(POWER, room_id)).ok()
    assert (during["events"]["m.room.message"], during["events"]["m.room.topic"]) == (50, 20)
    assert during["events_default"] == 50
    (await guest.put("/rooms/{}/send/m.room.message/1", room_id, body={"body": "x"})).refused(403, "M_FORBIDDEN")
    await crew.user.send(room_id, "be quiet")
    assert (await crew.moderator.delete(LOCKED, room_id)).ok() == {"restored": True}
    assert (await crew.user.get(POWER, room_id)).ok() == before
    await guest.send(room_id, "at last")
    (await crew.moderator.delete(LOCKED, room_id)).refused(404, "M_NOT_FOUND")


async def test_what_moderators_change_meanwhile_stays(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room(preset="public_chat")
    (await crew.moderator.put(LOCKED, room_id)).ok()
    (await crew.user.put(JOIN_RULES, room_id, body={"join_rule": "knock"})).ok()
    assert (await crew.moderator.delete(LOCKED, room_id)).ok() == {"restored": False}
    assert await join_rule(crew.user, room_id) == "knock"


async def test_who_may_lock_which_rooms(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room(preset="public_chat")
    for client in (crew.auditor, crew.user):
        (await client.put(LOCKED, room_id)).refused(403, "M_FORBIDDEN")
    (await crew.moderator.put(LOCKED, "!nowhere:hansa.test")).refused(404, "M_NOT_FOUND")
    (await crew.moderator.put(LOCKED, room_id, body={"how": "loud"})).refused(400, "M_BAD_JSON")
    first = (await crew.moderator.put(LOCKED, room_id, body={"seconds": 60})).ok()["until_ts"]
    longer = (await crew.moderator.put(LOCKED, room_id, body={"seconds": 600})).ok()["until_ts"]
    assert longer > first
    assert (await crew.moderator.put(LOCKED, room_id, body={"seconds": 60})).ok()["until_ts"] == longer


@pytest.mark.parametrize("kind", ["lock", "quiet"])
async def test_undoing_the_decision_opens_the_room(server: RunningServer, crew: Crew, kind: str) -> None:
    room_id = await crew.user.create_room(preset="public_chat")
    await put(crew, "noise", rule('event.text.contains("zebra")', {"kind": kind, "seconds": 3_600}))
    await crew.user.send(room_id, "zebra")

    async def is_locked() -> bool:
        return bool((await crew.auditor.get(SPAM + "/locked_rooms")).ok()["rooms"])

    await until(is_locked)
    [decision] = await latest(crew)
    undo = (SPAM + "/decisions/{}/undo", str(decision["decision_id"]))
    assert (await crew.moderator.post(*undo, body={})).ok()["undone"] == ["lock"]
    assert not await is_locked()
    assert await join_rule(crew.user, room_id) == "public"
