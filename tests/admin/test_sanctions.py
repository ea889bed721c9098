"""What holds an account back: suspension, lock, shadow-ban, limits of its own; and lets it go again."""

from __future__ import annotations

import itertools

from tests.admin.people import Crew
from tests.kit.server import RunningServer, running_server

V1 = "/_synapse/admin/v1"
SHADOW = V1 + "/users/{}/shadow_ban"
LIMIT = V1 + "/users/{}/override_ratelimit"


async def test_suspension(crew: Crew) -> None:
    path, user = V1 + "/suspend/{}", crew.user
    room = await user.create_room()
    answer = (await crew.moderator.put(path, user.user_id, body={"suspend": True, "reason": "spam"})).ok()
    assert answer == {f"user_{user.user_id}_suspended": True}
    (await user.put("/rooms/{}/send/m.room.message/1", room, body={"body": "x"})).refused(403, "M_USER_SUSPENDED")
    row = (await crew.owner.get("/_hansa/admin/v1/audit", limit=1)).ok()["entries"][0]
    assert (row["actor"], row["reason"]) == (crew.moderator.user_id, "spam")
    assert (row["before"], row["after"]) == ({"suspended": False}, {"suspended": True})
    (await crew.moderator.put(path, user.user_id, body={"suspend": False})).ok()
    await user.send(room)
    for target in (crew.admin, crew.owner, crew.moderator):
        (await crew.moderator.put(path, target.user_id, body={"suspend": True})).refused(403, "M_FORBIDDEN")
    (await crew.moderator.put(path, "@nobody:hansa.test", body={"suspend": True})).refused(404, "M_NOT_FOUND")


async def test_a_suspended_operator_operates_no_more(crew: Crew) -> None:
    """T-J2."""
    (await crew.admin.put(V1 + "/suspend/{}", crew.moderator.user_id, body={"suspend": True})).ok()
    (await crew.moderator.get(V1 + "/server_version")).refused(403, "M_USER_SUSPENDED")


async def test_the_specs_own_way_leaves_a_row_too(crew: Crew) -> None:
    """T-J16."""
    (await crew.moderator.put("/_matrix/client/v1/admin/lock/{}", crew.user.user_id, body={"locked": True})).ok()
    row = (await crew.owner.get("/_hansa/admin/v1/audit", limit=1)).ok()["entries"][0]
    assert (row["action"], row["target"], row["after"]) == ("user.lock", crew.user.user_id, {"locked": True})


async def test_a_shadow_banned_user_talks_to_nobody(server: RunningServer, crew: Crew) -> None:
    """Answered as if it were sent, and nobody else ever sees it. (Two words: one is in random ids now and then.)"""
    user, other = crew.user, await server.user("other")
    room = await other.create_room(preset="public_chat", power_level_content_override={"invite": 0})
    await user.join(room)
    (await crew.moderator.post(SHADOW, user.user_id)).ok()
    path = "/rooms/{}/send/m.room.message/1"
    event_id = (await user.put(path, room, body={"msgtype": "m.text", "body": "buy now"})).ok()["event_id"]
    assert event_id.startswith("$")
    assert (await user.put(path, room, body={"msgtype": "m.text", "body": "buy now"})).ok()["event_id"] == event_id
    (await user.put("/rooms/{}/state/m.room.topic", room, body={"topic": "buy now"})).refused(403, "M_FORBIDDEN")
    (await user.post("/rooms/{}/invite", room, body={"user_id": crew.admin.user_id})).ok()
    (await user.put("/profile/{}/displayname", user.user_id, body={"displayname": "BUY NOW"})).ok()
    (await user.put("/rooms/{}/typing/{}", room, user.user_id, body={"typing": True, "timeout": 30000})).ok()
    own = await user.create_room(invite=[other.user_id])
    seen = str(await other.sync()) + str(await crew.admin.sync())
    assert event_id not in seen and "buy now" not in seen.lower() and own not in seen
    assert "m.typing" not in seen
    (await other.get("/rooms/{}/event/{}", room, event_id)).refused(404, "M_NOT_FOUND")
    (await user.post("/rooms/{}/leave", room)).ok()
    await user.join(room)
    (await crew.moderator.delete(SHADOW, user.user_id)).ok()
    real = await user.send(room, "hello")
    assert real in str(await other.sync())


async def test_sanctions_outlive_a_restart(database_dsn: str) -> None:
    from tests.admin.people import crew_of

    async with running_server(database_dsn) as server:
        crew = await crew_of(server)
        room = await crew.user.create_room(preset="public_chat")
        await crew.owner.join(room)
        (await crew.admin.post(SHADOW, crew.user.user_id)).ok()
        (await crew.admin.post(LIMIT, crew.user.user_id, body={"messages_per_second": 7, "burst_count": 9})).ok()
    async with running_server(database_dsn) as server:
        user, owner = await server.login("user"), await server.login("owner")
        event_id = await user.send(room)
        assert event_id not in str(await owner.sync())
        told = (await owner.get("/_synapse/admin/v2/users/{}", user.user_id)).ok()
        assert told["shadow_banned"] is True
        found = (await owner.get(LIMIT, user.user_id)).ok()
        assert found == {"messages_per_second": 7, "burst_count": 9}
        assert server.hansa.limiter.overrides[user.user_id] is not None


LIMITED = """
[rate_limits]
message = { per_second = 0.001, burst = 2 }
"""


async def test_limits_of_ones_own(database_dsn: str) -> None:
    """An override is in force at once, in both directions, and ends at once."""
    from tests.admin.people import crew_of

    async with running_server(database_dsn, toml=LIMITED) as server:
        crew = await crew_of(server)
        user = crew.user
        room = await user.create_room()
        path = "/rooms/{}/send/m.room.message/{}"

        numbers = itertools.count()

        async def sent(count: int) -> list[int]:
            body = {"msgtype": "m.text", "body": "x"}
            return [(await user.put(path, room, f"t{next(numbers)}", body=body)).status for _ in range(count)]

        assert (await crew.admin.get(LIMIT, user.user_id)).ok() == {}
        assert await sent(3) == [200, 200, 429]
        (await crew.moderator.post(LIMIT, user.user_id, body={})).refused(403, "M_FORBIDDEN")
        (await crew.admin.post(LIMIT, user.user_id, body={"messages_per_second": -1})).refused(400, "M_INVALID_PARAM")
        assert (await crew.admin.post(LIMIT, user.user_id, body={})).ok() == {
            "messages_per_second": 0,
            "burst_count": 0,
        }
        assert set(await sent(5)) == {200}
        (await crew.admin.delete(LIMIT, user.user_id)).ok()
        assert (await crew.admin.get(LIMIT, user.user_id)).ok() == {}
        assert await sent(1) == [429]
