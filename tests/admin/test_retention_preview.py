"""What would expire is counted before it does; nothing changes."""

from __future__ import annotations

from typing import Any

from tests.admin.people import Crew, crew_of
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until

PREVIEW = "/_hansa/admin/v1/retention/preview"
DAY_S = 86_400


async def previewed(server: RunningServer, operator: Client, **body: Any) -> dict[str, Any]:
    job_id = (await operator.post(PREVIEW, body=body)).ok()["job_id"]
    job: dict[str, Any] = {}

    async def is_done() -> bool:
        job.update((await operator.get("/_hansa/admin/v1/jobs/{}", job_id)).ok())
        return job["state"] not in ("scheduled", "active")

    await until(is_done)
    assert job["state"] == "complete", job
    progress: dict[str, Any] = job["progress"]
    return progress


async def test_what_would_go(database_dsn: str) -> None:
    """T-J15: by the rules in force and by others; a room's own wish counts; what is held isn't in it."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        crew = await crew_of(server)
        wish: dict[str, Any] = {"type": "m.room.retention", "content": {"max_lifetime": 3 * DAY_S * 1000}}
        own, other = await crew.user.create_room(initial_state=[wish]), await crew.user.create_room()
        for room in (own, other):
            for number in range(3):
                await crew.user.send(room, str(number))

        async def is_wish_known() -> bool:
            return bool(await server.db.fetchval("SELECT count(*) FROM room_facts WHERE retention_ms IS NOT NULL"))

        clock.advance(4 * DAY_S)  # which also wakes whoever writes down what rooms wish
        await until(is_wish_known)
        for room in (own, other):
            await crew.user.send(room, "newest")
        rows = await server.db.fetchval("SELECT count(*) FROM events")
        found = await previewed(server, crew.owner)
        assert (found["rooms"], found["events"]) == (1, 3) and found["bytes"] > 300
        assert [room["room_id"] for room in found["largest"]] == [own]
        assert (await previewed(server, crew.owner, room_id=other))["events"] == 0
        assert (await previewed(server, crew.owner, room_id=other, default_s=2 * DAY_S))["events"] == 3
        assert (await previewed(server, crew.owner, default_s=2 * DAY_S))["events"] == 6
        assert (await previewed(server, crew.owner, least_s=9 * DAY_S))["events"] == 0
        body = {"kind": "user", "target": crew.user.user_id, "reason": "case 12"}
        (await crew.owner.post("/_hansa/admin/v1/holds", body=body)).ok()
        assert (await previewed(server, crew.owner, default_s=2 * DAY_S))["events"] == 0
        assert await server.db.fetchval("SELECT count(*) FROM events") == rows


async def test_who_may(server: RunningServer, crew: Crew) -> None:
    """T-J2."""
    (await crew.auditor.post(PREVIEW)).refused(403, "M_FORBIDDEN")
    (await crew.owner.post(PREVIEW, body={"room_id": "x"})).refused(400, "M_INVALID_PARAM")
    (await crew.owner.post(PREVIEW, body={"most_s": -1})).refused(400, "M_BAD_JSON")
