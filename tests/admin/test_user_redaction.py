"""All that a user said is redacted, in the background, with a status; what can't be is told of."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.admin.people import Crew, crew_of
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import SOON_S

V1 = "/_synapse/admin/v1/user"


async def done(server: RunningServer, client: Client, redact_id: str) -> dict[str, Any]:
    """The status once the job has ended."""
    async with asyncio.timeout(SOON_S):
        while True:
            answer: dict[str, Any] = (await client.get(V1 + "/redact_status/{}", redact_id)).ok()
            if answer["status"] not in ("scheduled", "active"):
                return answer
            await server.hansa.world.clock.sleep(0.02)


async def is_redacted(client: Client, room: str, event_id: str) -> bool:
    event = (await client.get("/rooms/{}/event/{}", room, event_id)).ok()
    return "redacted_because" in event.get("unsigned", {})


async def test_all_that_a_user_said(server: RunningServer, crew: Crew) -> None:
    """T-J15, T-J16: in every room, the user's own words alone, by their own hand; a row tells who asked."""
    user, other = crew.user, await server.user("other")
    rooms = [await other.create_room(preset="public_chat") for _ in range(2)]
    sent = []
    for room in rooms:
        await user.join(room)
        sent += [(room, await user.send(room, f"spam {number}")) for number in range(3)]
    answer = await other.send(rooms[0], "please stop")
    begun = await crew.moderator.post(V1 + "/{}/redact", user.user_id, body={"rooms": [], "reason": "spam"})
    status = await done(server, crew.moderator, begun.ok()["redact_id"])
    assert status == {"status": "complete", "failed_redactions": {}}
    assert all([await is_redacted(other, room, event_id) for room, event_id in sent])
    assert not await is_redacted(other, rooms[0], answer)
    rows = (await crew.owner.get("/_hansa/admin/v1/audit", action="user.redact")).ok()["entries"]
    assert [(row["actor"], row["target"], row["reason"]) for row in rows] == [
        (crew.moderator.user_id, user.user_id, "spam")
    ]
    await user.send(rooms[0], "again")


async def test_one_room_and_a_limit(server: RunningServer, crew: Crew) -> None:
    user = crew.user
    rooms = [await user.create_room() for _ in range(2)]
    old, new = await user.send(rooms[0], "old"), await user.send(rooms[0], "new")
    elsewhere = await user.send(rooms[1], "elsewhere")
    body = {"rooms": [rooms[0]], "limit": 1}
    begun = (await crew.admin.post(V1 + "/{}/redact", user.user_id, body=body)).ok()["redact_id"]
    assert (await done(server, crew.admin, begun))["status"] == "complete"
    assert [await is_redacted(user, rooms[0], one) for one in (old, new)] == [False, True]
    assert not await is_redacted(user, rooms[1], elsewhere)


async def test_what_cannot_be_redacted_is_told(server: RunningServer, crew: Crew) -> None:
    """T-J2: an operator has no more power in a room than the room gives them."""
    user, other = crew.user, await server.user("other")
    room = await other.create_room(preset="public_chat")
    await user.join(room)
    event_id = await user.send(room, "spam")
    (await user.post("/rooms/{}/leave", room)).ok()
    body = {"rooms": [room], "use_admin": True}
    begun = (await crew.admin.post(V1 + "/{}/redact", user.user_id, body=body)).ok()["redact_id"]
    status = await done(server, crew.admin, begun)
    assert event_id in status["failed_redactions"] and status["failed_redactions"][event_id]
    assert not await is_redacted(other, room, event_id)
    await crew.admin.join(room)
    levels = (await other.get("/rooms/{}/state/m.room.power_levels", room)).ok()
    levels["users"] = {**levels.get("users", {}), crew.admin.user_id: 50}
    (await other.put("/rooms/{}/state/m.room.power_levels", room, body=levels)).ok()
    begun = (await crew.admin.post(V1 + "/{}/redact", user.user_id, body=body)).ok()["redact_id"]
    assert (await done(server, crew.admin, begun))["failed_redactions"] == {}
    assert await is_redacted(other, room, event_id)


async def test_who_may_not(server: RunningServer, crew: Crew) -> None:
    """T-J2."""
    path = V1 + "/{}/redact"
    (await crew.auditor.post(path, crew.user.user_id, body={"rooms": []})).refused(403, "M_FORBIDDEN")
    (await crew.moderator.post(path, crew.owner.user_id, body={"rooms": []})).refused(403, "M_FORBIDDEN")
    (await crew.admin.post(path, crew.user.user_id, body={})).refused(400, "M_MISSING_PARAM")
    (await crew.admin.post(path, crew.user.user_id, body={"rooms": ["x"]})).refused(400, "M_INVALID_PARAM")
    (await crew.admin.post(path, crew.user.user_id, body={"rooms": [], "limit": 0})).refused(400, "M_INVALID_PARAM")
    (await crew.admin.get(V1 + "/redact_status/none")).refused(404, "M_NOT_FOUND")


async def test_a_job_outlives_a_restart(database_dsn: str) -> None:
    """T-J15: what a stop cut short is taken up again, and done once."""
    async with running_server(database_dsn) as server:
        crew = await crew_of(server)
        room = await crew.user.create_room()
        events = [await crew.user.send(room, str(number)) for number in range(20)]
        begun = (await crew.admin.post(V1 + "/{}/redact", crew.user.user_id, body={"rooms": []})).ok()["redact_id"]
    async with running_server(database_dsn) as server:
        admin, user = await server.login("the-admin"), await server.login("user")
        assert (await done(server, admin, begun))["status"] == "complete"
        assert all([await is_redacted(user, room, one) for one in events])
