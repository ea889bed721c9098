"""Reports, other servers, sizes, jobs: through the admin API."""

from __future__ import annotations

from homeserver.core.identifiers import ServerName
from homeserver.storage.database import Database
from tests.admin.people import Crew
from tests.kit.server import RunningServer

ADMIN = "/_synapse/admin/v1"


async def test_reports_are_worked_through(server: RunningServer, crew: Crew) -> None:
    """T-J4: what an event says is told to those who may read it."""
    room = await crew.user.create_room(preset="public_chat", name="Where")
    await crew.admin.join(room)
    event_id = await crew.user.send(room, "bad words")
    (await crew.admin.post("/rooms/{}/report/{}", room, event_id, body={"reason": "rude"})).ok()
    (await crew.admin.post("/users/{}/report", crew.user.user_id, body={"reason": "a pest"})).ok()
    await server.hansa.admin.rooms.overviews.write()
    listed = (await crew.auditor.get(ADMIN + "/event_reports")).ok()
    report = listed["event_reports"][0]
    assert (listed["total"], report["event_id"], report["name"]) == (1, event_id, "Where")
    assert (report["user_id"], report["sender"]) == (crew.admin.user_id, crew.user.user_id)
    none = (await crew.auditor.get(ADMIN + "/event_reports", user_id="@nobody")).ok()
    assert none == {"event_reports": [], "total": 0}
    path = ADMIN + "/event_reports/{}"
    told = (await crew.moderator.get(path, str(report["id"]))).ok()
    assert told["event_json"]["content"]["body"] == "bad words"
    assert "event_json" not in (await crew.auditor.get(path, str(report["id"]))).ok()
    (await crew.auditor.delete(path, str(report["id"]))).refused(403, "M_FORBIDDEN")
    (await crew.moderator.get(path, "one")).refused(400, "M_INVALID_PARAM")
    users = (await crew.auditor.get(ADMIN + "/user_reports")).ok()["user_reports"]
    assert users[0]["target_user_id"] == crew.user.user_id
    (await crew.moderator.delete(path, str(users[0]["id"]))).refused(404, "M_NOT_FOUND")
    (await crew.moderator.delete(path, str(report["id"]))).ok()
    (await crew.moderator.get(path, str(report["id"]))).refused(404, "M_NOT_FOUND")
    one = ADMIN + "/user_reports/{}"
    assert (await crew.auditor.get(one, str(users[0]["id"]))).ok()["reason"] == "a pest"
    (await crew.moderator.delete(one, str(users[0]["id"]))).ok()


async def test_other_servers(server: RunningServer, crew: Crew, database: Database) -> None:
    room = await crew.user.create_room()
    nid = await database.fetchval("SELECT room_nid FROM rooms WHERE room_id = $1", room)
    for name in ("one", "two"):
        user_id = f"@a:{name}.test"
        await database.execute("INSERT INTO memberships VALUES ($1, $2, 'join', 1)", nid, user_id)
    assert server.hansa.federation is not None
    reach = server.hansa.federation.reachability
    reach.failed(ServerName("two.test"), "refused")
    await reach.save()
    path = ADMIN + "/federation/destinations"
    listed = (await crew.auditor.get(path)).ok()
    assert [one["destination"] for one in listed["destinations"]] == ["one.test", "two.test"]
    assert listed["total"] == 2
    failing = (await crew.auditor.get(path, order_by="failure_ts", dir="b", limit=1)).ok()
    assert failing["destinations"][0]["destination"] == "two.test"
    assert failing["destinations"][0]["failure_ts"] > 0
    assert failing["next_token"] == "1"
    assert (await crew.auditor.get(path + "/{}", "one.test")).ok()["retry_interval"] == 0
    (await crew.auditor.get(path + "/{}", "never.test")).refused(404, "M_NOT_FOUND")
    rooms = (await crew.auditor.get(path + "/{}/rooms", "one.test")).ok()
    assert (rooms["total"], rooms["rooms"][0]["room_id"]) == (1, room)
    reset = path + "/{}/reset_connection"
    (await crew.auditor.post(reset, "two.test")).refused(403, "M_FORBIDDEN")
    (await crew.admin.post(reset, "one.test")).refused(400, "M_UNKNOWN")
    (await crew.admin.post(reset, "two.test")).ok()
    assert reach.outage(ServerName("two.test")) is None
    (await crew.auditor.get(path, order_by="1")).refused(400, "M_INVALID_PARAM")


async def test_jobs_and_sizes(server: RunningServer, crew: Crew) -> None:
    await crew.user.create_room()
    await server.hansa.admin.rooms.overviews.write()
    sizes = (await crew.auditor.get(ADMIN + "/statistics/database/rooms")).ok()["rooms"]
    assert sizes[0]["estimated_size"] > 1_000
    updates = ADMIN + "/background_updates"
    assert (await crew.auditor.get(updates + "/enabled")).ok() == {"enabled": True}
    assert (await crew.admin.post(updates + "/enabled", body={"enabled": False})).ok() == {"enabled": False}
    assert (await crew.auditor.get(updates + "/status")).ok() == {"enabled": False, "current_updates": {}}
    start = {"job_name": "populate_stats_process_rooms"}
    (await crew.auditor.post(updates + "/start_job", body=start)).refused(403, "M_FORBIDDEN")
    (await crew.admin.post(updates + "/start_job", body={"job_name": "other"})).refused(400, "M_UNKNOWN")
    (await crew.admin.post(updates + "/start_job", body=start)).ok()
    tasks = (await crew.auditor.get(ADMIN + "/scheduled_tasks", job_status="scheduled")).ok()["scheduled_tasks"]
    assert [task["action"] for task in tasks] == ["rebuild_room_overviews"]
    cancel = "/_hansa/admin/v1/jobs/{}/cancel"
    (await crew.auditor.post(cancel, tasks[0]["id"])).refused(403, "M_FORBIDDEN")
    (await crew.admin.post(cancel, tasks[0]["id"])).ok()
    (await crew.admin.post(cancel, tasks[0]["id"])).refused(400, "M_UNKNOWN")
    job = (await crew.auditor.get("/_hansa/admin/v1/jobs/{}", tasks[0]["id"])).ok()
    assert (job["state"], job["started_by"]) == ("cancelled", crew.admin.user_id)
